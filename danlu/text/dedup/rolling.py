"""Hashes of every window of a text, and the few windows that stand for the rest (winnowing).

A hash of ``text[i : i + length]`` comes out of running sums of ``character * base ** i`` modulo 2^64, so any window of
a piece costs one subtraction and one product. Schleimer, Wilkerson and Aiken 2003: if of each window of ``length``
characters only the least hash of its parts of half that length is kept (the last of equal ones), then two equal windows
keep the same place, and about one place in 25 to 100 is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.shingles import BASE, I64, PIECE, U32, U64, powers, scramble

SECOND = 0xD1B54A32D192ED03  # another odd base: windows are told apart by 128 bits
PLACE = np.uint64(PIECE - 1)  # the bits of a hash that give way to its place in the piece
Flags = NDArray[np.bool_]


def whole(text_ends: I64, length: int) -> Flags:
    """Which places of texts as `shingles.codes` lays them out begin a window inside one text [N]."""
    sizes = np.diff(text_ends, prepend=-1)  # a text and its line feed
    windows = np.maximum(sizes - length, 0)
    return np.repeat(np.tile([True, False], len(sizes)), np.stack([windows, sizes - windows], 1).ravel())


@dataclass
class Piece:
    """A stretch of characters and the windows of ``length`` that begin in it."""

    start: int
    points: U32  # the characters, up to the last window's end
    windows: int
    length: int

    @property
    def slice(self) -> slice:
        """Its windows among all."""
        return slice(self.start, self.start + self.windows)

    def hashes(self, begin: I64, end: I64, base: int = BASE) -> U64:
        """One hash for each ``points[begin:end]``."""
        sums = self._sums(base)
        return scramble((sums[end] - sums[begin]) * powers(base)[1][begin])

    def anchors(self) -> I64:
        """For each window, where in the piece the part stands that was kept for it; ascending."""
        half = self.length // 2
        at = np.arange(len(self.points) - half + 1)
        least = self.hashes(at, at + half) & ~PLACE | PLACE - at.astype(np.uint64)
        across, reach = self.length - half + 1, 1
        while 2 * reach <= across:
            least, reach = np.minimum(least[:-reach], least[reach:]), 2 * reach
        if reach < across:
            least = np.minimum(least[: reach - across], least[across - reach :])
        return (PLACE - (least & PLACE)).astype(np.int64)

    def _sums(self, base: int) -> U64:
        sums = np.zeros(len(self.points) + 1, np.uint64)
        np.cumsum(self.points * powers(base)[0][: len(self.points)], out=sums[1:])
        return sums


def pieces(points: U32, length: int) -> Iterator[Piece]:
    """All windows of ``length``, piece after piece, in order."""
    total, step = len(points) - length + 1, PIECE - length
    for start in range(0, total, step):
        windows = min(step, total - start)
        yield Piece(start, points[start : start + windows + length - 1], windows, length)


def runs(flags: Flags, labels: NDArray[Any]) -> tuple[I64, I64]:
    """Stretches of flagged places with one label: the first and the last of each."""
    new = np.ones(len(flags) + 1, bool)
    new[1:-1] = (labels[1:] != labels[:-1]) | ~flags[1:] | ~flags[:-1]
    return np.flatnonzero(new[:-1] & flags), np.flatnonzero(new[1:] & flags)
