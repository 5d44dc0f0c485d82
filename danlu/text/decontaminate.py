"""Decontamination: a document must not hold what the model will be tested with.

A document meets a test item when they share a run of 13 words (the rule of GPT-3, Brown et al. 2020), whatever their
case, spacing and punctuation; of Chinese, 20 characters, since 13 English words become about 18 in 50,000 translated
sentences (Tatoeba). Thirteen characters would be too few: of 1,134 passages of news 6.5 % shared so many with other
articles of that month, and 2.7 % shared 20; of unrelated English prose 0 to 0.9 % shared 13 words. A run counts as
Chinese when most of its units are single characters. Runs that are mostly numbers are not looked for (1 to 16 and rows
of zeros were all that HumanEval met in 43 MB of documentation and source), nor are runs that more than ten items of a
set share: they are its template.

An item whose question is too short for a run is met when its whole question, of five words or eight characters at
least, stands in the document and an answer follows within 64 words. Shorter ones cannot be told from chance: the report
says how many. What this cannot find: paraphrase, translation, and a text changed in every thirteenth word.

datatrove's rule, for comparison: 12 words, by default only runs that reach into the answer, so a leaked question
without its answer passes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError, require
from danlu.text.document import Document, Dropped, changed
from danlu.text.evalsets import Item, file_of, items
from danlu.text.stamp import stamp
from danlu.text.units import SINGLE, Hashes, Index, Places, Units, runs, units

TEMPLATE = 10  # items of one set that may share a run
ANCHOR_WORDS, ANCHOR_CHARACTERS = 5, 8  # the shortest question that can be looked for
NEAR = 64  # units after a short question in which its answer is looked for
NAMED = 10  # items named in meta
SNIPPET = 160  # characters
REACH = 200  # characters from a passage in which the end of its sentence is looked for
ENDS = "。！？!?\n"
TRAILING = re.compile(r"\W+\Z")


class Short(NamedTuple):
    """An item without a run: the run it begins with, the whole question, and its answers."""

    item: int
    anchor: int
    question: Hashes
    answers: tuple[Hashes, ...]


class Meeting(NamedTuple):
    """An item that a document holds: how much of it, and where in the document, in units."""

    item: int
    overlap: float
    passages: list[tuple[int, int]]


@dataclass(frozen=True)
class Tests:
    """Everything to look for. Key ``k`` belongs to ``items[first[k] : first[k + 1]]``."""

    names: list[tuple[str, int]]
    keys: Index
    first: Places
    items: Places
    sizes: Places  # runs of each item
    anchors: Index
    short: list[list[Short]]  # by anchor
    facts: dict[str, Any]


@dataclass(frozen=True)
class Decontaminate:
    """Drop documents that hold items of evaluation sets, or cut the passages out."""

    sets: tuple[Path, ...] = ()
    """Evaluation sets: files (.jsonl, .json, .parquet, .csv, .tsv, .txt) or package:gsm8k, package:humaneval."""
    fields: tuple[str, ...] = ()
    """The keys of their records to compare; by default every text."""
    words: int = 13
    """A run of so many words in common is contamination."""
    characters: int = 20
    """The same for Chinese, in characters."""
    least_overlap: float = 0.0
    """The share of an item's runs that a document must hold; 0: one is enough."""
    mode: Literal["drop", "cut", "mark"] = "drop"
    """Drop the document, cut the sentences out, or only write the items it met under 'contamination' in meta."""
    remain: int = 200
    """With cut: drop the document if fewer characters are left."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("words", self.words > ANCHOR_WORDS, f"must be above {ANCHOR_WORDS}"),
            ("characters", self.characters > ANCHOR_CHARACTERS, f"must be above {ANCHOR_CHARACTERS}"),
            ("least_overlap", 0 <= self.least_overlap <= 1, "must be between 0 and 1"),
            ("mode", self.mode in ("drop", "cut", "mark"), "must be drop, cut or mark"),
            ("remain", self.remain >= 0, "must be at least 0"),
        )

    def facts(self) -> dict[str, Any]:
        """What is looked for: sets, items, runs, and how many items are too short. Raises `UserError` for bad files."""
        return self._tests().facts

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, whole or cut, or ``contaminated``, with the item that it meets most of."""
        found = units(document.text)
        met = self._meetings(found)
        if not met:
            return document
        named = [self._named(meeting) for meeting in met[:NAMED]]
        dropped = Dropped("contaminated", self._sentence(document.text, found, met[0]))
        if self.mode == "drop":
            return dropped
        text, cuts = document.text, 0
        while met and self.mode == "cut":  # again, because what is moved together may make a run anew
            text, count = _without(text, found, met)
            cuts += count
            found = units(text)
            met = self._meetings(found)
        if self.mode == "cut" and len(text.strip()) < self.remain:
            return dropped
        cut = changed(document, text, {"contamination": cuts})
        return replace(cut, meta={**cut.meta, "contamination": named})

    def _named(self, meeting: Meeting) -> dict[str, Any]:
        name, number = self._tests().names[meeting.item]
        return {"set": name, "item": number, "overlap": round(meeting.overlap, 4)}

    def _sentence(self, text: str, found: Units, meeting: Meeting) -> str:
        name, number = self._tests().names[meeting.item]
        start, end = max(meeting.passages, key=lambda span: span[1] - span[0])
        what = " ".join(text[found.starts[start] : _end(text, found, end)].split())[:SNIPPET]
        kind = "characters" if (found.kinds[start:end] == SINGLE).mean() > 0.5 else "words"
        return f"{name} item {number}: {end - start} {kind} '{what}'"

    def _tests(self) -> Tests:
        if not self.sets:
            raise UserError("needs at least one file or package:NAME", where="recipe: sets")
        sets = tuple(map(str, self.sets))
        return tests(sets, self.fields, self.words, self.characters, tuple(stamp(file_of(given)) for given in sets))

    def _meetings(self, found: Units) -> list[Meeting]:
        """The items that a text holds, the one it holds most of first."""
        against = self._tests()
        runs_of: dict[int, set[int]] = {}
        places: dict[int, list[tuple[int, int]]] = {}
        single = int(np.count_nonzero(found.kinds == SINGLE))
        for size, there in ((self.words, len(found.kinds) - single), (self.characters, single)):
            if 2 * there < size:  # there can be no run of this kind
                continue
            starts, keys = against.keys.find(runs(found.hashes, size))
            for start, key in zip(starts.tolist(), keys.tolist(), strict=True):
                for item in against.items[against.first[key] : against.first[key + 1]].tolist():
                    runs_of.setdefault(item, set()).add(key)
                    places.setdefault(item, []).append((start, start + size))
        met = []
        for item, keys_met in runs_of.items():
            overlap = len(keys_met) / int(against.sizes[item])
            if overlap >= self.least_overlap:
                met.append(Meeting(item, overlap, _merged(places[item])))
        met += [meeting for meeting in _short(against, found) if meeting.item not in runs_of]
        return sorted(met, key=lambda meeting: (-meeting.overlap, meeting.item))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _short(against: Tests, found: Units) -> Iterator[Meeting]:
    """Items whose short question stands in the text with an answer behind it."""
    if not against.short:
        return
    seen: set[int] = set()
    for size in (ANCHOR_WORDS, ANCHOR_CHARACTERS):
        starts, keys = against.anchors.find(runs(found.hashes, size))
        for start, key in zip(starts.tolist(), keys.tolist(), strict=True):
            for short in against.short[key]:
                end = start + len(short.question)
                if short.item in seen or not np.array_equal(found.hashes[start:end], short.question):
                    continue
                behind = found.hashes[end : end + NEAR]
                for answer in short.answers:
                    at = np.flatnonzero(runs(behind, len(answer)) == runs(answer, len(answer))[0])
                    if len(at):
                        seen.add(short.item)
                        last = end + int(at[0]) + len(answer)
                        yield Meeting(short.item, 1.0, [(start, last)])
                        break


def _end(text: str, found: Units, unit: int) -> int:
    """Where in ``text`` the units before number ``unit`` have ended, without the marks and spaces behind."""
    start = int(found.starts[unit - 1])
    end = int(found.starts[unit]) if unit < len(found.starts) else len(text)
    return start + len(TRAILING.sub("", text[start:end]))


def _without(text: str, found: Units, met: list[Meeting]) -> tuple[str, int]:
    """``text`` without the sentences of all passages, and how many pieces were cut."""
    spans = []
    for meeting in met:
        for first, last in meeting.passages:
            start, end = int(found.starts[first]), _end(text, found, last)
            before = text[max(start - REACH, 0) : start]
            border = max(before.rfind(mark) for mark in (*ENDS, ". "))
            start = start - len(before) + border + 1 if border >= 0 else start
            ends = [place + 1 for mark in (*ENDS, ". ") if (place := text.find(mark, end, end + REACH)) >= 0]
            spans.append((start, min(ends, default=end)))
    kept, place = [], 0
    merged = _merged(spans)
    for start, end in merged:
        kept.append(text[place:start])
        place = end
    return "".join([*kept, text[place:]]), len(merged)


@lru_cache(maxsize=2)
def tests(
    sets: tuple[str, ...], fields: tuple[str, ...], words: int, characters: int, stamps: tuple[int, ...]
) -> Tests:
    """The index of these sets, built once in each process; ``stamps`` tells changed files apart."""
    listed = [item for given in sets for item in items(given, fields)]
    if not listed:
        raise UserError("holds no test items", where=", ".join(sets), remedy="Give files with questions in them")
    found = [np.unique(np.concatenate(list(_runs(item, words, characters)))) for item in listed]
    short = [_short_item(number, item) for number, item in enumerate(listed) if not len(found[number])]
    usable = [item for item in short if item is not None]
    order: dict[str, int] = {}
    kinds = np.array([order.setdefault(item.set, len(order)) for item in listed])
    keys, owners = _without_templates(found, kinds)
    anchors: dict[int, list[Short]] = {}
    for item in usable:
        anchors.setdefault(item.anchor, []).append(item)
    index, by_anchor = Index(keys), Index(np.array(list(anchors), np.uint64))
    facts = {
        "sets": {name: int((kinds == number).sum()) for name, number in order.items()},
        "items": len(listed),
        "runs": len(index.keys),
        "found_by_question_and_answer": len(usable),
        "too_short": len(short) - len(usable),
    }
    return Tests(
        names=[(item.set, item.number) for item in listed],
        keys=index,
        first=np.append(np.searchsorted(keys, index.keys), len(keys)),
        items=owners,
        sizes=np.bincount(owners, minlength=len(listed)),
        anchors=by_anchor,
        short=[anchors[key] for key in by_anchor.keys.tolist()],
        facts=facts,
    )


def _runs(item: Item, words: int, characters: int) -> Iterator[Hashes]:
    """The runs of all texts of an item, and of its question with each answer behind it."""
    yield np.zeros(0, np.uint64)
    for text in (*item.texts, *(f"{item.question}\n{answer}" for answer in item.answers if item.question)):
        found = units(text)
        digits = np.array([text[place].isdigit() for place in found.starts.tolist()], bool)
        for size, chinese in ((words, False), (characters, True)):
            hashes = runs(found.hashes, size)
            single, number = (_within(flags, size) for flags in (found.kinds == SINGLE, digits))
            yield hashes[((2 * single > size) == chinese) & (2 * number <= size)]


def _within(flags: NDArray[np.bool_], size: int) -> Places:
    """How many of each ``size`` neighbours are true."""
    sums = np.concatenate(([0], np.cumsum(flags)))
    return np.asarray(sums[size:] - sums[: max(len(sums) - size, 0)])


def _without_templates(found: list[Hashes], kinds: NDArray[np.int64]) -> tuple[Hashes, Places]:
    """(key, item) of all runs, sorted by key, without those that more than `TEMPLATE` items of one set share."""
    keys = np.concatenate(found)
    owners = np.repeat(np.arange(len(found)), [len(part) for part in found])
    order = np.lexsort((owners, kinds[owners], keys))
    keys, owners = keys[order], owners[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (kinds[owners[1:]] != kinds[owners[:-1]])
    group = np.cumsum(new) - 1
    rare = np.bincount(group)[group] <= TEMPLATE if len(keys) else new
    return keys[rare], owners[rare]


def _short_item(number: int, item: Item) -> Short | None:
    """An item to be found by question and answer, or None if it is too short or has no answer."""
    question = units(item.question)
    answers = tuple(hashes for answer in item.answers if len(hashes := units(answer).hashes))
    single = question.kinds == SINGLE
    least = ANCHOR_CHARACTERS if len(single) and single.mean() > 0.5 else ANCHOR_WORDS
    if len(single) < least or not answers:
        return None
    return Short(number, int(runs(question.hashes[:least], least)[0]), question.hashes, answers)
