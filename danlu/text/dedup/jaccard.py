"""True Jaccard similarity of documents whose shingle sets lie on disk, many pairs at a time."""

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.columns import Shelf
from danlu.text.dedup.shingles import I64, U32, scramble

AT_ONCE = 1 << 20  # shingles in memory, of one slice of pairs
REMEMBERED = 1 << 20  # pairs that were unlike, so that the next bands they share do not ask again


class Jaccard:
    """Which pairs are at least ``threshold`` alike. ``compared`` and ``unlike`` count what was read for it."""

    def __init__(self, shelf: Shelf, threshold: float) -> None:
        self._shelf, self._threshold = shelf, threshold
        self._unlike = np.zeros(REMEMBERED, np.uint64)
        self.compared = self.unlike = 0

    def __call__(self, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Pairs of documents by number, ``first < second``."""
        pairs = first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)
        slots = (scramble(pairs) % np.uint64(REMEMBERED)).astype(np.int64)
        alike = np.zeros(len(pairs), bool)
        asked = np.flatnonzero(self._unlike[slots] != pairs)
        numbers = np.unique(pairs[asked])  # a pair may come several times
        answers = self._judge(numbers >> np.uint64(32), numbers & np.uint64(2**32 - 1))
        alike[asked] = answers[np.searchsorted(numbers, pairs[asked])]
        self._unlike[slots[~alike]] = pairs[~alike]
        self.compared += len(numbers)
        self.unlike += int((~answers).sum())
        return alike

    def _judge(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.bool_]:
        alike = np.zeros(len(first), bool)
        numbers = np.unique(np.concatenate([first, second]))
        sizes = self._shelf.lengths("sets", numbers)
        one, two = sizes[np.searchsorted(numbers, first)], sizes[np.searchsorted(numbers, second)]
        hopeful = np.flatnonzero(np.minimum(one, two) >= self._threshold * np.maximum(one, two))
        totals = np.cumsum((one + two)[hopeful])
        done = 0
        while done < len(hopeful):
            already = int(totals[done - 1]) if done else 0
            stop = max(int(np.searchsorted(totals, already + AT_ONCE, "right")), done + 1)
            some = hopeful[done:stop]
            alike[some] = self._similarity(first[some], second[some]) >= self._threshold
            done = stop
        return alike

    def _similarity(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.float64]:
        numbers, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        values, ends = self._shelf.rows("sets", "<u4", numbers)
        begins, stops = np.concatenate([[0], ends])[places], ends[places]
        sets = [values[begin:stop] for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)]
        sizes = stops - begins
        return similarity(np.concatenate(sets), sizes[: len(first)], sizes[len(first) :])


def similarity(sets: U32, one: I64, two: I64) -> NDArray[np.float64]:
    """Jaccard similarities of pairs: ``sets`` holds all first sets, then all second, of sizes ``one`` and ``two``."""
    pair = np.arange(len(one), dtype=np.uint64) << np.uint64(32)
    keys = np.sort(np.concatenate([np.repeat(pair, one), np.repeat(pair, two)]) | sets)
    shared = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)  # a set holds nothing twice
    both = np.bincount(shared.astype(np.int64), minlength=len(one))
    return both / np.maximum(one + two - both, 1)
