"""Records grouped by key when they are more than memory holds: buckets on disk by the keys' top bits.

Keys are hashes, so buckets come out even; one that does not is divided again by its next bits. A single key that
fills a bucket by itself (a line that a million pages share) is handed out in parts, each led by the very first record
of that key, so that every part knows where the key began.
"""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.files import atomic

Records = NDArray[Any]
BUCKET = 16 << 20  # bytes of one bucket in memory; sorting it takes about four times as much
MOST_BITS = 10  # buckets at once: each is a file, appended to
KEY = 64  # bits


class Spill:
    """Records with a field ``key`` (64 bits), in buckets under ``folder``; they keep their order within a key."""

    together = False  # whether the records of one key come in one lot, however many they are

    def __init__(self, folder: Path, dtype: Any, expected: int, *, used: int = 0) -> None:
        """``expected`` records, about, choose how many buckets; the top ``used`` bits are the same in all keys."""
        self.dtype, self._folder, self._used = np.dtype(dtype), folder, used
        wanted = max(1, ceil(expected * self.dtype.itemsize * 1.25 / BUCKET))  # room for unevenness
        self._bits = min(MOST_BITS, (wanted - 1).bit_length(), KEY - used)
        self._divisions: dict[Path, Spill] = {}
        self._waiting: list[Records] = []
        self._waiting_bytes = 0
        self.size = 0  # records added
        folder.mkdir(parents=True)

    def add(self, records: Records) -> None:
        """Append; a few megabytes wait in memory, so that small lots do not become many small writes."""
        self.size += len(records)
        self._waiting.append(records.astype(self.dtype, copy=False))
        self._waiting_bytes += records.nbytes
        if self._waiting_bytes > BUCKET // 4:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        records = np.concatenate(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        # In two steps, because a shift by all 64 bits is not defined.
        top = records["key"] << np.uint64(self._used) >> np.uint64(KEY - self._bits - 1) >> np.uint64(1)
        order = np.argsort(top.astype(np.uint16), kind="stable")  # a radix sort
        records = records[order]
        edges = np.searchsorted(top[order], np.arange(2**self._bits + 1, dtype=np.uint64))
        for bucket in np.flatnonzero(np.diff(edges)):  # none is ever empty
            with open(self._folder / f"{bucket:04d}", "ab") as handle:
                handle.write(records[edges[bucket] : edges[bucket + 1]].tobytes())

    def buckets(self) -> Iterator[Records]:
        """Every record, in lots of ascending key ranges; a lot holds all records of its keys, or is part of one key."""
        self._flush()
        for path in sorted(self._folder.iterdir()):
            if path.is_dir():
                continue
            if path.stat().st_size <= 2 * BUCKET:
                yield np.fromfile(path, self.dtype)
            else:
                yield from self._divided(path)

    def _divided(self, path: Path) -> Iterator[Records]:
        least, most = 2**KEY - 1, 0
        for part in self._parts(path):
            least, most = min(least, int(part["key"].min())), max(most, int(part["key"].max()))
        if least == most and self.together:
            yield np.fromfile(path, self.dtype)
            return
        if least == most:
            first = np.fromfile(path, self.dtype, 1)
            for number, part in enumerate(self._parts(path)):
                yield np.concatenate([first, part]) if number else part
            return
        if path not in self._divisions:
            shared = KEY - (least ^ most).bit_length()
            inner = Spill(path.with_suffix(".divided"), self.dtype, self._count(path), used=shared)
            inner.together = self.together
            for part in self._parts(path):
                inner.add(part)
            self._divisions[path] = inner
        yield from self._divisions[path].buckets()

    def remove(self) -> None:
        """Take the files away."""
        shutil.rmtree(self._folder)

    def _count(self, path: Path) -> int:
        return path.stat().st_size // self.dtype.itemsize

    def _parts(self, path: Path) -> Iterator[Records]:
        """Parts of even size, about a bucket each."""
        total = self._count(path)
        parts = max(1, round(total * self.dtype.itemsize / BUCKET))
        edges = [total * number // parts for number in range(parts + 1)]
        for start, stop in pairwise(edges):
            yield np.fromfile(path, self.dtype, stop - start, offset=start * self.dtype.itemsize)


class ByDocument(Spill):
    """Records with a field ``doc``, given back in lots of ascending documents.

    A document's are in one lot: whoever cuts it has to hold it anyway.
    """

    together = True

    def __init__(self, folder: Path, dtype: Any, documents: int, expected: int) -> None:
        super().__init__(folder, dtype, expected)
        self._stretch = np.uint64((2**KEY - 1) // max(documents, 1))  # spreads the numbers over all keys, in order

    def add(self, records: Records) -> None:
        """Append; ``key``, the first field, is set here, and fields that the spill does not have are left behind."""
        keyed = np.empty(len(records), self.dtype)
        for field in self.dtype.names[1:]:
            keyed[field] = records[field]
        keyed["key"] = keyed["doc"] * self._stretch
        super().add(keyed)

    def lots(self) -> Iterator[Records]:
        """Every record, by document; in no particular order within one."""
        for bucket in self.buckets():
            yield bucket[np.argsort(bucket["key"])]


def write_by_task(folder: Path, name: str, bases: NDArray[Any], lots: Iterator[Records], dtype: Any) -> None:
    """Lots in the order of documents → one file of ``dtype`` a task, whose field ``row`` counts within the task."""
    rest = np.empty(0, dtype)
    for task, (start, stop) in enumerate(pairwise(bases)):
        with atomic(folder / f"{task:05d}.{name}", "wb") as file:
            while True:
                cut = int(np.searchsorted(rest["row"], stop))
                here, rest = rest[:cut].copy(), rest[cut:]
                here["row"] -= np.uint32(start)
                file.write(here.tobytes())
                if len(rest) or (lot := next(lots, None)) is None:
                    break
                rest = lot


def split(records: Records) -> tuple[Records, Records]:
    """Those whose key occurs once, and those whose key occurs more often, by key, in their order within one."""
    keys = np.ascontiguousarray(records["key"])
    order = np.argsort(keys)
    keys = keys[order]
    same = np.zeros(len(keys) + 1, bool)
    same[1:-1] = keys[1:] == keys[:-1]
    twin = same[1:] | same[:-1]
    several = order[twin]  # few, as a rule, so that ordering them within a key costs little
    return records[order[~twin]], records[several[np.lexsort((several, records["key"][several]))]]


def repeated(records: Records) -> Records:
    """Those whose key occurs more than once, by key, in their order within one."""
    return split(records)[1]


def starts(keys: Records) -> NDArray[np.int64]:
    """Where each run of equal keys begins."""
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(new)


def spans(begin: NDArray[Any], count: NDArray[Any]) -> NDArray[np.int64]:
    """``begin[0], begin[0] + 1, …`` (``count[0]`` of them), then the same for the next, one after the other."""
    total = np.cumsum(count)
    return np.arange(total[-1] if len(total) else 0) + np.repeat(begin - (total - count), count)
