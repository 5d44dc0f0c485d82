"""Sentences of English text, where spaCy's rule-based sentencizer ends them: C4 counts these in datatrove.

A sentence ends behind a full stop, question or exclamation mark that is a word of its own (not that of ``Mr.`` or
``3.14``) and the punctuation that follows it.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from danlu.text.filters.english import cut
from danlu.text.filters.marks import SENTENCE_ENDS

RUNS = re.compile(r"\S+|\s+")
ENDS = re.compile(f"[{re.escape(''.join(sorted(SENTENCE_ENDS)))}]")


def sentences(text: str) -> list[str]:
    """The sentences of ``text``, which joined again are the text; an empty text has one, empty."""
    starts = [0, *_starts(text), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def count(text: str, enough: int) -> int:
    """How many sentences; it may stop counting at ``enough``."""
    found = 1
    for _ in _starts(text):
        if found >= enough:
            break
        found += 1
    return found


def _starts(text: str) -> Iterator[int]:
    """Where each sentence but the first begins."""
    if not ENDS.search(text):
        return
    ended = False
    for run in RUNS.finditer(text):
        piece, place = run.group(), run.start()
        if piece.isspace():
            # A single space separates; more than one, or a tab, is a word to spaCy.
            if ended and piece != " ":
                yield place + (piece[0] == " ")
                ended = False
            continue
        for word in cut(piece):
            if word in SENTENCE_ENDS:
                ended = True
            elif ended and not _is_punctuation(word):
                yield place
                ended = False
            place += len(word)


def _is_punctuation(word: str) -> bool:
    return all(unicodedata.category(character)[0] == "P" for character in word)
