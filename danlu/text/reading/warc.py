"""WARC records (ISO 28500) and the web pages in them, read by a parser that goes on after a bad record.

Of a crawl the pages are read: ``response`` and ``resource`` records of HTML or plain text that the server gave with
status 200, and the plain text of ``conversion`` records (Common Crawl's WET files). Requests, metadata, redirects,
errors and images are no documents and pass without a word. A record whose Content-Length does not fit is skipped, and
the next one is looked for by its first words.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from danlu.text.document import Document
from danlu.text.reading.faults import Faults
from danlu.text.reading.http import Headers, headers, media, response
from danlu.text.reading.parts import Part
from danlu.text.reading.plain import web_text
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import blocks

BEGIN, BETWEEN = b"WARC/", b"\r\n\0 "
NEXT, NEXT_BYTES = re.compile(rb"WARC/[01]\.\d{1,2}\r?\n"), 12
HEADER_BYTES = 1 << 16  # a longer one is none
READ = frozenset(["response", "resource", "conversion"])
PAGES, TEXTS = ("text/html", "application/xhtml+xml"), ("text/plain",)
UNTOLD = ("", "application/octet-stream")  # types that say nothing: look for the first tag
TAG = re.compile(rb"<(?:!doctype html|html)\b", re.IGNORECASE)
RETURNS = 8  # times ``max_record_bytes`` that may be read a second time; a file of false headers would take days


@dataclass(frozen=True)
class Record:
    """One record: its headers by lower-case name, the size of its block, and the block if it is to be read."""

    headers: Headers
    length: int
    data: bytes


class Window:
    """A stream of blocks of which the next bytes can be looked at before they are taken."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._data, self._at = b"", 0
        self.returned = 0  # bytes put back so far

    def _more(self, size: int) -> bool:
        """Have at least ``size`` bytes at hand, if there are that many."""
        parts, have = [], len(self._data) - self._at
        if have < size:
            parts.append(self._data[self._at :])
            while have < size and (block := next(self._blocks, None)) is not None:
                parts.append(block)
                have += len(block)
            self._data, self._at = b"".join(parts), 0
        return have >= size

    def look(self, size: int) -> bytes:
        """The next bytes, up to ``size``, without taking them."""
        self._more(size)
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """The next bytes, fewer than ``size`` at the end of the data."""
        taken = self.look(size)
        self._at += len(taken)
        return taken

    def skip(self, size: int) -> int:
        """Leave out ``size`` bytes without holding them; returns how many there were."""
        left = size
        while left > 0 and self._more(1):
            step = min(left, len(self._data) - self._at)
            self._at += step
            left -= step
        return size - left

    def put_back(self, data: bytes) -> None:
        """Have ``data`` come next, again."""
        self.returned += len(data)
        self._data, self._at = data + self._data[self._at :], 0

    def find(self, pattern: re.Pattern[bytes], overlap: int) -> bool:
        """Skip to where ``pattern``, of less than ``overlap`` bytes, next matches; False at the end."""
        while self._more(overlap):
            found = pattern.search(self._data, self._at)
            if found:
                self._at = found.start()
                return True
            self._at = max(self._at, len(self._data) - overlap + 1)
        return False


def records(data: Iterable[bytes], limit: int, faults: Faults) -> Iterator[tuple[int, Record]]:
    """Each record of a type that is read, with its number; the block of any other is not held in memory."""
    window = Window(data)
    number = 0
    while lead := window.look(16):
        blank = len(lead) - len(lead.lstrip(BETWEEN))
        if blank:
            window.skip(blank)
            continue
        number += 1
        record = _record(window, limit) if lead.startswith(BEGIN) else "no header"
        if isinstance(record, str):
            if not faults.cut:  # half a record where the data broke off has been told
                faults.bad(number, "malformed WARC record", record)
            window.skip(1)  # it may stand at the beginning of a bad one
            if not window.find(NEXT, NEXT_BYTES):
                return
        elif record.length > limit and record.headers.get("warc-type") in READ:
            faults.bad(number, "longer than max_record_bytes")
        elif record.headers.get("warc-type") in READ:
            yield number, record


def _record(window: Window, limit: int) -> Record | str:
    """The record that begins here, without its data if nobody reads it or it is too long; or what is wrong with it."""
    end = re.search(rb"\r?\n\r?\n", window.look(HEADER_BYTES))
    if not end:
        return "its header does not end"
    named = headers(window.look(end.start()))
    length = named.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        return f"Content-Length {length[:20]!r}"
    window.skip(end.end())
    size, data = int(length), b""
    if size <= limit and named.get("warc-type") in READ:
        data = window.take(size)
        short = len(data) < size
    else:
        short = window.skip(size) < size
    after = window.look(16)
    ends = after.startswith(b"\r\n\r\n") or after.lstrip(BETWEEN).startswith(BEGIN) or not after.strip(BETWEEN)
    if short or not ends:
        if window.returned < RETURNS * limit:
            window.put_back(data)  # a wrong length may have swallowed the beginning of the next record
        return "shorter than its Content-Length" if short else "does not end with its Content-Length"
    return Record(named, size, data)


def warc(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The web pages and texts of a WARC file."""
    for number, record in records(blocks(part, reading, faults), reading.max_record_bytes, faults):
        document = _document(record, f"{part.path}:{number}", part, reading, faults)
        if isinstance(document, str):
            faults.bad(number, document)
        elif document is not None:
            yield document


def _document(record: Record, name: str, part: Part, reading: Reading, faults: Faults) -> Document | str | None:
    """The document, why it cannot be read, or None if it is none."""
    named, data = record.headers, record.data
    kind, charset = media(named.get("content-type", ""))
    date = named.get("warc-date", "")
    if kind == "application/http":
        found = response(data, reading.max_record_bytes)
        if found is None or isinstance(found, str):
            return found
        kind, charset = media(found.headers.get("content-type", ""))
        data, date = found.body, date or found.headers.get("date", "")
    kind = media(named.get("warc-identified-payload-type", ""))[0] or kind
    if kind in UNTOLD and TAG.search(data, 0, 1024):
        kind = "text/html"
    if not data.strip() or kind not in PAGES + TEXTS:
        return None
    url = named.get("warc-target-uri", "").strip("<>")
    meta = {"format": "html" if kind in PAGES else "", "url": url, "date": date}
    return web_text(data, name, part, reading, faults, charset, meta)
