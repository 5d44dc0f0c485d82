"""How often groups of people are spoken of, and in what company: mentions, polarity near them, occupations near them.

For each group: documents, mentions, and mentions with more positive than negative words within reach, or the reverse.
Mentions in one document are alike, so the sums of squares that a cluster-robust interval needs are kept as well
(`share`). Everything is a sum of whole numbers, so it adds up exactly in any order.

What it can say: that one group stands near bad words more often than another in this corpus, and that filters drop
its mentions more often (Dodge et al. 2021, arXiv:2104.08758, found that of C4's word list). What it cannot: who is
spoken of and by whom, whether the word near a name is about it, irony, or harm.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.text.lexicon import NONE, Found, column, find
from danlu.text.units import Places
from danlu.text.wordlists import GROUPS, NEGATIONS_BEFORE, OCCUPATIONS, named

LANGUAGES = ("en", "zh")
REACH = (10, 15)  # words in English, characters in Chinese: about a clause on each side
NEGATED = 3  # words after a negation that it turns round
GAP = 1 << 6  # units put between documents, so that nothing reaches from one into the next
PIECE = 1 << 20  # characters looked at together
WOMEN, MEN = 0, 1  # in `wordlists.GROUPS`


class Counts(NamedTuple):
    """Of one group: sums over documents, with p mentions in positive and m in positive or negative company in each."""

    documents: int
    mentions: int
    positive: int
    negative: int
    squares: int  # of p
    products: int  # of p and m
    spreads: int  # squares of m


class _Columns(NamedTuple):
    chinese: NDArray[np.bool_]
    group: Places
    job: Places
    polarity: Places
    person: NDArray[np.bool_]
    negates: NDArray[np.bool_]
    only_before_person: NDArray[np.bool_]


@lru_cache(maxsize=1)
def _columns() -> _Columns:
    return _Columns(*(column(name) for name in _Columns._fields))


def share(counts: Counts) -> tuple[float, float]:
    """The share of positive company among positive and negative, and how many independent mentions that is worth.

    The variance is that of a ratio over clusters (Cochran 1977, chapter 6), the documents; the worth is the number
    of independent mentions that would have the same variance, never more than there are.
    """
    total = counts.positive + counts.negative
    if not total:
        return 0.5, 0.0
    p = counts.positive / total
    variance = (counts.squares - 2 * p * counts.products + p * p * counts.spreads) / total**2
    worth = p * (1 - p) / variance if variance > 0 else float(min(total, counts.documents))
    return p, min(worth, float(total))


class Texts(NamedTuple):
    """Documents that are counted together: what stands in them, one after another, and whose it is."""

    found: Found
    document: Places  # number of the document of each word found
    spoken: Sequence[frozenset[str]]  # of each document, the languages to count


def look(texts: Sequence[str], spoken: Sequence[frozenset[str]]) -> Texts:
    """Find the words of the lists in ``texts``; short ones are read together, long ones in pieces."""
    joined = "\n".join(texts)
    ends = np.cumsum([len(text) + 1 for text in texts])
    parts, units = list[Found](), 0
    start = 0
    while start < len(joined) or not parts:
        end = start + PIECE
        if end < len(joined):
            end = (
                max(joined.rfind(" ", start + PIECE // 2, end), joined.rfind("\n", start + PIECE // 2, end)) + 1 or end
            )
        part = find(joined[start:end])
        parts.append(Found(part.unit + units, part.start + start, part.end + start, part.entry))
        units += PIECE  # more than it can hold
        start = end
    found = Found(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    document = np.searchsorted(ends, found.start, side="right")
    return Texts(found._replace(unit=found.unit + GAP * document), document, spoken)


class People:
    """Counts by language of the words and by group, and by occupation the gender of the nearest word for one."""

    def __init__(self) -> None:
        self.groups = np.zeros((len(LANGUAGES), len(named(GROUPS)), len(Counts._fields)), np.int64)
        self.occupations = np.zeros((len(LANGUAGES), len(named(OCCUPATIONS)), 3), np.int64)  # all, near women, near men
        self.any = np.zeros(len(LANGUAGES), np.int64)  # documents that name any group
        self.documents = self.bytes = 0

    def count(self, texts: Texts, chosen: Sequence[int], sizes: Sequence[int]) -> None:
        """Count the documents of those numbers; ``sizes`` are their bytes."""
        self.documents += len(chosen)
        self.bytes += sum(sizes)
        columns = _columns()
        for number, language in enumerate(LANGUAGES):
            mine = np.zeros(len(texts.spoken), bool)
            mine[[i for i in chosen if language in texts.spoken[i]]] = True
            own = mine[texts.document] & (columns.chinese[texts.found.entry] == (language == "zh"))
            if own.any():
                found = Found(*(values[own] for values in texts.found))
                self._count(number, found, texts.document[own], columns)

    def _count(self, language: int, found: Found, document: Places, columns: _Columns) -> None:
        reach, group, job = REACH[language], columns.group[found.entry], columns.job[found.entry]
        after_person = np.zeros(len(group), bool)
        after_person[:-1] = columns.person[found.entry[1:]] & (np.diff(found.unit) == 1)
        named_ = np.flatnonzero((group != NONE) & (after_person | ~columns.only_before_person[found.entry]))
        where, which = found.unit[named_], group[named_]
        near = _polarity_near(found, columns, where, reach)
        self.any[language] += len(np.unique(document[named_]))
        key, place = np.unique(document[named_] * len(named(GROUPS)) + which, return_inverse=True)
        good, bad = (np.bincount(place, sign * near > 0, len(key)).astype(np.int64) for sign in (1, -1))
        both, mentions = good + bad, np.bincount(place, minlength=len(key))
        rows = np.stack([np.ones_like(key), mentions, good, bad, good * good, good * both, both * both], axis=1)
        np.add.at(self.groups[language], key % len(named(GROUPS)), rows)
        jobs = np.flatnonzero(job != NONE)
        np.add.at(self.occupations[language][:, 0], job[jobs], 1)
        for gender in (WOMEN, MEN):
            nearer = _distance(where[which == gender], found.unit[jobs], reach)
            others = _distance(where[which == WOMEN + MEN - gender], found.unit[jobs], reach)
            np.add.at(self.occupations[language][:, 1 + gender], job[jobs], (nearer <= reach) & (nearer < others))

    def merge(self, other: "People") -> None:
        """Add another's counts."""
        self.documents += other.documents
        self.bytes += other.bytes
        self.any += other.any
        self.groups += other.groups
        self.occupations += other.occupations

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, in the order of the lists, what was never met left out."""
        values: dict[str, Any] = {"documents": self.documents, "bytes": self.bytes}
        values["any"] = dict(zip(LANGUAGES, self.any.tolist()))
        for key, table, counts in (("groups", GROUPS, self.groups), ("occupations", OCCUPATIONS, self.occupations)):
            values[key] = {
                language: {row.name: numbers for row, numbers in zip(named(table), own.tolist()) if any(numbers)}
                for language, own in zip(LANGUAGES, counts)
            }
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "People":
        """What `to_dict` gave."""
        people = cls()
        people.documents, people.bytes = values["documents"], values["bytes"]
        people.any = np.array([values["any"][language] for language in LANGUAGES], np.int64)
        for key, table, counts in (("groups", GROUPS, people.groups), ("occupations", OCCUPATIONS, people.occupations)):
            for number, language in enumerate(LANGUAGES):
                for place, row in enumerate(named(table)):
                    counts[number, place] = values[key][language].get(row.name, 0)
        return people


@lru_cache(maxsize=1)
def _prefixes() -> NDArray[np.bool_]:
    """Which entries turn round what follows them without a gap."""
    return np.isin(column("text"), NEGATIONS_BEFORE.split())


def _polarity_near(found: Found, columns: _Columns, where: Places, reach: int) -> Places:
    """Positive less negative words within ``reach`` of each of the places; a negation turns a word round."""
    negates = columns.negates[found.entry]
    negation = np.maximum.accumulate(np.where(negates, found.unit, -1 - NEGATED))
    turned = found.unit - negation <= NEGATED
    turned[1:] |= _prefixes()[found.entry[:-1]] & (found.end[:-1] == found.start[1:])
    sign = columns.polarity[found.entry]
    sign = np.where(turned & ~negates, -sign, sign)
    polar = np.flatnonzero(sign)
    units, sums = found.unit[polar], np.concatenate([[0], np.cumsum(sign[polar])])
    near: Places = sums[np.searchsorted(units, where + reach, "right")] - sums[np.searchsorted(units, where - reach)]
    return near


def _distance(places: Places, units: Places, reach: int) -> Places:
    """From each unit to the nearest of the places; what is out of reach counts as equally far."""
    far = np.full(len(units), reach + 1)
    if not len(places):
        return far
    after = np.searchsorted(places, units)
    right = np.abs(places[np.minimum(after, len(places) - 1)] - units)
    left = np.abs(units - places[np.maximum(after - 1, 0)])
    return np.minimum(np.minimum(left, right), far)
