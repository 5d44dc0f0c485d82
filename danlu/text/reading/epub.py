"""EPUB: a zip of web pages and a list of their order; each chapter is a document, in that order.

The lists are taken apart with two regular expressions instead of an XML parser: no entities to expand, no depth, and
a book whose list is damaged can still be read. Only stored and deflated entries are unpacked (EPUB 3.3, 4.2), in
bounded steps, and a zip inside the zip is data like any other. Left out: encrypted books, which are named and skipped.
"""

import html
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote

from danlu.text.document import Document
from danlu.text.reading.decode import page
from danlu.text.reading.faults import Faults, reason
from danlu.text.reading.parts import BLOCK, Part
from danlu.text.reading.plain import web_text
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import UNJUDGED, opened

CONTAINER = "META-INF/container.xml"
PAGES, ENDINGS = ("application/xhtml+xml", "text/html"), (".xhtml", ".html", ".htm")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LIST_BYTES = 1 << 22  # of a package file; a book of 10,000 chapters needs a quarter
DIRECTORY_BYTES = 1 << 24  # of the zip's directory: 200,000 files, each of which costs memory as soon as it is opened
TAIL = 22 + (1 << 16)  # a zip's last record, with the longest comment
# What zipfile raises for damaged, encrypted and oddly compressed files.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, LookupError,
    OverflowError, MemoryError,
)  # fmt: skip
ELEMENT = re.compile(r"<(?:[\w.-]{1,40}:)?(rootfile|itemref|item|title|date)\b([^<>]*)>([^<]*)")
VALUE = re.compile(r"""([\w:-]{1,40})\s*=\s*(?:"([^"]*)"|'([^']*)')""")


@dataclass
class Book:
    """What the lists say: title, date, each file's name and type by id, and the ids in reading order."""

    title: str = ""
    date: str = ""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def chapters(self) -> list[str]:
        """The names of the pages in reading order, each once."""
        found = (self.files[name] for name in self.order if name in self.files)
        return list(dict.fromkeys(name for name, kind in found if kind in PAGES or name.lower().endswith(ENDINGS)))


def epub(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The chapters of a book as web pages."""
    with opened(part) as handle:
        try:
            archive = _opened(handle)
            book = _book(archive, faults)
        except DAMAGE as error:
            faults.file(f"not an EPUB that can be read ({reason(error)}); skipped")
            return
        chapters = book.chapters()
        if not chapters:
            faults.file("no reading order; its pages were read as they lie in the file")
            chapters = [name for name in archive.namelist() if name.lower().endswith(ENDINGS)]
        meta = {"format": "html", "title": book.title, "date": book.date}
        unpacked = 0
        for number, name in enumerate(chapters, 1):
            try:
                data = _entry(archive, name, reading.max_record_bytes)
            except DAMAGE as error:
                faults.bad(number, "damaged chapter", reason(error))
                continue
            unpacked += len(data)
            if unpacked > reading.max_decompressed_bytes or unpacked > max(UNJUDGED, reading.max_ratio * part.bytes):
                faults.file("unpacks to more than max_ratio or max_decompressed_bytes; the rest was skipped", cut=True)
                return
            if len(data) > reading.max_record_bytes:
                faults.bad(number, "longer than max_record_bytes")
                continue
            document = web_text(data, f"{part.path}:{number}", part, reading, faults, "", meta)
            if isinstance(document, str):
                faults.bad(number, document)
            else:
                yield document


def _opened(handle: IO[bytes]) -> zipfile.ZipFile:
    """The archive, unless its directory alone would fill the memory."""
    end = handle.seek(0, 2)
    handle.seek(max(0, end - TAIL))
    tail = handle.read(TAIL)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("a zip file's directory is missing")
    if b"PK\6\7" in tail or struct.unpack_from("<L", tail, at + 12)[0] > DIRECTORY_BYTES:
        raise zipfile.BadZipFile("its directory is too large for a book")
    return zipfile.ZipFile(handle)


def _entry(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """What is stored under ``name``, or a little more than ``limit`` bytes of it."""
    entry = archive.getinfo(name)
    if entry.compress_type not in METHODS:
        raise ValueError("compressed in a way that EPUB does not know")
    parts, size = [], 0
    with archive.open(entry) as stream:
        while size <= limit and (block := stream.read(BLOCK)):
            parts.append(block)
            size += len(block)
    return b"".join(parts)


def _book(archive: zipfile.ZipFile, faults: Faults) -> Book:
    """Title, date and order, as far as the lists can be found."""
    book = Book()
    names = archive.namelist()
    container = next((name for name in names if name.endswith(CONTAINER)), "")
    package = next((name for name in names if name.lower().endswith(".opf")), "")
    try:
        for tag, values, _ in _elements(archive, container, faults) if container else ():
            if tag == "rootfile" and values.get("full-path"):
                # Some books lie in a folder of their own inside the zip (those of Debian's Edu manual do).
                package = container.removesuffix(CONTAINER) + values["full-path"]
                break
        for tag, values, text in _elements(archive, package, faults):
            if tag == "item" and "nav" not in values.get("properties", "").split():
                where = unquote(values.get("href", "").partition("#")[0])
                name = posixpath.normpath(posixpath.join(posixpath.dirname(package), where))
                book.files[values.get("id", "")] = (name, values.get("media-type", ""))
            elif tag == "itemref":
                book.order.append(values.get("idref", ""))
            elif tag == "title":
                book.title = book.title or text
            elif tag == "date":
                book.date = book.date or text
    except DAMAGE as error:
        faults.file(f"its lists cannot be read ({reason(error)})")
    return book


def _elements(archive: zipfile.ZipFile, name: str, faults: Faults) -> Iterator[tuple[str, dict[str, str], str]]:
    """The elements that matter, with their attributes and the text that follows."""
    text, _ = page(_entry(archive, name, LIST_BYTES)[:LIST_BYTES], "auto", "", faults)
    for tag, attributes, after in ELEMENT.findall(text.replace("\0", "")):
        values = {key.rpartition(":")[2]: html.unescape(one or other) for key, one, other in VALUE.findall(attributes)}
        yield tag, values, " ".join(html.unescape(after).split())
