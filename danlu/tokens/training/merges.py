"""Byte-pair encoding learned from counted words: the merges of `tokenizers`, in less memory.

All words lie in one array, a place for every byte, a border between two of them. A piece of several bytes has its id
in its first and its last place and holes between, so its neighbours are found from the lengths of pieces and nothing
ever moves. Merging a pair is then a few NumPy operations on the places where it stands.

The commonest pair is merged first; of equally common ones, that of the lowest ids, as in the trainer of `tokenizers`
(models/bpe/trainer.rs), whose counts are 32-bit numbers that overflow; these are of 64 bits. Where a piece stands, no
merge ever crossed its ends, so it was made as it would have been alone: a piece comes about from one pair only, and all
places of a pair are known when the later of its two pieces is made.

Only pairs seen at least ``floor`` times are in the queue, with the places where they stand. When none is left the
words are read again and the floor is lowered. In between a rarer pair is not known at all: that saves the memory.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Bytes as `tokenizers` orders them: those that stand for themselves in its alphabet, then the others.
ORDER = (*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173)
BORDER = 0  # an id that no piece has
ALL_AT_ONCE = 1 << 17  # bytes of words up to which every pair is in the queue from the start
PAIRS = 1 << 15  # pairs to put into the queue when the words are read, about
DEPTH = 16  # and none that is so many times rarer than the commonest: most pairs come about later
BUCKETS = 1 << 21  # for counting pairs roughly, to find a floor
BLOCK = 1 << 20  # bytes read at once


class Merges(NamedTuple):
    """What was learned."""

    pieces: list[bytes]  # by id, beginning with ``first``
    merges: list[tuple[int, int]]  # pairs of ids, the earliest first
    rarest: int  # how often the last pair was seen; 0 if there was none


def learn(text: Array, sizes: Array, counts: Array, vocab_size: int, *, first: int, min_frequency: int = 2) -> Merges:
    """Merge until there are ``vocab_size`` ids or no pair is seen ``min_frequency`` times.

    ``text`` [bytes] holds the words one after the other, ``sizes`` [words] says how long each is, ``counts`` [words]
    how often it was seen, the commonest first. Ids below ``first``, of which there is at least one, are special.
    """
    return _Learner(text, sizes, counts, vocab_size, first).run(max(min_frequency, 1))


class _Learner:
    def __init__(self, text: Array, sizes: Array, counts: Array, vocab_size: int, first: int) -> None:
        self.width, self.first = vocab_size, first
        self.pieces = [bytes([byte]) for byte in ORDER]
        self.lengths = np.ones(vocab_size, np.int32)
        dtype = np.uint16 if vocab_size < 1 << 16 else np.uint32
        self.hole = np.iinfo(dtype).max
        ends = np.cumsum(sizes, dtype=np.int64)
        self.starts = (ends - sizes + np.arange(1, len(sizes) + 1)).astype(np.int64)  # [words], place of first byte
        self.at: Array = np.full(len(text) + len(sizes) + 1, BORDER, dtype)  # [places]
        table = np.empty(256, dtype)
        table[list(ORDER)] = np.arange(first, first + 256)
        inside = np.ones(len(self.at), bool)
        inside[0] = inside[self.starts + sizes] = False
        self.at[inside] = table[text]
        steps = (
            np.flatnonzero(np.concatenate([[True], counts[1:] != counts[:-1]]))
            if len(counts)
            else np.empty(0, np.int64)
        )
        self.kind = np.int32 if len(self.at) < 1 << 31 else np.int64  # of places
        self.steps, self.levels = (  # where the count changes
            self.starts[steps].astype(self.kind),
            counts[steps].astype(np.int64),
        )
        self.known: dict[int, int] = {}  # pair → its count, as `tokenizers` would have it
        self.queue: list[tuple[int, int, int]] = []  # (-count, pair, number of the entry)
        self.places: dict[int, Array] = {}  # entry → where its pair stands, or stood
        self.merged: list[int] = []  # pairs, in order
        self.entries = 0
        self.floor = 1 if len(self.at) <= ALL_AT_ONCE else 1 << 62

    def run(self, least: int) -> Merges:
        """Merge, pair after pair."""
        self.read()
        rarest = 0
        while self.first + len(self.pieces) < self.width:
            if not self.queue or -self.queue[0][0] < self.floor:
                if self.floor <= least:
                    break
                self.read()
                continue
            count, pair, entry = heapq.heappop(self.queue)
            now = self.known[pair]
            if now != -count:
                if now >= self.floor:
                    heapq.heappush(self.queue, (-now, pair, entry))
                else:  # forgotten until the words are read again
                    del self.places[entry], self.known[pair]
                continue
            if now < least:
                break
            rarest = now
            del self.known[pair]
            self.merge(pair, self.places.pop(entry))
        return Merges(self.pieces, [divmod(pair, self.width) for pair in self.merged], rarest)

    def merge(self, pair: int, places: Array) -> None:
        """Make one piece of the pair wherever it stands at ``places``."""
        a, b = divmod(pair, self.width)
        new = self.first + len(self.pieces)
        self.pieces.append(self.pieces[a - self.first] + self.pieces[b - self.first])
        self.lengths[new] = len(self.pieces[-1])
        self.merged.append(pair)
        places = self._standing(a, b, places)
        at, second = self.at, places + self.lengths[a]
        after = second + self.lengths[b]
        left, right = at[places - 1], at[after]
        left[1:][places[1:] == after[:-1]] = new  # the pair twice in a row: the first is merged by then
        at[second - 1] = at[second] = self.hole
        at[places] = at[after - 1] = new
        weights = self._weights(places)
        some = left.nonzero()[0]
        x, over_left, runs = _sums(left[some], weights[some])
        made: dict[int, tuple[int, Array]] = {}
        for n in (over_left >= self.floor).nonzero()[0].tolist():
            where = places[some[runs(n)]] - self.lengths[x[n]]
            made[int(x[n]) * self.width + new] = int(over_left[n]), where
        some = right.nonzero()[0]
        y, over_right, runs = _sums(right[some], weights[some])
        for n in (over_right >= self.floor).nonzero()[0].tolist():
            made[new * self.width + int(y[n])] = int(over_right[n]), places[some[runs(n)]]
        self.known.update((made_pair, over) for made_pair, (over, _) in made.items())
        self._less(x * self.width + a, over_left)
        self._less(b * self.width + y, over_right)
        for made_pair, (_, where) in made.items():
            if self.known[made_pair] >= self.floor:
                self._wait(made_pair, where)
            else:  # the pair stood twice in a row, and what was between is gone already
                del self.known[made_pair]

    def _less(self, pairs: Array, over: Array) -> None:
        known = self.known
        for pair, total in zip(pairs.tolist(), over.tolist()):
            if pair in known:
                known[pair] -= total

    def _wait(self, pair: int, places: Array) -> None:
        heapq.heappush(self.queue, (-self.known[pair], pair, self.entries))
        self.places[self.entries] = places.astype(self.kind)
        self.entries += 1

    def _weights(self, places: Array) -> Array:
        """How often the word at each place was seen."""
        return self.levels[self.steps.searchsorted(places, side="right") - 1]

    def _standing(self, a: int, b: int, places: Array) -> Array:
        """Those places where the pair still stands; of overlapping ones (aaa) the first, the third ..."""
        places = places[self.at[places] == a]
        places = places[self.at[places + self.lengths[a]] == b]
        if a == b and len(places) > 1:
            begins = np.concatenate([[True], np.diff(places) != self.lengths[a]])
            number = np.arange(len(places))
            places = places[(number - np.maximum.accumulate(np.where(begins, number, 0))) % 2 == 0]
        return places

    def read(self) -> None:
        """Lower the floor and put the pairs above it into the queue."""
        rough = self._lower() if self.floor > 1 else None
        self.queue, self.places, self.known = [], {}, {}
        found: dict[int, list[Array]] = {}
        for pairs, places in self._pairs():
            if rough is not None:
                some = np.flatnonzero(rough[_bucket(pairs)] >= self.floor)
                pairs, places = pairs[some], places[some]
            for pair, where in _apart(pairs, places):
                found.setdefault(pair, []).append(where)
        for pair, parts in found.items():
            where = np.concatenate(parts)
            total = int(self._weights(where).sum())
            if total >= self.floor:
                self.known[pair] = total
                self._wait(pair, where)

    def _lower(self) -> Array:
        """Choose a floor with about `PAIRS` pairs above it, or fewer; the count of the pairs of each bucket."""
        rough = np.zeros(BUCKETS, np.int64)
        for pair, where in self._pairs():
            np.add.at(rough, _bucket(pair), self._weights(where))
        nth = int(np.partition(rough, -PAIRS)[-PAIRS])
        self.floor = max(1, min(max(nth, int(rough.max()) // DEPTH), self.floor // 2))
        return rough

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        """Every pair and its place, block by block."""
        begin = 0
        while begin < len(self.starts):
            end = max(int(np.searchsorted(self.starts, self.starts[begin] + BLOCK)), begin + 1)
            low = self.starts[begin] - 1
            high = self.starts[end] if end < len(self.starts) else len(self.at)
            ids: Array = self.at[low:high]
            places = np.flatnonzero(ids != self.hole)
            ids = ids[places]
            long = self.lengths[ids] > 1
            heads = np.flatnonzero(~long | (np.cumsum(long) % 2 == 1))  # a long piece stands there twice
            ids, places = ids[heads].astype(np.int64), places[heads] + low
            inner = np.flatnonzero((ids[:-1] != BORDER) & (ids[1:] != BORDER))
            yield ids[inner] * self.width + ids[inner + 1], places[inner].astype(self.kind)
            begin = end


def _bucket(pairs: Array) -> Array:
    return (pairs.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - BUCKETS.bit_length() + 1)).astype(
        np.int64
    )


def _apart(pairs: Array, places: Array) -> Iterator[tuple[int, Array]]:
    """Each different pair and its places, which ascend, in arrays of their own."""
    if not len(pairs):
        return
    # One sort of numbers that hold both is several times faster than a stable sort of the one by the other.
    offset = (places - places[0]).astype(np.uint64)
    bits = np.uint64(int(offset[-1]).bit_length())
    both = np.sort(pairs.astype(np.uint64) << bits | offset)
    pairs = both >> bits
    places = places[0] + (both - (pairs << bits)).astype(places.dtype.type)
    begins = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
    ends = [*begins[1:].tolist(), len(pairs)]
    for begin, end, pair in zip(begins.tolist(), ends, pairs[begins].tolist()):
        yield pair, places[begin:end].copy()


def _sums(keys: Array, weights: Array) -> tuple[Array, Array, Callable[[int], Array]]:
    """The different keys, the sum of the weights of each, and what says where the n-th of them is, in order."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64), lambda _: np.empty(0, np.int64)
    order = keys.argsort(kind="stable")
    keys = keys[order]
    later = (keys[1:] != keys[:-1]).nonzero()[0]
    ends = np.empty(len(later) + 2, np.int64)
    ends[0], ends[1:-1], ends[-1] = 0, later + 1, len(keys)
    sums = np.add.reduceat(weights[order], ends[:-1])
    return keys[ends[:-1]].astype(np.int64), sums, lambda n: order[ends[n] : ends[n + 1]]
