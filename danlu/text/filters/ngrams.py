"""Repeated runs of words, counted in characters, as Gopher measures repetition (Rae et al. 2021, Table A1).

datatrove makes a string of every run and puts it into a dictionary, nine times over. Here every run is one 64-bit
number out of a rolling hash over the characters (a window of it is a difference of two sums), equal runs are found by
sorting, and a bound settles most texts before anything is counted exactly:

- no run occurs more often than a shorter run in it, and none is longer than the longest, which bounds the top run;
- the copies among runs of ten lie inside the copies among runs of five, which bounds all the longer ones at once.

What passes the bounds is counted exactly. Two different runs have the same number about once in 10^19 pairs.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from danlu.text.filters.words import Words

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64; the golden ratio, nothing up the sleeve
INVERSE = pow(BASE, -1, 1 << 64)
MIX = np.uint64(0xBF58476D1CE4E5B9)
NONE: Places = np.zeros(0, np.int64)
TABLE = 1 << 18  # powers kept between texts; longer texts make their own


@lru_cache(maxsize=2)
def _table(base: int) -> Hashes:
    return _raised(base, TABLE)


def _raised(base: int, number: int) -> Hashes:
    powers = np.full(number, base, np.uint64)
    if number:
        powers[0] = 1
    return np.multiply.accumulate(powers)


def _powers(base: int, number: int) -> Hashes:
    """[number] of 1, base, base², ... modulo 2^64."""
    return _table(base)[:number] if number <= TABLE else _raised(base, number)


class Runs:
    """Runs of ``n`` neighbouring words of one text."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.ends: Places = np.zeros(words.count + 1, np.int64)  # [W + 1] characters up to each word, spaces left out
        np.cumsum(words.lengths, out=self.ends[1:])

    @cached_property
    def _sums(self) -> Hashes:
        """[W + 1] the hash of the characters up to each word."""
        joined = "".join(self.words.pieces)
        if joined.isascii():
            codes = np.frombuffer(joined.encode("ascii"), np.uint8).astype(np.uint64)
        else:
            codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        codes += np.uint64(1)  # a NUL is a character too
        codes *= _powers(BASE, len(codes))
        sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes, out=sums[1:])
        return sums[self.ends]

    @cached_property
    def _shifts(self) -> Hashes:
        """[W] what makes a window's hash independent of where it stands."""
        length = int(self.ends[-1])
        return _powers(INVERSE, max(length, 1))[np.minimum(self.ends[:-1], max(length - 1, 0))]

    def joined(self, n: int) -> Hashes:
        """[W - n + 1] hashes of the runs written without spaces: ``a bc`` and ``ab c`` are alike, as in datatrove."""
        number = len(self.ends) - n
        return (self._sums[n:] - self._sums[:number]) * self._shifts[:number]

    @cached_property
    def _words(self) -> Hashes:
        return self.joined(1)

    def spaced(self, n: int) -> Hashes:
        """[W - n + 1] hashes of the runs written with spaces."""
        number = len(self.ends) - n
        found = self._words[:number].copy()
        for offset in range(1, n):
            found *= MIX
            found += self._words[offset : offset + number]
        return found

    def characters(self, n: int) -> Places:
        """[W - n + 1] of each run, spaces left out."""
        return self.ends[n:] - self.ends[: len(self.ends) - n]


def top_share(runs: Runs, n: int, most: float, size: int, frequency: int) -> tuple[float, int]:
    """The share of ``size`` characters that the most frequent run of ``n`` makes up, and how frequent it is.

    The share is 0 where a bound shows that it is not above ``most``. ``frequency`` is a bound itself: that of a shorter
    run. Of runs as frequent as each other the first counts.
    """
    characters = runs.characters(n) + (n - 1) if runs.words.count >= n else NONE
    if not len(characters) or _bounded(frequency * int(characters.max()), most, size):
        return 0.0, frequency
    hashes = runs.spaced(n)
    ordered = np.sort(hashes)
    borders = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True])))
    counts = np.diff(borders)
    frequency = int(counts.max())
    if _bounded(frequency * int(characters.max()), most, size):
        return 0.0, frequency
    winners = ordered[borders[:-1][counts == frequency]]
    first = int(np.argmax(hashes == winners[0] if len(winners) == 1 else np.isin(hashes, winners)))
    return frequency * int(characters[first]) / size, frequency


def _bounded(characters: int, most: float, size: int) -> bool:
    return characters / size <= most


class Copies:
    """Characters in runs that occurred before, for one text of ``size`` characters."""

    def __init__(self, runs: Runs, size: int) -> None:
        self.runs, self.size = runs, size

    def bound(self, n: int, most: float) -> bool:
        """Is it certain that copies of ``n`` words, or more, make up no more than ``most``?"""
        if self.runs.words.count <= n:
            return True
        hashes = self.runs.joined(n)
        ordered = np.sort(hashes)
        copies = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
        if not copies or _bounded(copies * int(self.runs.characters(n).max()), most, self.size):
            return True
        starts = np.flatnonzero(_groups(hashes)[1] != np.arange(len(hashes)))
        return _bounded(self._covered(starts, n), most, self.size)

    def _covered(self, starts: Places, n: int) -> int:
        """The characters that lie in at least one of the runs of ``n`` words at ``starts``."""
        ends = self.runs.ends
        following = np.append(starts[1:], len(ends))
        return int((ends[np.minimum(starts + n, following)] - ends[starts]).sum())

    def share(self, n: int, most: float) -> float:
        """The share of characters in copies of ``n`` words, counted until it is above ``most``.

        It is counted from left to right as datatrove does.
        A run that occurred before is counted and stepped over; one that did not is remembered, and the next begins one
        word later. What is stepped over is not remembered.
        """
        if self.runs.words.count <= n:
            return 0.0
        characters = self.runs.characters(n)
        group, first = _groups(self.runs.joined(n))
        starts = np.flatnonzero(first != np.arange(len(first)))
        found, free = 0, 0
        stepped_over = bytearray(len(first))
        remembered: set[int] = set()  # groups whose first run was stepped over, but not a later one
        for start, kind, earliest, length in _rows(starts, group[starts], first[starts], characters[starts]):
            if start < free:
                continue
            if not stepped_over[earliest] or kind in remembered:
                found += length
                if found / self.size > most:
                    break
                free = start + n
                stepped_over[start + 1 : free] = b"\1" * (min(free, len(first)) - start - 1)
            else:
                remembered.add(kind)
        return found / self.size


def _rows(*columns: Places) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns))


def _groups(hashes: Hashes) -> tuple[Places, Places]:
    """For each run: the number of its group of equal runs, and where the first of the group stands."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    number = np.cumsum(new) - 1
    group, first = np.empty(len(hashes), np.int64), np.empty(len(hashes), np.int64)
    group[order] = number
    first[order] = order[np.flatnonzero(new)][number]
    return group, first
