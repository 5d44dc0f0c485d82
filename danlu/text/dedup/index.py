"""What earlier runs kept, on disk, for new data to be judged against.

A folder with ``settings.json`` and a segment a run: ``00000-KEY``, ``00001-KEY``, … A segment is written beside and
renamed, so that it is there or not. Its key is a hash of all that the run looked at, ids included: a run that was
killed, or is made again, finds its own segment, is judged against the segments before it only and adds nothing, so it
ends as it did the first time. To take a run's documents back out, delete its segment. Two runs at the same time do not
see each other.

The numbers of a segment are those of its run; of documents that were dropped nothing is kept.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError
from danlu.base.files import remove, sync, write_text
from danlu.base.recipe import difference
from danlu.text.dedup.clusters import Clusters
from danlu.text.dedup.columns import Columns, Shelf, place
from danlu.text.dedup.spill import Spill, spans

SEGMENT = re.compile(r"\d{5,}-[0-9a-f]{32}")
PART = "00000"  # the one part of a segment
FENCE = 1 << 16  # keys between two places where a block of sorted keys begins
Matches = tuple[NDArray[np.int64], NDArray[np.int64]]


class Index:
    """The folder of an index, made when it is new; a `UserError` where ``settings`` are not those it was made with."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, file = folder, folder / "settings.json"
        if folder.exists() and not file.exists() and any(folder.iterdir()):
            raise UserError("is not an index of duplicates", where=folder, remedy="Name a new folder")
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(settings, indent=2) + "\n")
        try:
            made = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError("is damaged", where=file, remedy="Make the index again from its documents") from None
        if made != settings:
            changes = ", ".join(difference(made, settings))
            raise UserError(f"was made with other settings ({changes})", where=folder, remedy="Name a new folder")

    def _segments(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if SEGMENT.fullmatch(path.name))

    def before(self, key: str) -> list[Path]:
        """The parts against which the run ``key`` is judged."""
        found = self._segments()
        keys = [path.name.partition("-")[2] for path in found]
        return [path / PART for path in (found[: keys.index(key)] if key in keys else found)]

    def add(self, key: str, write: Callable[[Path], None]) -> None:
        """Add the segment that ``write`` writes, unless it is there."""
        names = [path.name for path in self._segments()]
        if any(name.endswith(f"-{key}") for name in names):
            return
        number = 1 + max((int(name.partition("-")[0]) for name in names), default=-1)
        temporary = self.folder / f".{key}.{os.getpid()}.tmp"
        remove(temporary)
        temporary.mkdir()
        try:
            write(temporary / PART)
            sync(temporary)
            os.replace(temporary, self.folder / f"{number:05d}-{key}")
            sync(self.folder)
        finally:
            remove(temporary)


def run_key(shelf: Shelf, name: str, dtype: Any, width: int = 1) -> str:
    """A hash of a run's column and of its ids."""
    digest = hashlib.blake2b(digest_size=16)
    for _, values in shelf.blocks(name, dtype, width):
        digest.update(values.tobytes())
    for _, values, ends in shelf.ragged_blocks("ids", np.uint8):
        digest.update(ends.tobytes() + values.tobytes())
    return digest.hexdigest()


def matches(part: Path, name: str, keys: NDArray[np.uint64], most: int) -> Iterator[Matches]:
    """Where ascending ``keys`` stand in a segment's sorted column: their places in ``keys`` and in the column.

    Only blocks that could hold one are read. Of a key that fills a block, ``most`` places are given.
    """
    file = place(part, name)
    total = file.stat().st_size // 8 if file.exists() else 0
    if not total or not len(keys):
        return
    with open(file, "rb") as handle:
        heads = np.empty(-(-total // FENCE) + 1, np.uint64)
        heads[-1] = 2**64 - 1
        for number in range(len(heads) - 1):
            handle.seek(number * FENCE * 8)
            heads[number] = np.frombuffer(handle.read(8), "<u8")[0]
        lefts, rights = np.searchsorted(keys, heads[:-1]), np.searchsorted(keys, heads[1:], "right")
        for number in np.flatnonzero(lefts < rights).tolist():
            handle.seek(number * FENCE * 8)
            block = np.frombuffer(handle.read(FENCE * 8), "<u8")
            some = keys[lefts[number] : rights[number]]
            begin = np.searchsorted(block, some)
            count = np.minimum(np.searchsorted(block, some, "right") - begin, most)
            asked = np.flatnonzero(count)
            if len(asked):
                yield (
                    np.repeat(asked + lefts[number], count[asked]),
                    spans(begin[asked], count[asked]) + number * FENCE,
                )


def read_at(part: Path, name: str, dtype: Any, places: NDArray[np.int64]) -> NDArray[Any]:
    """The values of a flat column at ``places`` that lie close together."""
    kind, least = np.dtype(dtype), int(places.min())
    file = place(part, name)
    values = np.fromfile(file, kind, int(places.max()) - least + 1, offset=least * kind.itemsize)
    return values[places - least]


class Kept:
    """Which of a run's documents stay, and their part of its columns."""

    def __init__(self, own: Shelf, clusters: Clusters, begin: int) -> None:
        """``own`` are the run's documents alone; among the clusters' numbers they start at ``begin``."""
        self._own, self._clusters, self._begin = own, clusters, begin

    def mask(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the run's ``numbers`` stay."""
        shifted = numbers.astype(np.int64) + self._begin
        return np.asarray(self._clusters.roots(shifted) == shifted)

    def copy_ragged(self, columns: Columns, name: str, dtype: Any) -> None:
        """The rows that stay; the others are empty."""
        for first, values, ends in self._own.ragged_blocks(name, dtype):
            lengths = np.diff(ends, prepend=0)
            stays = self.mask(np.arange(first, first + len(ends)))
            columns.add_ragged(name, values[np.repeat(stays, lengths)], np.cumsum(lengths * stays))

    def copy_sorted(self, columns: Columns, spill: Spill, fields: tuple[str, ...]) -> None:
        """The spilled records of documents that stay, by key, each field a column; ``doc`` becomes the run's number."""
        for rows in spill.buckets():
            rows = rows[self.mask(rows["doc"].astype(np.int64) - self._begin)]
            rows = rows[np.argsort(rows["key"], kind="stable")]
            for field in fields:
                values = rows[field].astype(np.int64) - self._begin if field == "doc" else rows[field]
                columns.add(field, values.astype(spill.dtype[field]))
