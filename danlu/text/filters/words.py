"""The words of a text, cut once and shared by every filter that counts them.

A filter asks `words` and gets what another one has already paid for. Three things make it fast: text is split at
white space in C; every distinct piece between spaces is cut into words once and from then on is one look-up; and
what filters ask for (how many words, how long, how many with a letter in them) are sums over a table of numbers,
one row a piece, so no list of words is ever made.

English is cut by spaCy's rules (`danlu.text.filters.english`), since datatrove's thresholds are thresholds on those
words. Chinese has two ways. ``jieba`` gives the words that FineWeb-2 counts (spaCy with jieba) where that is
installed. ``chinese`` needs nothing: function words stand alone and other Han characters go in pairs, the length of
most Chinese words. ``docs/CONFORMANCE.md`` says how often the two decide alike.
"""

import re
import warnings
from array import array
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import MissingExtra
from danlu.text.filters.contractions import exceptions
from danlu.text.filters.english import cut
from danlu.text.filters.marks import PUNCTUATION

Cutter = Literal["english", "chinese", "jieba"]
Facts = tuple[int, int, int, int]

ROWS = 1 << 18  # pieces remembered before a vocabulary starts anew: about 40 MB
REMEMBERED = 40  # characters of the longest piece worth remembering
COLUMNS = 5  # of a row: words, solid words, their characters, words with a letter, where the words' lengths begin
# A word is solid if one of its characters is no mark; among ASCII these are letters, digits, tab and line feed.
ASCII_SOLID = re.compile("[A-Za-z0-9]")
ASCII_LETTER = re.compile("[A-Za-z]")

HAN = "\u3400-\u4dbf\u4e00-\u9fff"
ALONE = "的了是在和也而都就我你他她它"  # more of them, or none, agreed less often with jieba
CHINESE = re.compile(rf"[{ALONE}]|(?:(?![{ALONE}])[{HAN}]){{1,2}}|[A-Za-z0-9]+(?:\.\d+)?%?|\S")


def _facts(words: Iterable[str]) -> Facts:
    """How many words; how many of them solid, of how many characters; how many with a letter."""
    number = solid = solid_characters = lettered = 0
    for word in words:
        number += 1
        if word.isalpha():
            solid, solid_characters, lettered = solid + 1, solid_characters + len(word), lettered + 1
        elif len(word) > 1 and word.isascii():
            if ASCII_SOLID.search(word):
                solid, solid_characters = solid + 1, solid_characters + len(word)
                lettered += ASCII_LETTER.search(word) is not None
        elif not PUNCTUATION.issuperset(word):
            solid, solid_characters = solid + 1, solid_characters + len(word)
            lettered += any(map(str.isalpha, word))
    return number, solid, solid_characters, lettered


class _Vocabulary(dict[str, int]):
    """Piece → its row in a table of facts. An unknown piece is cut and gets one."""

    def __init__(self, english: bool) -> None:
        super().__init__()
        self.english = english
        self.known = exceptions()
        self.facts = array("i")
        self.lengths = array("i")

    def __missing__(self, piece: str) -> int:
        first, length = len(self.lengths), len(piece)
        if self.english and not (piece.isascii() and piece.isalpha() and piece not in self.known):
            facts = self._cut(piece)
        else:  # one word
            self.lengths.append(length)
            facts = (1, 1, length, 1) if piece.isalpha() else _facts((piece,))
        row = len(self.facts) // COLUMNS
        self.facts.extend((*facts, first))
        if length <= REMEMBERED:
            self[piece] = row
        return row

    def _cut(self, piece: str) -> Facts:
        words = cut(piece)
        self.lengths.extend(map(len, words))
        if len(words) == 2 and words[0].isalpha() and words[1] in PUNCTUATION:
            return 2, 1, len(words[0]), 1  # a word and the mark behind it, half of what there is
        return _facts(words)

    def fresh(self) -> "_Vocabulary":
        """Itself, emptied if it has grown too large; the tables that texts still hold stay as they are."""
        if len(self.facts) >= ROWS * COLUMNS:
            self.clear()
            self.facts, self.lengths = array("i"), array("i")
        return self


@lru_cache(maxsize=2)
def _vocabulary(english: bool) -> _Vocabulary:
    return _Vocabulary(english)


@lru_cache(maxsize=1)
def _jieba() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its source has escapes that Python warns of
            import jieba
    except ModuleNotFoundError:
        raise MissingExtra("jieba", "chinese", "cutting Chinese into words with 'jieba'") from None
    jieba.setLogLevel(60)  # it tells on stderr that it loads its dictionary
    jieba.initialize()
    return jieba


class Words:
    """What filters ask about the words of one text."""

    def __init__(self, text: str, cutter: Cutter) -> None:
        self.english = cutter == "english"
        if self.english:
            self.pieces: list[str] = text.split()
        elif cutter == "chinese":
            self.pieces = CHINESE.findall(text)
        else:
            self.pieces = [word for word in _jieba().cut(text) if not word.isspace()]
        vocabulary = _vocabulary(self.english).fresh()
        rows = np.fromiter(map(vocabulary.__getitem__, self.pieces), np.int64, len(self.pieces))
        self._lengths = vocabulary.lengths
        # The gathering copies, so the table may go on growing.
        self._facts = np.frombuffer(vocabulary.facts, np.int32).reshape(-1, COLUMNS)[rows] if len(rows) else NO_FACTS
        self.count, self.solid, self.solid_characters, self.lettered, _ = self._facts.sum(axis=0).tolist()
        """Words; those that are not all punctuation, and their characters; those with a letter in them."""

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """[count] characters of each word, in order."""
        number, first = self._facts[:, 0].astype(np.int64), self._facts[:, 4].astype(np.int64)
        table = np.frombuffer(self._lengths, np.int32) if self._lengths else np.zeros(0, np.int32)
        if len(number) == self.count:
            return table[first].astype(np.int64)  # one word a piece
        before = np.cumsum(number) - number
        return table[np.repeat(first - before, number) + np.arange(self.count)].astype(np.int64)

    def distinct(self, wanted: frozenset[str], enough: int) -> int:
        """How many different ones of ``wanted`` are words of the text; it may stop counting at ``enough``."""
        if not self.english:
            return len(wanted.intersection(self.pieces))
        whole = _uncut(wanted)
        found = set(whole.intersection(self.pieces[:200]))  # enough for nearly every text that passes
        if len(found) < enough:
            pieces = set(self.pieces)
            found |= whole & pieces
            for word in wanted - found:
                if len(found) >= enough:
                    break
                if any(word in cut(piece) for piece in pieces if word in piece):
                    found.add(word)
        return len(found)


@lru_cache(maxsize=16)
def _uncut(wanted: frozenset[str]) -> frozenset[str]:
    """Those that are one word where they stand between spaces; ``id`` is two, since spaCy reads it as ``I'd``."""
    return frozenset(word for word in wanted if cut(word) == (word,))


NO_FACTS: NDArray[np.int32] = np.zeros((0, COLUMNS), np.int32)


@lru_cache(maxsize=4)
def words(text: str, cutter: Cutter = "english") -> Words:
    """The words of ``text``. The last few texts are kept, because one filter after the other asks about the same."""
    return Words(text, cutter)


@lru_cache(maxsize=4)
def lines(text: str) -> list[str]:
    """What stands between line feeds. Not to be changed."""
    return text.split("\n")


def repeated(items: Iterable[str]) -> tuple[int, int, int]:
    """Of ``items``: how many, how many are copies of an earlier one, and the characters of those copies."""
    every = list(items)
    once = set(every)
    if len(once) == len(every):
        return len(every), 0, 0
    return len(every), len(every) - len(once), sum(map(len, every)) - sum(map(len, once))
