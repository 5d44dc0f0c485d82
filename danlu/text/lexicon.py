"""Where the words of `danlu.text.wordlists` stand in a text, all of them at once.

English is matched by whole words in any case, Chinese by characters in running text; of words that overlap the one
that begins first and is longest counts, so 印度教 is no 印度. The work is done on the numbers of `danlu.text.units`, by
table and sorted search, because a regular expression with fifteen hundred branches reads a twentieth as fast.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.text import wordlists
from danlu.text.units import Hashes, Index, Places, runs, units

LONGEST = 4  # units looked up together; of a longer word the rest is compared as text
NONE = -1


class Entry(NamedTuple):
    """What a word means here; a word may mean several things."""

    text: str
    chinese: bool
    group: int = NONE  # number in `wordlists.GROUPS`
    job: int = NONE  # number in `wordlists.OCCUPATIONS`
    polarity: int = 0
    person: bool = False  # a word for people
    negates: bool = False
    only_before_person: bool = False


class Found(NamedTuple):
    """The words in a text: of each its first unit, where it begins and ends in characters, and its entry's number."""

    unit: Places
    start: Places
    end: Places
    entry: Places


class _Tables(NamedTuple):
    indexes: tuple[Index, ...]  # for runs of 1, 2, ... LONGEST units
    firsts: tuple[Places, ...]  # the entry of each key; the others of the same key follow it, the longest first
    lengths: Places  # characters of each entry
    heads: Places  # characters of the first of two words, or 0
    alike: Places  # how many entries share the key of each
    texts: list[str]


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Every word once, with all that it means."""
    meanings: dict[str, Entry] = {}

    def mean(words: Iterable[str], **what: Any) -> None:
        for word in words:
            text = word.rstrip("*").replace("_", " ")
            old = meanings.get(text, Entry(text, not text.isascii()))
            star = old.only_before_person or word.endswith("*")
            meanings[text] = old._replace(**what, only_before_person=star)

    for number, row in enumerate(wordlists.named(wordlists.GROUPS)):
        mean(row.words, group=number)
    for number, row in enumerate(wordlists.named(wordlists.OCCUPATIONS)):
        mean(row.words, job=number)
    mean(wordlists.POSITIVE.split(), polarity=1)
    mean(wordlists.NEGATIVE.split(), polarity=-1)
    mean(wordlists.PEOPLE.split(), person=True)
    mean(wordlists.NEGATIONS.split(), negates=True)
    mean([*wordlists.NEGATIONS_BEFORE.split(), *wordlists.EXCEPT.split()])
    return tuple(sorted(meanings.values(), key=lambda entry: (entry.text[:LONGEST], -len(entry.text))))


def column(name: str) -> NDArray[Any]:
    """One property of all entries, as an array."""
    return np.array([getattr(entry, name) for entry in entries()])


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    """Built at first use, in some milliseconds."""
    texts = [entry.text for entry in entries()]
    hashes, starts, _ = units("\n".join(texts))
    ends = np.searchsorted(starts, np.cumsum([len(text) + 1 for text in texts]))
    keys: list[dict[int, list[int]]] = [{} for _ in range(LONGEST)]
    for number, (begin, end) in enumerate(zip([0, *ends], ends)):
        own = hashes[begin:end][:LONGEST]
        keys[len(own) - 1].setdefault(int(runs(own, len(own))[0]), []).append(number)
    indexes = tuple(Index(np.array(list(of_length), np.uint64)) for of_length in keys)
    alike = np.ones(len(texts), np.int64)
    for numbers in (numbers for of_length in keys for numbers in of_length.values()):
        alike[numbers] = len(numbers)
    return _Tables(
        indexes,
        tuple(np.array([of[int(key)][0] for key in index.keys]) for index, of in zip(indexes, keys)),
        np.array([len(text) for text in texts]),
        np.array([max(text.find(" "), 0) for text in texts]),
        alike,
        texts,
    )


def find(text: str) -> Found:
    """The words of the lists in ``text``, in order, none inside another."""
    tables = _tables()
    hashes, starts, _ = units(text)
    at, entry = _candidates(tables, hashes)
    start = starts[at]
    fits = _whole(tables, text, starts, at, start, entry)
    at, start, entry = at[fits], start[fits], entry[fits]
    end = start + tables.lengths[entry]
    apart = _apart(start, end)
    return Found(at[apart], start[apart], end[apart], entry[apart])


def _candidates(tables: _Tables, hashes: Hashes) -> tuple[Places, Places]:
    """(first unit, entry) of every run that is in the lists, in the order of units, the longest first."""
    at, entry, length = list[Places](), list[Places](), list[Places]()
    for n, (index, first) in enumerate(zip(tables.indexes, tables.firsts), 1):
        places, keys = index.find(runs(hashes, n))
        at.append(places)
        entry.append(first[keys])
        length.append(np.full(len(places), -n))
    joined = np.concatenate(at)
    order = np.lexsort((np.concatenate(length), joined))
    return joined[order], np.concatenate(entry)[order]


def _whole(tables: _Tables, text: str, starts: Places, at: Places, start: Places, entry: Places) -> NDArray[np.bool_]:
    """Which candidates stand there without a gap; where longer words share a key, ``entry`` is set to the right one."""
    last = max(len(starts) - 1, 0)
    head = tables.heads[entry]
    fits = (head == 0) | (starts[np.minimum(at + 1, last)] - start == head + 1)  # a space or a hyphen between two words
    long = np.minimum(tables.lengths[entry], LONGEST) - 1
    chinese = _chinese()[entry]
    fits &= ~chinese | (starts[np.minimum(at + long, last)] - start == long)
    for i in np.flatnonzero(fits & chinese & ((tables.lengths[entry] > LONGEST) | (tables.alike[entry] > 1))):
        choices = range(int(entry[i]), int(entry[i]) + int(tables.alike[entry[i]]))
        entry[i] = next((number for number in choices if text.startswith(tables.texts[number], start[i])), NONE)
        fits[i] = entry[i] != NONE
    return fits


@lru_cache(maxsize=1)
def _chinese() -> NDArray[np.bool_]:
    return column("chinese")


def _apart(start: Places, end: Places) -> NDArray[np.bool_]:
    """Which of these to keep so that none begins before the end of the one kept before it."""
    kept = np.ones(len(start), bool)
    inside = np.flatnonzero(start[1:] < np.maximum.accumulate(end)[:-1]) + 1
    before, free = -1, 0
    for i in inside.tolist():  # one that is inside nothing is kept, so only the few others are looked at
        if i - 1 != before:
            free = int(end[i - 1])
        before = i
        if start[i] >= free:
            free = int(end[i])
        else:
            kept[i] = False
    return kept
