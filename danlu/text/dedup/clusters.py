"""Which documents belong together: union-find over their numbers, and the verdicts that follow from it.

The root of a cluster is its smallest number, so the first document (in the index, then by task and row) stays and
stands for the rest. Clusters chain: where a is like b and b is like c, c goes although it may be unlike a. That is
what the reports of the field mean by near-duplicates, it does not depend on the order in which pairs are found, and
the alternative (compare with those that stay only) keeps the whole ladder of slightly changed copies.
"""

import heapq
import json
import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.files import atomic
from danlu.text.corpus import Verdict
from danlu.text.dedup.columns import BLOCK, Shelf, place, prefix
from danlu.text.dedup.shingles import BASE
from danlu.text.dedup.spill import Spill, repeated, starts
from danlu.text.document import Document, Dropped

LARGEST = 5  # clusters that the report names
ROOT = np.dtype([("key", "<u8"), ("doc", "<u4")])
Judge = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]


class Clusters:
    """Union-find over ``size`` numbers. Parents lie in a sparse file, so numbers that nothing joins cost nothing."""

    def __init__(self, path: Path, size: int) -> None:
        with open(path, "wb+") as handle:
            handle.truncate(4 * max(size, 1))
            self._pages = mmap.mmap(handle.fileno(), 0)
        self._parents = np.frombuffer(self._pages, "<u4")  # the parent plus one; zero is "its own root"

    def roots(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """The first member of each number's cluster.

        Everyone asked about is hung to whomever it was led to on the way, so a chain of n is walked in log n steps when
        all its members are asked about: `join` does so before it ends.
        """
        found = numbers.astype(np.int64)
        walking = np.arange(len(found))
        while True:
            above = self._parents[found[walking]].astype(np.int64)
            walking, above = walking[above > 0], above[above > 0]
            if not len(walking):
                return found
            found[walking] = above - 1
            self._parents[numbers[walking].astype(np.int64)] = above

    def join(self, first: NDArray[Any], second: NDArray[Any]) -> None:
        """Put each pair into one cluster."""
        while len(first):
            one, two = self.roots(first), self.roots(second)
            low, high = np.minimum(one, two), np.maximum(one, two)
            apart = low != high
            low, high = low[apart], high[apart]
            self._parents[high] = low + 1  # of several for one root the last stands; the others come round again
            first, second = low, high

    def link(self, records: NDArray[Any], window: int, judge: Judge) -> int:
        """Join documents (field ``doc``) of equal keys that ``judge`` finds alike; returns how many stay uncompared.

        All pairs of a group are judged, but not those that are joined already, nor those more than ``window``
        places apart in a group: a group of a million would have 5 * 10^11 pairs. Copies are joined to their
        neighbours at distance 1, so the limit touches only crowds of documents that are not alike.
        """
        rows = repeated(records)
        for distance in range(1, window + 1):
            rows = self._unsettled(rows)
            at = np.flatnonzero(rows["key"][distance:] == rows["key"][:-distance])
            if not len(at):
                self.rest()
                return 0
            first, second = rows[at], rows[at + distance]
            apart = self.roots(first["doc"]) != self.roots(second["doc"])
            first, second = first[apart], second[apart]
            alike = judge(first, second)
            self.join(first["doc"][alike], second["doc"][alike])
        rows = self._unsettled(rows)
        self.rest()
        sizes = np.diff(np.append(starts(rows["key"]), len(rows)))
        return int(sizes[sizes > window + 1].sum())

    def _unsettled(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The groups whose members are not yet one cluster."""
        if not len(rows):
            return rows
        begin, roots = starts(rows["key"]), self.roots(rows["doc"])
        several = np.minimum.reduceat(roots, begin) != np.maximum.reduceat(roots, begin)
        return rows[np.repeat(several, np.diff(np.append(begin, len(rows))))]

    def rest(self) -> None:
        """Let the system take back the memory behind what was read and written: it is in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)

    def __enter__(self) -> "Clusters":
        return self

    def __exit__(self, *error: object) -> None:
        del self._parents
        self._pages.close()


def write_verdicts(
    folder: Path, work: Path, tasks: int, shelf: Shelf, clusters: Clusters, reason: str
) -> dict[str, Any]:
    """Write for each task which rows go and for whom; returns what the report shows.

    The last ``tasks`` parts of the shelf are this run's. What an index's document stands for goes as
    ``{reason}_of_index``.
    """
    own = len(shelf.parts) - tasks
    begin, dropped = int(shelf.bases[own]), Counter[str]()
    spill = Spill(work / "roots", ROOT, shelf.size - begin)
    for task in range(tasks):
        start, stop = int(shelf.bases[own + task]), int(shelf.bases[own + task + 1])
        with atomic(place(prefix(folder, task), "verdicts")) as file:
            for first in range(start, stop, BLOCK):
                numbers = np.arange(first, min(first + BLOCK, stop))
                roots = clusters.roots(numbers)
                lost = numbers[roots != numbers]
                for number, root in zip(lost.tolist(), roots[roots != numbers].tolist(), strict=True):
                    why = reason if root >= begin else f"{reason}_of_index"
                    dropped[why] += 1
                    file.write(json.dumps([number - start, why, shelf.id(root)], ensure_ascii=True) + "\n")
                records = np.zeros(len(roots), ROOT)
                records["key"], records["doc"] = roots.astype(np.uint64) * np.uint64(BASE), roots
                spill.add(records)
                clusters.rest()
    facts = {"documents": shelf.size - begin, "index_documents": begin, "dropped": dict(sorted(dropped.items()))}
    return facts | _sizes(spill, shelf)


def _sizes(spill: Spill, shelf: Shelf) -> dict[str, Any]:
    """How many clusters have more than one of this run's documents, and the largest by the id of their first."""
    number, largest = 0, list[tuple[int, int]]()  # minus the root, size: of equal sizes the first counts as larger
    for bucket in spill.buckets():
        rows = repeated(bucket)
        begin = starts(rows["doc"]) if len(rows) else np.empty(0, np.int64)
        sizes = np.diff(np.append(begin, len(rows)))
        known = dict(largest)  # a cluster that fills lots by itself comes in parts, each with its first member again
        for root, size in zip((-rows["doc"][begin].astype(np.int64)).tolist(), sizes.tolist(), strict=True):
            number += root not in known
            known[root] = known.get(root, 1) - 1 + size
        largest = heapq.nlargest(LARGEST, known.items(), key=lambda item: item[::-1])
    return {"clusters": number, "largest_clusters": [[shelf.id(-root), size] for root, size in largest]}


def apply_verdicts(documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
    """Each document with itself, or with the reason it goes and the id of the one that stays for it."""
    with open(place(prefix(folder, task), "verdicts"), encoding="utf-8") as file:
        lines = map(json.loads, file)
        row, reason, standing = next(lines, (-1, "", ""))
        for number, document in enumerate(documents):
            if number == row:
                yield document, Dropped(reason, standing)
                row, reason, standing = next(lines, (-1, "", ""))
            else:
                yield document, document
