"""Bytes from a file in bounded blocks: opened so that nothing can hang, unpacked under limits, cut at line feeds.

gzip is unpacked with zlib, member by member, so that a damaged member costs itself and not the rest of a WARC file;
zstd with the codec that pyarrow brings (frames in a row and skippable frames included, windows over 128 MB refused).
Nothing here raises for what a file holds: damage is told to `Faults` and the data ends there.
"""

import codecs
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, AnyStr

import pyarrow as pa

from danlu.base.progress import count
from danlu.text.reading.faults import Faults, reason
from danlu.text.reading.parts import BLOCK, Part
from danlu.text.reading.settings import Reading

INPUT = 1 << 15  # compressed bytes at a time; zlib copies what is left of them at the end of every gzip member
UNJUDGED = 1 << 24  # bytes that may come out of a compressed file before its ratio is looked at
SEAM = b"\r\n\r\n"  # put where a damaged stretch was left out: ends a line, a paragraph and a WARC record
GZIP = b"\x1f\x8b\x08"
HOPELESS = 100  # damaged gzip members; a file made of false beginnings would take hours
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


def opened(part: Part) -> IO[bytes]:
    """The part's file for reading. Opening a named pipe would wait for a writer for ever, so it does not wait."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part.file, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a file any more")
    return os.fdopen(descriptor, "rb")


def blocks(part: Part, reading: Reading, faults: Faults) -> Iterator[bytes]:
    """What the part holds, unpacked, in blocks of at most `BLOCK` bytes."""
    name = part.path.lower()
    with opened(part) as handle:
        if name.endswith(".gz"):
            yield from _bounded(_gunzip(handle, faults), handle, reading, faults)
        elif name.endswith(".zst"):
            yield from _bounded(_unzstd(handle, faults), handle, reading, faults)
        else:
            yield from _plain(handle, part, faults)


def _plain(handle: IO[bytes], part: Part, faults: Faults) -> Iterator[bytes]:
    """As many bytes as were there when the file was listed: one that grows would otherwise never end."""
    end = part.start + part.bytes
    handle.seek(part.start)
    at = part.start
    while at < end and (block := handle.read(min(BLOCK, end - at))):
        at += len(block)
        yield block
    if at < end:
        faults.file(f"has become {end - at} bytes shorter since it was listed", cut=True)
    elif part.end is None and (grown := os.fstat(handle.fileno()).st_size - end) > 0:
        faults.file(f"has grown by {grown} bytes since it was listed; they were not read", cut=True)


def _gunzip(handle: IO[bytes], faults: Faults) -> Iterator[bytes]:
    fresh, damaged = handle.read(INPUT), 0
    while fresh:
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                fresh = fresh or handle.read(INPUT)
                block = member.decompress(fresh, BLOCK)
                if not (block or fresh or member.eof):
                    faults.file("truncated gzip; what came before the end was read", cut=True)
                    return
                fresh = member.unconsumed_tail
                if block:
                    yield block
            fresh = member.unused_data.lstrip(b"\0") or handle.read(INPUT).lstrip(b"\0")
        except zlib.error as error:
            damaged += 1
            place = count(handle.tell() - len(fresh))
            fresh = _next_member(fresh[1:], handle) if damaged < HOPELESS else b""
            if fresh:
                faults.mended("damaged gzip members left out")
            else:
                faults.file(f"damaged gzip after about {place}B ({reason(error)}); the rest was skipped", cut=True)
            yield SEAM


def _next_member(data: bytes, handle: IO[bytes]) -> bytes:
    """What follows from where the next gzip member seems to begin."""
    while (place := data.find(GZIP)) < 0:
        more = handle.read(INPUT)
        if not more:
            return b""
        data = data[-2:] + more
    return data[place:]


def _unzstd(handle: IO[bytes], faults: Faults) -> Iterator[bytes]:
    try:
        stream = pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), "zstd")
        while block := stream.read(2 * INPUT):
            yield block
    except (OSError, pa.ArrowException) as error:
        truncated = "Truncated" in str(error)
        what = "truncated zstd" if truncated else f"damaged zstd ({reason(error)})"
        faults.file(f"{what}; what came before was read", cut=True)


def _bounded(unpacked: Iterable[bytes], handle: IO[bytes], reading: Reading, faults: Faults) -> Iterator[bytes]:
    total = 0
    for block in unpacked:
        total += len(block)
        if total > reading.max_decompressed_bytes:
            limit = f"max_decompressed_bytes={reading.max_decompressed_bytes}"
            faults.file(f"unpacks to more than {limit}; the rest was skipped", cut=True)
            return
        if total > UNJUDGED and total > reading.max_ratio * handle.tell():
            what = f"unpacks to more than max_ratio={reading.max_ratio:g} times its size, as a zip bomb does"
            faults.file(f"{what}; the rest was skipped", cut=True)
            return
        yield block


def narrow(raw: Iterable[bytes], encoding: str, faults: Faults) -> Iterator[bytes]:
    """Bytes in which a line feed is one byte: UTF-16 and UTF-32 become UTF-8, marks and null bytes go."""
    wide = _wide(codecs.lookup(encoding).name) if encoding != "auto" else ""
    decoder: codecs.IncrementalDecoder | None = None
    for number, block in enumerate(raw):
        if number == 0:
            mark, marked = next(((m, name) for m, name in MARKS if block.startswith(m)), (b"", ""))
            block = block[len(mark) :]
            wide = _wide(marked) or wide or (_guessed(block) if encoding == "auto" else "")
            decoder = codecs.getincrementaldecoder(wide)("replace") if wide else None
        if decoder is not None:
            block = decoder.decode(block).encode("utf-8", "replace")
        if b"\0" in block:
            kept = block.translate(None, b"\0")
            faults.mended("null bytes taken out", len(block) - len(kept))
            block = kept
        if block:
            yield block
    if decoder is not None and (rest := decoder.decode(b"", True)):
        yield rest.encode("utf-8", "replace")


def _wide(name: str) -> str:
    return name if name.startswith(("utf-16", "utf-32")) else ""


def _guessed(block: bytes) -> str:
    """UTF-16 without a mark shows in text that is mostly ASCII: every other byte is null."""
    head = block[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 < len(head) or min(even, odd) * 20 > len(head):
        return ""
    return "utf-16-be" if even > odd else "utf-16-le"


def lines(texts: Iterable[AnyStr], feed: AnyStr, limit: int) -> Iterator[AnyStr | None]:
    """Lines without their feed, and None for one longer than ``limit``, which is never held in memory."""
    held: list[AnyStr] = []
    size = 0
    nothing = feed[:0]
    for text in texts:
        pieces = text.split(feed)
        if len(pieces) > 1:
            size += len(pieces[0])
            held.append(pieces[0])
            yield None if size > limit else nothing.join(held)
            yield from [line if len(line) <= limit else None for line in pieces[1:-1]]
            held, size = [], 0
        size += len(pieces[-1])
        if size > limit:
            held = []
        elif pieces[-1]:
            held.append(pieces[-1])
    if size:
        yield None if size > limit else nothing.join(held)
