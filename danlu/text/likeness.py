"""ROUGE-L of short texts, and the texts seen so far that are too much like a new one.

ROUGE-L (Lin 2004) is the F1 of the longest common subsequence: 2·LCS / (m + n) of two texts of m and n units, in which
β is 1, as in the package ``rouge-score``. A unit is that of `danlu.text.units`: a word without regard to case and
accents, or a single character of Chinese, so the two languages need no segmenter. Of English text without accents it is
the package's own value without its stemmer.

`Likeness` finds the nearest of very many texts without looking at most of them: it is what Self-Instruct (Wang et al.
2022) does with each new instruction, there by comparing it with all. An LCS cannot be longer than the units two texts
share, each as often as both have it. So a text that reaches F1 = t with one of m units shares at least t/2·(m + n) of
them with it, and n is at least m·t/(2-t): of the m units, taken from the rarest, it holds one of the first few
(prefix filtering: Chaudhuri et al. 2006). Those that do are counted, and only those that can still reach t are
compared, by an LCS on the bits of one integer (Hyyrö 2004).
"""

import math
from array import array
from collections import Counter
from typing import NamedTuple

import numpy as np

from danlu.text.units import units

Number = tuple[int, int]  # a unit, and how many of it the text has had before: no text has a number twice


class Match(NamedTuple):
    """The text that is most like another: its number in the order of adding, and the F1 of ROUGE-L."""

    number: int
    score: float


def numbers(text: str) -> list[int]:
    """The units of a text, in order, as numbers."""
    found: list[int] = units(text).hashes.tolist()
    return found


def longest_common(one: list[int], other: list[int]) -> int:
    """The length of the longest common subsequence, by bits: a step for each unit of ``other``."""
    places: dict[int, int] = {}
    for place, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << place
    whole = (1 << len(one)) - 1
    row = whole
    for unit in other:
        matched = row & places.get(unit, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(one) - row.bit_count()


def rouge_l(one: str, other: str) -> float:
    """The F1 of ROUGE-L between two texts, from 0 to 1; 0 where one of them has no unit."""
    return _f1(numbers(one), numbers(other))


def _f1(one: list[int], other: list[int]) -> float:
    return 2 * longest_common(one, other) / (len(one) + len(other)) if one and other else 0.0


def _numbered(found: list[int]) -> list[Number]:
    seen = Counter[int]()
    keys = []
    for unit in found:
        keys.append((unit, seen[unit]))
        seen[unit] += 1
    return keys


class Likeness:
    """Texts, and which of them is most like a given one if any reaches ``threshold`` (above 0, at most 1).

    50,000 instructions of 20 words keep about 40 MB.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._texts: list[array[int]] = []
        self._lengths = array("i")
        self._holders: dict[Number, array[int]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> int:
        """Remember a text; returns its number."""
        found, number = numbers(text), len(self._texts)
        self._texts.append(array("Q", found))
        self._lengths.append(len(found))
        for key in _numbered(found):
            self._holders.setdefault(key, array("i")).append(number)
        return number

    def nearest(self, text: str) -> Match | None:
        """The text with the highest score, the first of equals, or None if none reaches the threshold."""
        found = numbers(text)
        best: Match | None = None
        for number in self._candidates(found):
            score = _f1(found, list(self._texts[number]))
            if score >= self.threshold and (best is None or score > best.score):
                best = Match(number, score)
        return best

    def _candidates(self, found: list[int]) -> list[int]:
        """The texts that share enough units with this one, in the order of adding."""
        length, share = len(found), self.threshold / 2
        if not length or not self._texts:
            return []
        shortest = length * self.threshold / (2 - self.threshold)
        least = math.ceil(share * (length + shortest) - 1e-9)  # units that the least of all must share
        keys = sorted(_numbered(found), key=lambda key: (len(self._holders.get(key, ())), key))
        first = [self._holders[key] for key in keys[: length - least + 1] if key in self._holders]
        if not first:
            return []
        joined = np.concatenate([np.frombuffer(holders, np.int32) for holders in first])
        shared = np.bincount(joined, minlength=len(self._texts))
        lengths = np.frombuffer(self._lengths, np.int32)
        most = np.minimum(shared + (least - 1), np.minimum(length, lengths))
        possible = (shared > 0) & (most >= share * (length + lengths) - 1e-9)
        chosen: list[int] = possible.nonzero()[0].tolist()
        return chosen
