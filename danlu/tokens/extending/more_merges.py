"""Byte-pair merges learned on top of pieces that are there already (BPE: Sennrich 2016, arXiv:1508.07909).

What is given are words as the old tokenizer writes them, each with its count. The best pair of neighbours becomes a
piece, then the best pair of what is left, and so on: the same greedy rule as in training, begun later. Since no
string is made twice, the number of times a pair stands in the words can only fall after the step that made it. So
counts need no bookkeeping: a pair is counted again only when it comes out of the queue first (as in the lazy greedy
algorithm of Minoux 1978), and its positions are arrays, so that 8,000 merges on 30 MB are a matter of a minute.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
DEAD = -1  # the second half of a merged pair; also "no neighbour"


class Words(NamedTuple):
    """Distinct words: all their ids in one row [N], the length of each word [W], how often it is in the corpus [W]."""

    ids: Ids
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]


class Merge(NamedTuple):
    """``left`` and ``right`` become ``id``, so many ``times`` in the words."""

    left: int
    right: int
    id: int
    times: int


@dataclass
class Linked:
    """The words as linked lists, so that a merge touches only the places where it happens."""

    ids: Ids  # [N], DEAD where a merge swallowed the place
    after: NDArray[np.int32]  # [N] the next place of the word, or DEAD
    before: NDArray[np.int32]  # [N]
    weight: NDArray[np.int64]  # [N] the count of the word

    @classmethod
    def of(cls, words: Words) -> "Linked":
        """Neighbours by place; a word's ends have none."""
        ends = np.cumsum(words.lengths) - 1
        after = np.arange(1, len(words.ids) + 1, dtype=np.int32)
        before = after - 2
        after[ends] = DEAD
        before[(ends - words.lengths + 1)] = DEAD
        return cls(words.ids.copy(), after, before, np.repeat(words.counts, words.lengths))

    def standing(self, left: int, right: int, places: Ids) -> Ids:
        """Of the places where the pair once began, those where it still does; of overlapping ones the first."""
        places = places[self.ids[places] == left]
        following = self.after[places]
        places = places[(following != DEAD) & (self.ids[following] == right)]
        if left != right or len(places) < 2:
            return places
        chained = np.concatenate(([False], self.after[places[:-1]] == places[1:]))
        index = np.arange(len(places))
        begin = np.maximum.accumulate(np.where(chained, 0, index))  # where the run of the same id begins
        return places[(index - begin) % 2 == 0]

    def merge(self, places: Ids, new: int) -> Ids:
        """Put ``new`` there; returns the places where a new pair of neighbours begins."""
        swallowed = self.after[places]
        follower = self.after[swallowed]
        self.ids[places], self.ids[swallowed] = new, DEAD
        self.after[places] = follower
        has = follower != DEAD
        self.before[follower[has]] = places[has]
        previous = self.before[places]
        return np.unique(np.concatenate((places[has], previous[previous != DEAD])))


def learn(
    words: Words, strings: list[bytes], allowed: Callable[[bytes], bool], most: int, least_count: int = 2
) -> tuple[list[Merge], int]:
    """At most ``most`` merges, best first, and how many pairs were passed over because their string is a piece.

    ``strings[i]`` is what id ``i`` stands for; new ids follow it. ``allowed`` says which strings may become pieces.
    Of equal counts the pair with the lower ids comes first, so the result depends on the words alone.
    """
    chain, known = Linked.of(words), set(strings)
    strings, existing = list(strings), 0
    merges: list[Merge] = []
    factor = len(strings) + most
    everywhere = np.flatnonzero(chain.after != DEAD).astype(np.int32)
    queue: list[tuple[int, int, Any]] = list(_pairs(chain, everywhere, factor, least_count))
    heapq.heapify(queue)
    del everywhere
    while queue and len(merges) < most:
        promised, key, places = heapq.heappop(queue)
        left, right = divmod(key, factor)
        string = strings[left] + strings[right]
        if string in known or not allowed(string):
            existing += string in known
            continue
        places = chain.standing(left, right, places)
        count = int(chain.weight[places].sum())
        if count < -promised:
            if count >= least_count:
                heapq.heappush(queue, (-count, key, places))
            continue
        new = len(strings)
        strings.append(string)
        known.add(string)
        merges.append(Merge(left, right, new, count))
        for item in _pairs(chain, chain.merge(places, new), factor, least_count):
            heapq.heappush(queue, item)
    return merges, existing


def _pairs(chain: Linked, places: Ids, factor: int, least: int) -> Iterator[tuple[int, int, Ids]]:
    """The pairs that begin at these places, as (minus the count, key, the places in order)."""
    keys = chain.ids[places].astype(np.int64) * factor + chain.ids[chain.after[places]]
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    starts = np.flatnonzero(np.concatenate((keys[:1] == keys[:1], keys[1:] != keys[:-1])))
    if not len(starts):
        return
    counts = np.add.reduceat(chain.weight[places], starts)
    ends = np.concatenate((starts[1:], [len(keys)]))
    for i in np.flatnonzero(counts >= least):
        yield -int(counts[i]), int(keys[starts[i]]), places[starts[i] : ends[i]]
