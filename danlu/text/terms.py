"""Terms and names written one way, by a person's own table.

    # lines of a text file: variants, an arrow, the term
    GPT4, gpt-4, Gpt 4 → GPT-4
    帐号, 账户号 -> 账号

or the rows of a .csv or .tsv file, the term in the last column. A variant that begins or ends with a letter or digit
of an alphabet is a whole word (GPT4 is in 用GPT4写 but not in GPT40); a Chinese one is found anywhere. Where several
fit, the one that begins first is taken, then the longest. Code, addresses and file names stay as they are.

A table has to say one thing: a variant with two terms, and a term that another line would change again, are refused
with both lines. Terms themselves are matched too and left alone, so 长城 → 万里长城 does not grow. The text is read
until nothing changes, and one that would turn forever is left as it was: applying a table twice is applying it once.

Left out: regular expressions in tables, and word segmentation (a Chinese variant can lie across two words).
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.text.document import Document, Dropped, changed
from danlu.text.prose import Count, code_in, in_address

Case = Literal["exact", "ignore"]
ARROW = re.compile(r"→|->|=>")
COMMA = re.compile("[,，、]")
LETTER = "0-9A-Za-z_\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"  # of an alphabet: these make words
WORD = re.compile(f"[{LETTER}]+")
INITIAL, FINAL = re.compile(f"[{LETTER}]"), re.compile(rf"[{LETTER}]\Z")
GOES_ON = re.compile(rf"[{LETTER}]|\.[A-Za-z0-9]")  # GPT4.py is a file
PASSES = 8
REMEDY = "Write: variant, another variant → term"


class Entry(NamedTuple):
    """What one spelling becomes, and the line that says so."""

    term: str
    line: int


@dataclass(frozen=True)
class Terms:
    """Write terms one way by a table; the report counts the places as ``terms``."""

    table: Path | None = None
    """The table: lines 'GPT4, gpt-4 → GPT-4', or a .csv or .tsv file with the term in the last column."""
    case: Case = "exact"
    """Whether a variant is found as it is typed only, or in any mixture of capitals."""

    def __post_init__(self) -> None:
        """A `UserError` for a wrong setting or table, before the first document."""
        if self.case not in get_args(Case):
            raise UserError(f"must be one of {', '.join(get_args(Case))}, found {self.case!r}", where="recipe: case")
        if self.table:
            load(self.table, self.case)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with its terms written one way."""
        if not self.table:
            return document
        text, count = load(self.table, self.case).apply(document.text)
        return changed(document, text, {"terms": count})


class Matcher:
    """All entries at once: a text's words are looked up as a set, a Chinese character with the one after it.

    So a table of thousands costs hardly more than one of ten. One alternation of all spellings was tried: 1 MB/s for
    200 spellings and 0.05 for 10,000, because it tries them one after another at every character.
    """

    def __init__(self, entries: dict[str, Entry], case: Case) -> None:
        self.entries, self.folded = entries, case == "ignore"
        # What a spelling begins with (its first word, or its first two characters) → lengths, the longest first.
        self.lengths: dict[str, list[int]] = {}
        for spelling in entries:
            self.lengths.setdefault(_head(spelling), []).append(len(spelling))
        self.lengths = {head: sorted(set(lengths), reverse=True) for head, lengths in self.lengths.items()}
        self.words = {head for head in self.lengths if INITIAL.match(head)}
        first = "".join(re.escape(head) for head in sorted({head[0] for head in self.lengths.keys() - self.words}))
        self.others = re.compile(rf"([{first}])(?=([\s\S])?)") if first else None

    def apply(self, text: str) -> Count:
        """The text with every spelling replaced, and how many places were."""
        result, total = text, 0
        for _ in range(PASSES):
            result, number = self._once(result)
            if number == 0:
                return result, total
            total += number
        return text, 0  # it would turn forever

    def _once(self, text: str) -> Count:
        parts, done, number = [], 0, 0
        code = code_in(text)
        for start, end, entry in self.find(text):
            if text[start:end] == entry.term or code.touches(start, end) or in_address(text, start, end):
                continue
            parts += [text[done:start], entry.term]
            done, number = end, number + 1
        return ("".join([*parts, text[done:]]), number) if number else (text, 0)

    def find(self, text: str) -> Iterator[tuple[int, int, Entry]]:
        """Every spelling in the text, variants and terms alike, the first and longest where they overlap."""
        done, text = 0, _fold(text, self.folded)
        for start, head in self._places(text):
            if start >= done and (hit := self._at(text, start, head)):
                yield start, *hit
                done = hit[0]

    def _places(self, text: str) -> list[tuple[int, str]]:
        """Where a spelling may begin, and how."""
        found = []
        for word in self.words.intersection(WORD.findall(text)) if self.words else ():
            start = text.find(word)
            while start >= 0:
                found.append((start, word))
                start = text.find(word, start + len(word))
        if self.others:
            lengths = self.lengths
            for match in self.others.finditer(text):
                one, two = match.groups("")
                if one + two in lengths or one in lengths:
                    found.append((match.start(), one + two))
        return sorted(found)

    def _at(self, text: str, start: int, head: str) -> tuple[int, Entry] | None:
        """The longest spelling that begins at ``start``: where it ends, and its entry."""
        alone = self.lengths.get(head[0], []) if len(head) > 1 else []
        for length in (*self.lengths.get(head, ()), *alone):
            entry = self.entries.get(text[start : start + length])
            if entry and start + length <= len(text) and not _inside_word(text, start, start + length):
                return start + length, entry
        return None


def _head(spelling: str) -> str:
    word = WORD.match(spelling)
    return word.group() if word else spelling[:2]


def _inside_word(text: str, start: int, end: int) -> bool:
    """Does a word of an alphabet go on beyond either side?"""
    before = start > 0 and INITIAL.match(text, start) and INITIAL.match(text, start - 1)
    return bool(before or (FINAL.match(text[end - 1]) and GOES_ON.match(text, end)))


def _fold(text: str, folded: bool) -> str:
    """In small letters, one for one: the few letters that become two would move all that follow."""
    if not folded:
        return text
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)


@lru_cache(maxsize=8)
def load(table: Path, case: Case) -> Matcher:
    """The table, checked; a `UserError` names the lines that cannot stand together."""
    existing(table, remedy=REMEDY)
    folded, entries = case == "ignore", dict[str, Entry]()
    terms: dict[str, int] = {}
    for number, variants, term in _rows(table):
        terms.setdefault(term, number)
        for variant in variants:
            spelling = _fold(variant, folded)
            if spelling in entries and entries[spelling].term != term:
                other = entries[spelling]
                what = f"'{variant}' becomes '{term}' here and '{other.term}' in line {other.line}"
                raise UserError(what, where=f"{table}:{number}", remedy="Keep one of them")
            entries.setdefault(spelling, Entry(term, number))
    for term, number in terms.items():
        changed_by = entries.get(_fold(term, folded))
        if changed_by and changed_by.term != term:
            _refuse_chain(table, term, number, _fold(term, folded), changed_by)
        entries[_fold(term, folded)] = Entry(term, number)
    matcher = Matcher(entries, case)
    _refuse_chains(matcher, terms, table)
    return matcher


def _refuse_chains(matcher: Matcher, terms: dict[str, int], table: Path) -> None:
    """No term may hold what another line changes."""
    for term, number in terms.items():
        for start in range(len(term)):
            for length in range(1, len(term) - start + 1):
                spelling = _fold(term[start : start + length], matcher.folded)
                other = matcher.entries.get(spelling)
                if not other or other.term == term or _inside_word(term, start, start + length):
                    continue
                if other.term != term[start : start + length]:
                    _refuse_chain(table, term, number, term[start : start + length], other)


def _refuse_chain(table: Path, term: str, number: int, spelling: str, other: Entry) -> None:
    what = f"writes '{term}', where line {other.line} changes '{spelling}' into '{other.term}'"
    raise UserError(what, where=f"{table}:{number}", remedy="Write the final form in both lines")


def _rows(table: Path) -> Iterator[tuple[int, list[str], str]]:
    """Line, variants, term of each row."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("not UTF-8", where=table, remedy="Save it as UTF-8") from None
    separator = {".csv": ",", ".tsv": "\t"}.get(table.suffix.lower(), "")
    lines = text.splitlines()
    cells = csv.reader(lines, delimiter=separator) if separator else map(_cells, lines)
    for number, row in enumerate(cells, 1):
        found = [cell.strip() for cell in row]
        if not any(found) or found[0].startswith("#"):
            continue
        *variants, term = [cell for cell in found if cell] if found[-1] else [""]
        variants = [variant for variant in variants if variant != term]
        if not term or not variants:
            raise UserError("no variant and term in this line", where=f"{table}:{number}", remedy=REMEDY)
        yield number, variants, term


def _cells(line: str) -> list[str]:
    if not line.strip() or line.startswith("#"):
        return []
    parts = ARROW.split(line)
    return [*COMMA.split(parts[0]), parts[1]] if len(parts) == 2 else [line]
