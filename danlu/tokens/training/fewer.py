"""Making the different words of a corpus few enough to learn from, without losing what can be learned.

A language without word borders has too many different words, and most are seen once. Two things make them few:

- `shorten` cuts a word between two characters that are seen side by side less than ``rare`` times in the whole
  corpus. A piece across such a border is at least as rare, so nothing commoner than that is lost.
- `thin`, when even those do not fit, keeps each word seen less than ``level`` times with the chance count / level,
  chosen by its hash, and counts it ``level`` times (threshold sampling: Duffield, Lund and Thorup, "Priority sampling
  for estimation of arbitrary subset sums", 2007). Every sum of counts stays right on average, with a standard error
  of at most sqrt(level * sum). Dropping the rare words instead costs more, see LOG.md.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.tokens.training.counts import EMPTY, STRETCH, Counts, Table, gather, group, hashed, mix, total
from danlu.tokens.training.words import Words

Array = npt.NDArray[Any]
BUCKETS = 1 << 22  # for pairs of neighbours; two pairs that share one look commoner than they are, never rarer
HIGHEST = 1 << 16  # level of thinning
SALT = np.uint64(0xD1B54A32D192ED03)


class Fewest(NamedTuple):
    """Words as UTF-8, the commonest first, and what was done to have no more of them."""

    text: npt.NDArray[np.uint8]  # [bytes], word after word
    sizes: npt.NDArray[np.int32]  # [words], in bytes
    counts: npt.NDArray[np.int64]  # [words]
    rare: int  # words were cut between characters that are neighbours less often than this; 0: they were not
    level: int  # words less common than this were sampled; 1: all were kept


def sizes_of(words: Words) -> npt.NDArray[np.int64]:
    """Bytes of UTF-8 of each word, and one more for its border."""
    wide = np.ones(len(words.points), np.uint8)
    for limit in (0x7F, 0x7FF, 0xFFFF):
        wide += words.points > limit
    return np.add.reduceat(wide, words.starts, dtype=np.int64) + 1 if len(wide) else np.empty(0, np.int64)


def few_words(counts: Counts, spare: Counts, *, whole: int, most: int, rare: Callable[[Array], int]) -> Fewest:
    """The words of ``counts`` with at most ``most`` bytes.

    They are kept whole up to ``whole`` bytes. Above that they are cut where neighbours are rarer than what ``rare``
    says, given how often those of each bucket are side by side; the parts are counted into ``spare``.
    """
    below, (pairs, size) = 0, neighbours(counts.parts())
    if size > whole and (below := rare(pairs)) > 1:
        for part in counts.parts():
            for shorter in shorten(part, pairs, below):
                spare.add(shorter)
        counts = spare
    level = thin_level(counts.parts(), most)
    kept = total([thin(part, level) for part in counts.parts()])
    order = np.argsort(-kept.counts, kind="stable")
    starts = np.cumsum(kept.sizes, dtype=np.int64) - kept.sizes
    sizes = np.concatenate([np.empty(0, np.int64), *(sizes_of(words) for words, _ in blocks(kept))])[order] - 1
    points = gather(kept.points, starts[order], kept.sizes[order])
    text = np.frombuffer(points.tobytes().decode("utf-32-le").encode(), np.uint8)
    return Fewest(text, sizes.astype(np.int32), kept.counts[order], below, level)


def neighbours(parts: Iterable[Table]) -> tuple[npt.NDArray[np.int64], int]:
    """How often the pairs of neighbouring characters of each bucket are seen; the size of all words in bytes."""
    found, size = np.zeros(BUCKETS, np.int64), 0
    for part in parts:
        for words, counts in blocks(part):
            inner = _inner(words)
            weights = np.repeat(counts, words.sizes)[inner]
            np.add.at(found, _buckets(words.points, inner), weights)
            size += int(sizes_of(words).sum())
    return found, size


def shorten(table: Table, pairs: npt.NDArray[np.int64], rare: int) -> Iterator[Table]:
    """The words cut between neighbours seen less than ``rare`` times, a block of them at a time."""
    for words, counts in blocks(table):
        inner = _inner(words)
        cuts = inner[pairs[_buckets(words.points, inner)] < rare] + 1
        first = np.zeros(len(words.points) + 1, bool)
        first[words.starts] = first[cuts] = True
        starts = np.flatnonzero(first[:-1])
        sizes = np.diff(np.append(starts, len(words.points)))
        weights = np.repeat(counts, words.sizes)[starts]
        parts = Words(words.points, starts, sizes, 0)
        yield group(hashed(parts), weights, parts)


def _inner(words: Words) -> Array:
    """Where a character is not the last of its word."""
    inner = np.ones(len(words.points), bool)
    inner[words.starts + words.sizes - 1] = False
    return np.flatnonzero(inner)


def _buckets(points: Array, at: Array) -> Array:
    pairs = points[at].astype(np.uint64) << np.uint64(32) | points[at + 1]
    return (mix(pairs) >> np.uint64(64 - BUCKETS.bit_length() + 1)).astype(np.int64)


def blocks(table: Table) -> Iterator[tuple[Words, npt.NDArray[np.int64]]]:
    """A table in blocks of about `STRETCH` characters, and the counts of their words."""
    ends = np.cumsum(table.sizes, dtype=np.int64)
    begin = 0
    while begin < len(ends):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + STRETCH)), begin + 1)
        sizes = table.sizes[begin:end].astype(np.int64)
        points = table.points[before : ends[end - 1]]
        yield Words(points, np.cumsum(sizes) - sizes, sizes, 0), table.counts[begin:end]
        begin = end


def thin_level(parts: Iterable[Table], most: int) -> int:
    """The lowest level at which the words are expected to take at most ``most`` bytes."""
    by_count = np.zeros(HIGHEST + 1)
    for part in parts:
        for words, counts in blocks(part):
            by_count += np.bincount(np.minimum(counts, HIGHEST), sizes_of(words), minlength=HIGHEST + 1)
    times = np.arange(HIGHEST + 1)
    rarer = np.cumsum(by_count * times) - by_count * times  # of words less common than each level
    commoner = by_count.sum() - (np.cumsum(by_count) - by_count)
    expected = rarer[1:] / times[1:] + commoner[1:]
    fits = np.flatnonzero(expected <= most)
    return int(fits[0]) + 1 if len(fits) else HIGHEST


def thin(table: Table, level: int) -> Table:
    """A sample in which sums of counts are right on average; see above."""
    if level <= 1 or not len(table.hashes):
        return table
    chance = (mix(table.hashes ^ SALT) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    kept = np.flatnonzero(chance * level < table.counts)
    if not len(kept):
        return EMPTY
    starts = np.cumsum(table.sizes, dtype=np.int64) - table.sizes
    sizes = table.sizes[kept]
    counts = np.maximum(table.counts[kept], level)
    return Table(table.hashes[kept], counts, sizes, gather(table.points, starts[kept], sizes))
