"""Texts → tokens → shingles, all as arrays of hashes: a quarter of a million characters at a time.

A token is a word (a run of letters, marks and digits, case aside); in scripts that put no spaces between words each
character is a token by itself. So one rule gives word n-grams of English, character n-grams of Chinese, Japanese and
Thai, and both in a text that mixes them, and no text changes its kind of n-gram because one sentence was added. (That
is what a switch by language or by share does: two copies on either side of it have nothing in common.)

A token's hash is a polynomial of its characters modulo 2^64, taken from one running sum over the whole batch; a
shingle's is a linear form of ``width`` tokens, scrambled. Nothing here is a Python loop over words, which is why it is
fast. Chance collisions are those of 64 bits; somebody who wants a collision can build one.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.spill import spans

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
ALONE = 1 << 31  # set on the code of a character that is a token by itself
PLANES = 0x40000  # beyond lie variation selectors, tags and private use: no words
PIECE = (
    1 << 16
)  # characters under one running sum: its arrays stay in a core's cache (2^18: 4.6 ns a character for 3.9)
LONG, REACH = (
    1 << 20,
    1 << 10,
)  # characters: longer texts are hashed in parts, to bound memory; how far to look for a seam
BASE = 0x9E3779B97F4A7C15  # odd: the golden ratio in 64 bits
# Scripts without spaces between words (Unicode blocks): Thai to Tibetan's neighbour Lao, Myanmar, Khmer; kana,
# bopomofo, ideographs, Yi; Myanmar extended; compatibility ideographs, half-width kana; the ideographs' own planes.
UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x312F),
    (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48F), (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x20000, 0x3FFFF),
)  # fmt: skip

_SPACE = re.compile(r"\s")


@cache
def letters() -> U32:
    """Code point → 0 where a word cannot be, else the lower-case character, with `ALONE` in an unspaced script."""
    table = np.zeros(0x110000, np.uint32)
    for code in range(PLANES):
        if unicodedata.category(chr(code))[0] in "LMN":
            folded = chr(code).casefold()
            table[code] = ord(folded) if len(folded) == 1 else code
    for first, last in UNSPACED:
        part = table[first : last + 1]
        part[part > 0] |= ALONE
    return table


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
    if sum(map(len, texts)) <= LONG:
        return _tokens(texts)
    found = [[_tokens([part])[0] for part in _parts(text)] for text in texts]
    ends = np.cumsum([sum(map(len, parts)) for parts in found], dtype=np.int64)
    return np.concatenate([part for parts in found for part in parts]), ends


def _parts(text: str) -> Iterator[str]:
    """A long text in parts that end with white space, if any is within reach."""
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + LONG, start + LONG + REACH)
        stop = space.end() if space else start + LONG
        yield text[start:stop]
        start = stop


def _tokens(texts: Sequence[str]) -> tuple[U64, I64]:
    points, text_ends = codes(texts)
    coded = letters().take(points.astype(np.intp), mode="wrap")  # every code has its place, so nothing is checked
    inside = coded != 0
    joins = np.zeros(len(coded) + 1, bool)  # [i]: character i goes on with the word that i - 1 belongs to
    np.logical_and(inside[1:], inside[:-1], out=joins[1:-1])
    alone = coded >= ALONE
    if alone.any():
        joins[1:-1] &= ~(alone[1:] | alone[:-1])
    begin, end = np.flatnonzero(inside & ~joins[:-1]), np.flatnonzero(inside & ~joins[1:]) + 1
    return _polynomials(coded, begin, end), np.searchsorted(begin, text_ends).astype(np.int64)


def _polynomials(coded: U32, begin: I64, end: I64) -> U64:
    """The hash of each ``coded[begin:end]``; of a token longer than a piece, of its first characters."""
    found = np.empty(len(begin), np.uint64)
    power, inverse = powers()
    done = 0
    while done < len(begin):
        start = int(begin[done])
        stop = max(int(np.searchsorted(end, start + PIECE, "right")), done + 1)
        piece = coded[start : min(int(end[stop - 1]), start + PIECE)]
        sums = np.zeros(len(piece) + 1, np.uint64)
        np.cumsum(piece * power[: len(piece)], out=sums[1:])
        first, last = begin[done:stop] - start, np.minimum(end[done:stop] - start, len(piece))
        found[done:stop] = (sums[last] - sums[first]) * inverse[first]
        done = stop
    return scramble(found)


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
