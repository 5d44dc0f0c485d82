"""The words of a text as 64-bit numbers, found by arithmetic on whole arrays: what classifiers and n-gram indexes read.

A *unit* is a run of letters and digits, or one character of a script that is written without spaces (Chinese, kana,
Thai, Lao, Burmese, Khmer), so English and Chinese need no segmenter and may stand in one sentence. Case, width
(ＡＢＣ, ABC), accents and invisible characters make no difference, white space and punctuation only separate; with
``marks``, a punctuation mark or symbol is a unit too.

The number of a unit is a polynomial over random numbers of its characters, modulo 2^64 (Karp and Rabin 1987), read off
prefix sums. It is the same on every machine and in every process, which Python's own ``hash`` is not. No step goes
character by character in Python: 60 to 100 MB/s on one core, where a regular expression finds words at 15 to 20.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

SPACE, WORD, SINGLE, MARK, INVISIBLE = range(5)
CHUNK = 1 << 15  # characters at a time: the arrays stay in the processor's cache
LAST = 0x20000  # the tables' end; from here to 0x3FFFF there are only Chinese characters
# Scripts without spaces between words (Unicode blocks): Thai, Lao, Myanmar and its extensions, Khmer; kana, bopomofo,
# ideographs, Yi; half-width kana.
UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029),
    (0x3040, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48F),
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9D),
)  # fmt: skip
UNSEEN = (0xAD, *range(0x300, 0x370), *range(0x200B, 0x2010), *range(0xFE00, 0xFE10), 0xFEFF)
FOLLOWING = 0x9E3779B97F4A7C15  # of a unit in a run; odd, or the first units of a long run would be shifted out
BASE = 0xD1342543DE82EF95  # of a character in a unit; odd, so that it has an inverse
WHOLE = (1 << 64) - 1


class Units(NamedTuple):
    """The units of a text in order: their numbers, where in the text they begin, and their kinds."""

    hashes: Hashes
    starts: Places
    kinds: NDArray[np.uint8]


class _Tables(NamedTuple):
    kinds: tuple[
        NDArray[np.uint8], NDArray[np.uint8]
    ]  # of each character: where marks only separate, where they are units
    values: tuple[Hashes, Hashes]  # of each character, folded: 0 where it is in no unit
    powers: Hashes  # BASE ** i
    inverses: Hashes  # BASE ** -i


def mixed(numbers: Hashes) -> Hashes:
    """Numbers without any pattern, one for each: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    numbers = numbers + np.uint64(FOLLOWING)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _folded(character: str) -> str:
    """Lower case, plain width, no accent; a character that would become several stays as it is."""
    parts = unicodedata.normalize("NFKD", character)
    plain = parts[0] if all(unicodedata.combining(part) for part in parts[1:]) else character
    lower = plain.lower()
    return lower if len(lower) == 1 else plain


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] in "LNM":
        return WORD
    return MARK if category[0] in "PS" else SPACE


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    """Built at first use, in a tenth of a second."""
    folded = [_folded(chr(code)) for code in range(LAST)]
    marks = np.array([_kind(character) for character in folded] + [SINGLE], np.uint8)
    for first, last in UNSPACED:
        part = marks[first : last + 1]
        part[part == WORD] = SINGLE
    marks[list(UNSEEN)] = INVISIBLE
    codes = np.array([ord(character) for character in folded] + [LAST], np.uint64)
    powers = [np.full(CHUNK, base, np.uint64) for base in (BASE, pow(BASE, -1, 1 << 64))]
    for table in powers:
        table[0] = 1
        np.multiply.accumulate(table, out=table)
    kinds = (np.where(marks == MARK, SPACE, marks).astype(np.uint8), marks)
    values = mixed(codes)
    zeroed = [np.where((k == SPACE) | (k == INVISIBLE), np.uint64(0), values) for k in kinds]
    return _Tables(kinds, (zeroed[0], zeroed[1]), *powers)


def units(text: str, *, marks: bool = False) -> Units:
    """The units of ``text``, whatever it holds: empty, a million letters without a space, half a surrogate pair."""
    found = [_chunk(text[start:end], start, marks) for start, end in _chunks(text)]
    if len(found) == 1:
        return found[0]
    return Units(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Cut between words; a "word" of 16,384 characters may be cut."""
    start = 0
    while len(text) - start > CHUNK:
        half, end = start + CHUNK // 2, start + CHUNK
        end = max(text.rfind(" ", half, end), text.rfind("\n", half, end)) + 1 or _seam(text, half, end)
        yield start, end
        start = end
    yield start, len(text)


def _seam(text: str, half: int, end: int) -> int:
    """The last place before ``end`` that is in no word, for texts that go on without a space."""
    kinds = _tables().kinds[0]
    for place in range(end, half, -1):
        around = (int(kinds[min(ord(character), LAST)]) for character in text[place - 1 : place + 1])
        if any(kind not in (WORD, INVISIBLE) for kind in around):
            return place
    return end


def _chunk(text: str, offset: int, marks: bool) -> Units:
    tables = _tables()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
    far = np.flatnonzero(codes >= LAST) if codes.max(initial=0) >= LAST else None
    places = codes if far is None else np.minimum(codes, LAST)
    kinds, values = tables.kinds[marks].take(places), tables.values[marks].take(places)
    if far is not None:
        values[far] = mixed(codes[far].astype(np.uint64))
    kept = None
    if kinds.max(initial=0) == INVISIBLE:
        kept = np.flatnonzero(kinds != INVISIBLE)
        kinds, values = kinds[kept], values[kept]
    word = kinds == WORD
    begins = kinds != SPACE
    begins[1:] &= ~(word[1:] & word[:-1])
    first = np.flatnonzero(begins)
    if not len(first):
        return Units(np.zeros(0, np.uint64), first, kinds[:0])
    # What lies between one unit and the next counts as 0, so each sum is that of one unit.
    hashes = np.add.reduceat(values * tables.powers[: len(values)], first) * tables.inverses.take(first)
    starts = first if kept is None else kept[first]
    return Units(hashes, starts + offset if offset else starts, kinds[first])


def runs(hashes: Hashes, n: int) -> Hashes:
    """A number for each run of ``n`` units, ``len(hashes) - n + 1`` of them, by doubling: 2 log2 n operations."""
    if n == 1 or len(hashes) < n:
        return hashes if n == 1 else hashes[:0]
    half = runs(hashes, n // 2)
    doubled = half[: -(n // 2)] * np.uint64(pow(FOLLOWING, n // 2, 1 << 64)) + half[n // 2 :]
    return doubled if n % 2 == 0 else doubled[:-1] * np.uint64(FOLLOWING) + hashes[n - 1 :]


class Index:
    """A set of numbers that answers for a whole array at once: a table by the first bits, then a sorted search."""

    def __init__(self, keys: Hashes) -> None:
        self.keys = np.unique(keys)
        bits = min(max(len(self.keys).bit_length() + 5, 10), 24)  # 1 in 32 of the strangers passes the table
        self._shift = np.uint64(64 - bits)
        table = np.zeros(1 << bits, bool)
        table[self.keys >> self._shift] = True
        self._table = np.packbits(table, bitorder="little")  # a bit each: 1 MB for 200,000 keys, and stays in the cache

    def find(self, hashes: Hashes) -> tuple[Places, Places]:
        """Where in ``hashes`` there is a key, and which key it is."""
        places = (hashes >> self._shift).view(np.int64)
        maybe = (self._table.take(places >> 3) >> (places & 7).astype(np.uint8) & 1).nonzero()[0]
        if not len(maybe):
            return maybe, maybe
        key = np.minimum(np.searchsorted(self.keys, hashes[maybe]), len(self.keys) - 1)
        same = self.keys[key] == hashes[maybe]
        return maybe[same], key[same]
