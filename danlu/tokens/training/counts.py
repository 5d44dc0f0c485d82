"""How often each word of a corpus was seen, in bounded memory, whatever the size of the corpus.

Counting: stretches of the corpus are cut into words by a few threads (NumPy and `re` do the work), each becomes a
`Table` sorted by a 64-bit hash of the words, tables are added up, and what does not fit is written out as a sorted run;
in the end the runs are read side by side, one range of hashes at a time. The result depends on the texts alone. Two
words of the same hash would be counted as one: among 50 million different words the chance is one in 15,000.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.tokens.training.words import Words, cut

Array = npt.NDArray[Any]
STRETCH = 1 << 18  # characters that are cut at once: the arrays of one stretch take some 20 MB
SHOWN = 20  # characters of the longest word
RANGES = 256  # of hashes, by their first byte: what a merge of runs reads at once is one or more of them


class Table(NamedTuple):
    """Different words in the order of their hashes, with their counts."""

    hashes: npt.NDArray[np.uint64]  # [words]
    counts: npt.NDArray[np.int64]  # [words]
    sizes: npt.NDArray[np.int32]  # [words], in characters
    points: npt.NDArray[np.uint32]  # [characters], word after word

    @property
    def bytes(self) -> int:
        """Of memory."""
        return sum(array.nbytes for array in self)


EMPTY = Table(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint32))


class Counts:
    """Words and their counts; above ``limit`` bytes they lie in sorted runs in ``folder``."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._tables: list[Table] = []
        self._held = self._settled = 0
        self._runs: list[Path] = []
        self.spilled = 0

    def add(self, table: Table) -> None:
        """Count the words of another table too."""
        self._tables.append(table)
        self._held += table.bytes
        if self._held > min(self._limit, max(2 * self._settled, 1 << 25)):
            self._settle()
            if self._held > self._limit // 2:
                self._spill()

    def _settle(self) -> None:
        self._tables = [total(self._tables)]
        self._held = self._settled = self._tables[0].bytes

    def _spill(self) -> None:
        """Write what is held as a run: the ends of its ranges, then its four arrays."""
        self._settle()
        table = self._tables[0]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{len(self._runs):06d}"
        words = np.searchsorted(table.hashes, np.arange(1, RANGES, dtype=np.uint64) << np.uint64(56))
        words = np.concatenate([[0], words, [len(table.hashes)]]).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(table.sizes, dtype=np.int64)])
        with path.open("wb") as file:
            for array in (words, ends[words], *table):
                array.tofile(file)
            self.spilled += file.tell()
        self._runs.append(path)
        self._tables, self._held, self._settled = [], 0, 0

    def parts(self) -> Iterator[Table]:
        """Every word once, in tables that follow each other in the order of hashes."""
        if not self._runs:
            self._settle()
            yield self._tables[0]
            return
        if self._tables:
            self._spill()
        heads = [np.fromfile(path, np.int64, 2 * (RANGES + 1)).reshape(2, -1) for path in self._runs]
        sizes = sum(20 * np.diff(words) + 4 * np.diff(characters) for words, characters in heads)
        begin = 0
        while begin < RANGES:
            end, held = begin + 1, sizes[begin]
            while end < RANGES and held + sizes[end] <= self._limit // 2:
                held += sizes[end]
                end += 1
            yield total([_read(path, head, begin, end) for path, head in zip(self._runs, heads)])
            begin = end


def _read(path: Path, head: Array, begin: int, end: int) -> Table:
    """The ranges from ``begin`` to ``end`` of a run."""
    words, characters = head
    first, last, total_words = words[begin], words[end], words[-1]
    at = head.nbytes
    with path.open("rb") as file:

        def part(kind: Any, width: int, first: int, last: int, total: int) -> Array:
            nonlocal at
            file.seek(at + width * first)
            at += width * total
            return np.fromfile(file, kind, last - first)

        hashes = part(np.uint64, 8, first, last, total_words)
        counts = part(np.int64, 8, first, last, total_words)
        sizes = part(np.int32, 4, first, last, total_words)
        return Table(hashes, counts, sizes, part(np.uint32, 4, characters[begin], characters[end], characters[-1]))


def total(tables: Sequence[Table]) -> Table:
    """Several tables added up."""
    tables = [table for table in tables if len(table.hashes)] or [EMPTY]
    if len(tables) == 1:
        return tables[0]
    hashes, counts, sizes, points = (np.concatenate(arrays) for arrays in zip(*tables))
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    return group(hashes, counts, Words(points, starts, sizes, 0))


def group(hashes: Array, counts: Array | None, words: Words) -> Table:
    """A table of words that may come more than once; each counts once unless ``counts`` says otherwise."""
    if not len(hashes):
        return EMPTY
    order = np.argsort(hashes)
    hashes = hashes[order]
    firsts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    if counts is None:
        summed = np.diff(np.append(firsts, len(hashes)))
    else:
        summed = np.add.reduceat(counts[order], firsts)
    chosen = order[firsts]
    sizes = words.sizes[chosen].astype(np.int32)
    return Table(hashes[firsts], summed.astype(np.int64), sizes, gather(words.points, words.starts[chosen], sizes))


def gather(points: Array, starts: Array, sizes: Array) -> npt.NDArray[np.uint32]:
    """The characters of the words, one after the other; a stretch at a time, as the indices are larger than they."""
    ends = np.cumsum(sizes, dtype=np.int64)
    found = np.empty(ends[-1] if len(ends) else 0, np.uint32)
    begin = 0
    while begin < len(sizes):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + STRETCH)), begin + 1)
        size = sizes[begin:end]
        offset = np.repeat(starts[begin:end] - (ends[begin:end] - size), size)
        found[before : ends[end - 1]] = points[offset + np.arange(before, ends[end - 1])]
        begin = end
    return found


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64-bit numbers after which every bit depends on all (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


FACTOR = 0x9E3779B97F4A7C15  # any large odd number


@cache
def _powers(length: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The powers of `FACTOR` and of its inverse, modulo 2^64."""
    return tuple(  # type: ignore[return-value]
        np.concatenate([np.ones(1, np.uint64), np.multiply.accumulate(np.full(length, factor, np.uint64))])
        for factor in (FACTOR, pow(FACTOR, -1, 1 << 64))
    )


def hashed(words: Words) -> npt.NDArray[np.uint64]:
    """A hash of each word: a polynomial of its characters, from sums over the whole stretch."""
    length = len(words.points)
    power, inverse = _powers(STRETCH if length <= STRETCH else 1 << length.bit_length())
    sums = np.zeros(length + 1, np.uint64)
    np.cumsum(mix(words.points.astype(np.uint64) + np.uint64(FACTOR)) * power[:length], out=sums[1:])
    value = (sums[words.starts + words.sizes] - sums[words.starts]) * inverse[words.starts]
    return mix(value ^ words.sizes.astype(np.uint64))


class Seen(NamedTuple):
    """What a corpus held."""

    characters: int = 0
    odd: int = 0  # characters that no text is made of
    solid: bool = False  # is anything more than white space?
    longest: tuple[int, str] = (0, "")  # the longest word: its characters, and how it begins


def count_words(texts: Iterable[str], counts: Counts, digits: int = 2, workers: int = 1) -> Seen:
    """Count the words of all texts into ``counts``, with ``workers`` threads."""
    seen = Seen()
    for table, found in _in_order(lambda stretch: _count(stretch, digits), stretches(texts), workers):
        counts.add(table)
        seen = Seen(
            seen.characters + found.characters,
            seen.odd + found.odd,
            seen.solid or found.solid,
            max(seen.longest, found.longest),
        )
    return seen


def _count(texts: Sequence[str], digits: int) -> tuple[Table, Seen]:
    words = cut(texts, digits)
    if not len(words.sizes):
        return EMPTY, Seen()
    size = int(words.sizes.max())
    begins = words.starts[words.sizes == size]
    longest = max(words.points[at : at + min(size, SHOWN)].tobytes().decode("utf-32-le") for at in begins)
    solid = any(text and not text.isspace() for text in texts)
    characters = len(words.points) - len(texts) + 1
    return group(hashed(words), None, words), Seen(characters, words.odd, solid, (size, longest))


def stretches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of about `STRETCH` characters; a longer text is parted where a line ends before a solid character.

    There no word goes on. Only in a text with no such place for a whole stretch may a word be cut.
    """
    held, size = list[str](), 0
    for text in texts:
        for part in _parted(text) if len(text) > STRETCH else (text,):
            held.append(part)
            size += len(part) + 1
            if size >= STRETCH:
                yield held
                held, size = [], 0
    if held:
        yield held


def _parted(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > STRETCH:
        end = begin + STRETCH
        at = text.rfind("\n", begin, end)
        while at > begin and text[at + 1].isspace():
            at = text.rfind("\n", begin, at)
        end = at + 1 if at > begin else end
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _in_order(do: Callable[[list[str]], Any], items: Iterable[list[str]], workers: int) -> Iterator[Any]:
    """The results in the order of the items; no more of them wait than there are workers."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
