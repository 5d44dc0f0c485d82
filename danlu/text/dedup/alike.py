"""Which of some short texts say nearly the same: groups of near-duplicates, in memory.

`danlu.text.dedup.minhash` does this for corpora, on disk; here are the same signatures, bands and true Jaccard
similarity for what fits in memory, such as the first questions of a set of conversations, which a split must not tear
apart. Fifty thousand questions of forty words take about two seconds on one core.

A shingle is three tokens, so that of a short question only a copy counts (another case, punctuation or white space make
no copy new): "the capital of France" and "the capital of Spain" ask two things. From about thirty tokens on, one that
was exchanged leaves four fifths of the shingles, and the two are alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.jaccard import similarity
from danlu.text.dedup.lsh import band_keys, bands_and_rows, signatures
from danlu.text.dedup.shingles import I64, U32, U64, distinct, shingles

THRESHOLD, WIDTH = 0.8, 3
PERMUTATIONS, CATCH = 128, 0.99
WINDOW = 8  # places apart, in a crowd that shares a band, up to which two are compared
CHARACTERS = 4000  # of a text that are looked at
BATCH = 512  # texts cut into shingles at a time
PAIRS = 1 << 14  # compared at a time


def alike(texts: Sequence[str], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """For each text the number of the first one of its group, [N]; a text that is like no other is its own group.

    Two texts of a group need not be alike themselves: a chain of texts between them is.
    """
    bands, rows = bands_and_rows(threshold, PERMUTATIONS, CATCH)
    keys = np.zeros((len(texts), bands), np.uint64)
    sets: list[U32] = []
    for start in range(0, len(texts), BATCH):
        held, ends = distinct(*shingles([text[:CHARACTERS] for text in texts[start : start + BATCH]], WIDTH))
        keys[start : start + BATCH] = band_keys(signatures(held, ends, bands * rows), bands, rows)
        sets += np.split(held, ends[:-1])
    first, second = _meeting(keys)
    found = np.zeros(len(first), bool)
    for start in range(0, len(first), PAIRS):
        some = slice(start, start + PAIRS)
        one, two = ([sets[i] for i in side[some].tolist()] for side in (first, second))
        values = similarity(np.concatenate([*one, *two]), *(np.array(list(map(len, s)), np.int64) for s in (one, two)))
        found[some] = values >= threshold
    return _joined(len(texts), first[found], second[found])


def _meeting(keys: U64) -> tuple[I64, I64]:
    """The pairs that share a band, each once, the lower number first; keys: [N, bands], 0 for a text without words."""
    found = [np.zeros(0, np.int64)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        for apart in range(1, min(WINDOW, len(ordered) - 1) + 1):
            same = np.flatnonzero((ordered[apart:] == ordered[:-apart]) & (ordered[apart:] != 0))
            found.append(order[same] * len(keys) + order[same + apart])
    pairs = np.unique(np.concatenate(found))
    return pairs // max(len(keys), 1), pairs % max(len(keys), 1)


def _joined(count: int, first: I64, second: I64) -> NDArray[np.int64]:
    """Groups by union-find; the least number of each group stands for it."""
    parents = list(range(count))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parents[high] = low
    return np.array([root(i) for i in range(count)], np.int64)
