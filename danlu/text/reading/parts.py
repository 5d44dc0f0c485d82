"""Inputs cut into parts that workers can read by themselves, and parts grouped into tasks of about equal size.

Big JSONL files are cut at line ends, big Parquet files between row groups; everything else is one part, read as a
stream. The cut depends on the files and on ``part_bytes`` alone, so every run and every machine gets the same list.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.text import packages
from danlu.text.reading.faults import shown
from danlu.text.reading.inputs import PACKED, WHOLE, kind, resolve
from danlu.text.reading.settings import Reading
from danlu.text.report import Funnel

PART_BYTES = 64 << 20
BLOCK = 1 << 20
FILE_BYTES = 4096  # what a file costs at least: opening it
UNPACKED = 4  # compressed text is worth this many times its size; 3 (gzip) to 5 (zstd) on Chinese and English prose
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0")  # UTF-16 or UTF-32: a line feed is more than one byte


@dataclass(frozen=True)
class Part:
    """A piece of input, in plain values that JSON can hold."""

    given: str
    """The input as the person wrote it; the report counts by it."""
    path: str
    """The file as it stands in ids and reports, or package:NAME."""
    bytes: int
    """Its size on the disk."""
    start: int = 0
    """The first byte of a JSONL file, or the first row group of a Parquet file."""
    end: int | None = None
    """Where it ends (not included); None is the end of the file, as it was when it was listed."""
    first: int = 1
    """The number of its first line or row in the file."""
    raw: str = ""
    """The file's name in hexadecimal, where ``path`` could not show it faithfully."""

    @property
    def file(self) -> Path:
        """What to open."""
        return Path(os.fsdecode(bytes.fromhex(self.raw))) if self.raw else Path(self.path)

    @property
    def weight(self) -> int:
        """About how many bytes of text it holds."""
        name = self.path.lower()
        packed = name.endswith((*PACKED, *(f".{ending}" for ending in WHOLE)))
        return FILE_BYTES + self.bytes * (UNPACKED if packed else 1)


def parts(
    inputs: Sequence[str],
    reading: Reading | None = None,
    part_bytes: int = PART_BYTES,
    tally: Funnel | None = None,
) -> list[Part]:
    """Every part of ``inputs`` in reading order; ``tally`` gets what was skipped on the way (see `inputs.resolve`).

    Only files larger than ``part_bytes`` that can be cut are opened. Raises `UserError` as `resolve` does.
    """
    found = []
    for given, paths in resolve(inputs, reading, tally).items():
        if packages.is_package(given):
            size = int(packages.PACKAGES[packages.name_of(given)].megabytes * 1e6)
            found.append(Part(given, given, size))
        for path in paths:
            found += _cut(_whole(given, path), part_bytes)
    return found


def _whole(given: str, path: Path) -> Part:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading will say why
    name = shown(path)
    return Part(shown(given), name, size, raw="" if name == str(path) else os.fsencode(path).hex())


def _cut(part: Part, part_bytes: int) -> Iterator[Part]:
    """The part itself, or several. What cannot be opened or understood stays whole: reading it will tell why."""
    ranges: list[tuple[int, int | None, int, int]] = []  # start, end, first, bytes
    try:
        if part.bytes > part_bytes and kind(part.path) == "parquet":
            ranges = list(_row_groups(part, part_bytes))
        elif part.bytes > part_bytes and kind(part.path) == "lines" and not part.path.lower().endswith(PACKED):
            ranges = list(_lines(part, part_bytes))
    except (OSError, ValueError, MemoryError, pa.ArrowException):
        ranges = []
    for start, end, first, size in ranges:
        yield Part(part.given, part.path, size, start, end, first, part.raw)
    if not ranges:
        yield part


def _lines(part: Part, part_bytes: int) -> Iterator[tuple[int, int | None, int, int]]:
    """Ranges of whole lines, each the shortest of at least ``part_bytes``."""
    start = at = 0
    first = number = 1
    with open(part.file, "rb") as handle:
        while block := handle.read(min(BLOCK, part.bytes - at)):
            if at == 0 and block.startswith(WIDE_MARKS):
                return
            place = 0
            while (start + part_bytes) - at <= len(block):
                cut = block.find(b"\n", max(place, start + part_bytes - at - 1)) + 1
                if not cut:
                    break
                number += block.count(b"\n", place, cut)
                yield start, at + cut, first, at + cut - start
                start, first, place = at + cut, number, cut
            number += block.count(b"\n", place)
            at += len(block)
    if start < at:
        yield start, None, first, at - start


def _row_groups(part: Part, part_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of row groups, by their compressed size in the file."""
    with open(part.file, "rb") as handle:
        table = pq.ParquetFile(handle).metadata
        start = size = rows = 0
        first = 1
        for number in range(table.num_row_groups):
            group = table.row_group(number)
            size += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            rows += group.num_rows
            if size >= part_bytes:
                yield start, number + 1, first, size
                start, first, size = number + 1, rows + 1, 0
        if start < table.num_row_groups:
            yield start, table.num_row_groups, first, size


def tasks(parts: Sequence[Part], task_bytes: int = PART_BYTES) -> list[list[Part]]:
    """Neighbouring parts together up to ``task_bytes`` of text by weight, in order; a larger part stays alone."""
    groups: list[list[Part]] = []
    size = 0
    for part in parts:
        if not groups or size + part.weight > task_bytes:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.weight
    return groups
