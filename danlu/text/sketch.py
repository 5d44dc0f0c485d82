"""Counting what has no end in memory that has one: the commonest keys, sizes by powers of two, a fair sample.

All three add up: counting two halves and merging is counting the whole. Sizes and samples do not even depend on the
order; of the commonest keys that is so while there are no more than ``capacity`` different ones.
"""

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

KEY_CHARACTERS = 200


def printable(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters and fit for UTF-8, half surrogate pairs included."""
    short = text[:limit]
    return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")


class Tally:
    """Documents and bytes by key, the commonest exact or nearly so (Misra and Gries 1982, with the merge of Agarwal
    et al. 2012): a count is never too high, and too low by ``error`` documents at most, 1 in ``capacity`` of them all.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self.capacity, self.error = capacity, 0
        self.counts: dict[str, list[int]] = {}  # key → [documents, bytes]

    def add(self, key: object, size: int) -> None:
        """One document of ``size`` bytes."""
        name = key if isinstance(key, str) else str(key)
        found = self.counts.get(name)
        if found is None:
            name = printable(name, KEY_CHARACTERS)
            found = self.counts.setdefault(name, [0, 0])
            if len(self.counts) > 2 * self.capacity:  # twice, so that the cost of pruning is spread
                found[0] += 1
                found[1] += size
                self._prune()
                return
        found[0] += 1
        found[1] += size

    def add_all(self, pairs: Iterable[tuple[object, int]]) -> None:
        """One document for each (key, bytes)."""
        counts = self.counts
        for key, size in pairs:
            found = counts.get(key) if isinstance(key, str) else None
            if found is None:
                self.add(key, size)
                counts = self.counts
            else:
                found[0] += 1
                found[1] += size

    def _prune(self) -> None:
        """Keep at most ``capacity``, each with what the first one left out had taken from its documents."""
        ranked = sorted((documents for documents, _ in self.counts.values()), reverse=True)
        least = ranked[self.capacity] if len(ranked) > self.capacity else 0
        self.error += least
        self.counts = {name: [n - least, size] for name, (n, size) in self.counts.items() if n > least}

    def merge(self, other: "Tally") -> None:
        """Add another's counts."""
        for name, (documents, size) in other.counts.items():
            found = self.counts.setdefault(name, [0, 0])
            found[0] += documents
            found[1] += size
        self.error += other.error
        if len(self.counts) > 2 * self.capacity:
            self._prune()

    def to_dict(self) -> dict[str, Any]:
        """The commonest first; of equally common ones in the order of the alphabet."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1][0], item[0]))
        return {"counts": {name: list(pair) for name, pair in ordered}, "error": self.error}

    @classmethod
    def from_dict(cls, values: dict[str, Any], capacity: int = 4096) -> "Tally":
        """What `to_dict` gave."""
        tally = cls(capacity)
        tally.counts = {name: list(pair) for name, pair in values["counts"].items()}
        tally.error = values["error"]
        return tally


class Lengths:
    """How many numbers lie in 0, 1, 2 to 3, 4 to 7, 8 to 15, …"""

    def __init__(self) -> None:
        self.bins: list[int] = []

    def add_all(self, numbers: Iterable[int]) -> None:
        """Numbers, each 0 or more."""
        counts = Counter(map(int.bit_length, numbers))
        self.bins += [0] * (max(counts, default=-1) + 1 - len(self.bins))
        for place, number in counts.items():
            self.bins[place] += number

    def merge(self, other: "Lengths") -> None:
        """Add another's counts."""
        self.bins += [0] * (len(other.bins) - len(self.bins))
        for place, number in enumerate(other.bins):
            self.bins[place] += number


class Sample:
    """The ``size`` items of lowest hash: as good as drawn at random, and the same whoever draws, in any order."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items: list[tuple[int, str, dict[str, Any]]] = []  # hash, id, what is shown

    def wants(self, hash_: int) -> bool:
        """Might it be among the lowest? A quick look before `offer`."""
        return len(self.items) < self.size or bool(self.items and hash_ <= self.items[-1][0])

    def offer(self, hash_: int, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Take it if it is among the lowest; ``make`` is called only then."""
        if len(self.items) == self.size:
            if not self.size or (hash_, name) >= self.items[-1][:2]:
                return
            self.items.pop()
        insort(self.items, (hash_, name, make()), key=lambda item: item[:2])

    def merge(self, other: "Sample") -> None:
        """Keep the lowest of both."""
        both = sorted(self.items + other.items, key=lambda item: item[:2])
        self.items = both[: self.size]
