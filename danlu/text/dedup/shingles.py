"""Texts → tokens → shingles, all as arrays of hashes: a quarter of a million characters at a time.

A token is a unit of `danlu.text.units`: a word, or a character of a script that puts no spaces between words. So one
rule gives word n-grams of English, character n-grams of Chinese, Japanese and Thai, and both in a text that mixes them,
and no text changes its kind of n-gram because one sentence was added. (That is what a switch by language or by share
does: two copies on either side of it have nothing in common.)

A shingle's hash is a linear form of ``width`` tokens, scrambled. Nothing here is a Python loop over words, which is why
it is fast. Chance collisions are those of 64 bits; somebody who wants a collision can build one.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.spill import spans
from danlu.text.units import units

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
# Characters under one running sum: its arrays stay in a core's cache (2^18: 4.6 ns a character for 3.9).
PIECE = 1 << 16
BASE = 0x9E3779B97F4A7C15  # odd: the golden ratio in 64 bits


@cache
def powers(base: int = BASE) -> tuple[U64, U64]:
    """``base ** i`` modulo 2^64 and their inverses, for every place in a piece."""
    inverse = pow(base, -1, 2**64)
    return tuple(  # type: ignore[return-value]
        np.multiply.accumulate(np.concatenate([[np.uint64(1)], np.full(PIECE, value, np.uint64)]))
        for value in (base, inverse)
    )


def scramble(values: U64) -> U64:
    """A bijection of 64 bits after which every bit depends on all (the finaliser of SplitMix64: Steele et al. 2014)."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def codes(texts: Sequence[str]) -> tuple[U32, I64]:
    """The code points of all ``texts``, a line feed after each, and where each text ends (its line feed) [D]."""
    joined = "\n".join([*texts, ""])
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return points, np.cumsum(lengths + 1) - 1


def tokens(texts: Sequence[str]) -> tuple[U64, I64]:
    """Hashes of the tokens of all ``texts`` [T], and the number of tokens up to each text's end [D]."""
    found = units("\n".join([*texts, ""]))
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    return found.hashes, np.searchsorted(found.starts, ends).astype(np.int64)


def shingles(texts: Sequence[str], width: int) -> tuple[U64, I64]:
    """Hashes of the runs of ``width`` tokens of all ``texts``, in their order, and how many up to each text's end [D].

    A text with fewer tokens is one shingle of all it has; a text without tokens has none.
    """
    words, ends = tokens(texts)
    counts = np.diff(ends, prepend=0)
    padded = np.zeros(len(words) + len(texts) * (width - 1), np.uint64)  # a text's last shingle ends in its own zeros
    begin = np.concatenate([[0], ends[:-1]]) + np.arange(len(texts)) * (width - 1)
    padded[spans(begin, counts)] = words
    sums = np.zeros(len(padded), np.uint64)
    for offset, factor in enumerate(factors(width)):
        sums[: len(sums) - offset] += padded[offset:] * factor
    number = np.where(counts > 0, np.maximum(counts - width + 1, 1), 0)
    return scramble(sums[spans(begin, number)]), np.cumsum(number)


def factors(number: int, salt: int = 0) -> U64:
    """Odd random numbers, always the same ones for a ``salt``."""
    return scramble(np.arange(1, number + 1, dtype=np.uint64) + np.uint64(salt << 32)) | np.uint64(1)


def distinct(hashes: U64, ends: I64) -> tuple[U32, I64]:
    """The sets of the upper 32 bits of each text's hashes, ascending within a text, and where each set ends [D].

    32 bits because the sets are kept on disk: of two unlike documents with n shingles each, n^2 / 2^32 seem shared
    (one in a million of a document's, at n = 4,000).
    """
    owner = np.repeat(np.arange(len(ends), dtype=np.uint64), np.diff(ends, prepend=0))
    keys = np.sort(owner << np.uint64(32) | hashes >> np.uint64(32))
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    last = np.searchsorted(keys, np.arange(1, len(ends) + 1, dtype=np.uint64) << np.uint64(32))
    return keys.astype(np.uint32), last.astype(np.int64)
