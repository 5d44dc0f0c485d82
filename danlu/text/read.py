"""Documents from what a person names: files, folders, patterns and installed packages, one at a time.

A text file longer than `PIECE` characters comes as several documents, cut at blank lines: memory stays bounded, and
a corpus that is one big file still has a validation split. Bad records are skipped, named and limited (`records`);
bytes that are not UTF-8 are an error, because guessing an encoding would spoil the text without a word.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.document import Document
from danlu.text.extract import Extractor, extract
from danlu.text.records import BadRecords, unjudged
from danlu.text.report import Funnel

PLAIN, PAGES, RECORDS = (".txt", ".md"), (".html", ".htm"), (".jsonl", ".jsonl.gz", ".parquet")
SUFFIXES = PLAIN + PAGES + RECORDS
PIECE = 1 << 16  # characters: several times the longest context of the presets
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def resolve(inputs: Sequence[str]) -> dict[str, list[Path]]:
    """Each input with its files (none for ``package:NAME``), every file once; a `UserError` for what is not there.

    It opens nothing, so a recipe can call it before it claims a directory.
    """
    if not inputs:
        raise UserError("no input", remedy="Name files, folders, patterns such as 'data/*.txt', or package:NAME")
    resolved: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    for given in inputs:
        if packages.is_package(given):
            packages.check(packages.name_of(given), "documents")
            resolved[given] = []
            continue
        fresh = [path for path in _files(given) if path.resolve() not in seen]
        seen.update(path.resolve() for path in fresh)
        resolved.setdefault(given, []).extend(fresh)
    files = [path for paths in resolved.values() for path in paths]
    if len(files) and not any(path.stat().st_size for path in files) and all(resolved.values()):
        what = "is empty" if len(files) == 1 else f"is empty, and so are the other {len(files) - 1} files"
        raise UserError(what, where=files[0], remedy="Give a file with text in it")
    return resolved


def _files(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _readable(p) and not _hidden(p, path))
        if not inside:
            raise UserError("no readable file in it", where=path, remedy=f"Supported: {', '.join(SUFFIXES)}")
        return inside
    if path.exists():
        if not _readable(path):
            raise UserError("unsupported kind of file", where=path, remedy=f"Supported: {', '.join(SUFFIXES)}")
        return [path]
    if any(character in given for character in "*?["):
        matched = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file() and _readable(p))
        if not matched:
            raise UserError("matches no readable file", where=given, remedy=f"Supported: {', '.join(SUFFIXES)}")
        return matched
    raise UserError("no such file or directory", where=given, remedy="Check the path")


def _readable(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _hidden(path: Path, start: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(start).parts)


def read(
    inputs: Sequence[str],
    tally: Funnel,
    *,
    text_column: str = "text",
    extractor: Extractor = "builtin",
    bad_share: float = 0.01,
) -> Iterator[Document]:
    """Every document of ``inputs``, in the order given, folders by sorted path.

    ``tally`` counts documents and bytes by input and names what was skipped. ``text_column`` is the key that holds
    the text in JSONL and Parquet. Raises `UserError` as soon as something is wrong that skipping cannot mend.
    """
    for given, paths in resolve(inputs).items():
        if packages.is_package(given):
            for document in packages.documents(packages.name_of(given)):
                tally.read(document, given)
                yield document
        for path in paths:
            if path.stat().st_size == 0:
                tally.problem(f"{path}: empty file; skipped")
                continue
            for document in _file(path, tally, text_column, extractor, bad_share):
                tally.read(document, given)
                yield document


def _file(path: Path, tally: Funnel, column: str, extractor: Extractor, bad_share: float) -> Iterator[Document]:
    name = path.name.lower()
    if name.endswith(RECORDS):
        yield from _records(path, column, BadRecords(path, bad_share, tally))
    elif name.endswith(PAGES):
        text, title = extract("".join(_decoded(path)), extractor)
        yield Document(text, f"{path}:1", str(path), {"title": title} if title else {})
    else:
        for number, text in enumerate(_decoded(path), 1):
            yield Document(text, f"{path}:{number}", str(path))


def _decoded(path: Path) -> Iterator[str]:
    """The text of a file in pieces; a `UserError` with line and byte where it is not UTF-8."""
    with open(path, "rb") as raw:
        start = raw.read(3)
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
    try:
        with open(path, encoding=encoding) as handle:
            yield from pieces(handle, PIECE)
    except UnicodeError:
        raise _undecodable(path, encoding) from None


def pieces(handle: IO[str], size: int) -> Iterator[str]:
    """A text in parts of about ``size`` characters, cut after a blank line, else a line, else a space."""
    buffer = ""
    while chunk := handle.read(size):
        buffer += chunk
        while len(buffer) > size + size // 4:  # the quarter keeps the last part from being a scrap
            cuts = (buffer.rfind(mark, size // 2, size) + len(mark) for mark in ("\n\n", "\n", " "))
            cut = next((place for place in cuts if place > size // 2), size)
            yield buffer[:cut]
            buffer = buffer[cut:]
    if buffer:
        yield buffer


def _undecodable(path: Path, encoding: str) -> UserError:
    """Name the line and byte: the decoder only knows its place in its own buffer."""
    if encoding == "utf-16":
        return UserError("damaged UTF-16", where=path, remedy="Save it as UTF-8")
    offset = 0
    with open(path, "rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                what = f"invalid UTF-8 at byte {offset + error.start} (0x{line[error.start]:02x})"
                remedy = f"Convert it, for example: iconv -f GB18030 -t UTF-8 {path.name}"
                return UserError(what, where=f"{path}, line {number}", remedy=remedy)
            offset += len(line)
    return UserError("changed while it was read", where=path, remedy="Run the command again")


def _records(path: Path, column: str, counter: BadRecords) -> Iterator[Document]:
    for number, (where, record) in enumerate(unjudged(path, counter), 1):
        text = record.get(column)
        if isinstance(text, str):
            counter.good()
            name = record.get("id")
            yield Document(text, name if isinstance(name, str) else f"{path}:{number}", str(path))
        elif column not in record and counter.seen == counter.count:
            keys = ", ".join(map(str, record)) or "none"
            raise UserError(f"no key '{column}' (keys: {keys})", where=where, remedy="Set text_column to the right one")
        else:
            counter.bad(where, f"no text under '{column}'")
    counter.close()
