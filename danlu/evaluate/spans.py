"""Answers against answers: exact match and F1 as SQuAD's script computes them (Rajpurkar et al. 2016, section 6.1).

Case, punctuation and English articles are put aside. Chinese characters count one by one, as words do in English
(CMRC 2018: Cui et al. 2019). A question without an answer is right if none is given, and else worth nothing.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.evaluate.stats import bootstrap, wilson

ARTICLES = re.compile(r"\b(a|an|the)\b")
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def words(text: str) -> list[str]:
    """What of an answer is compared."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation and not _wide_mark(c))
    return WORDS.findall(ARTICLES.sub(" ", kept))


def _wide_mark(character: str) -> bool:
    return ord(character) > 0x2000 and unicodedata.category(character).startswith("P")


def overlap(answer: str, wanted: str) -> float:
    """F1 of the words that two answers have in common."""
    ours, theirs = words(answer), words(wanted)
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * sum((Counter(ours) & Counter(theirs)).values()) / (len(ours) + len(theirs))


def answer_measures(answers: Sequence[str], wanted: Sequence[Sequence[str]], seed: int = 0) -> dict[str, Any]:
    """Exact match and F1, each answer against the one of its ``wanted`` that it fits best; none wanted is ''."""
    goals = [one or [""] for one in wanted]
    exact = sum(any(words(a) == words(g) for g in goal) for a, goal in zip(answers, goals, strict=True))
    shared = np.asarray([max(overlap(a, g) for g in goal) for a, goal in zip(answers, goals, strict=True)])
    return {
        "records": len(answers),
        "exact_match": exact / max(len(answers), 1),
        "exact_match_interval": list(wilson(exact, len(answers))),
        "f1": float(shared.mean()),
        "f1_interval": list(bootstrap(len(shared), lambda rows: float(shared[rows].mean()), seed)),
    }
