"""The filter that FineWeb adds to Gopher's and C4's (Penedo et al. 2024, section 3.6), deciding as datatrove 0.10 does.

It drops texts that look like lists or page furniture. The tests run in this order, and the first that fails is the
reason:

==============================  ====================
reason                          datatrove's
==============================  ====================
``empty``                       ``empty``
``unfinished_lines``            ``line_punct_ratio``
``short_lines``                 ``short_line_ratio``
``repeated_line_characters``    ``char_dup_ratio``
``list_like``                   ``list_ratio``
==============================  ====================

The paper and the code disagree: the paper removes texts with 0.1 of their characters in repeated lines, datatrove (and
with it the published data) those with more than 0.01. The default is the code's; `paper` is the paper's.
"""

from dataclasses import dataclass, replace

from danlu.text.document import Document, Dropped
from danlu.text.filters import checks
from danlu.text.filters.marks import TERMINAL
from danlu.text.filters.words import Cutter, lines, repeated, words


@dataclass(frozen=True)
class FineWebQuality:
    """Drop texts whose lines are those of lists, menus and tables."""

    min_finished_lines: float = 0.12
    """The share of lines that must end in terminal punctuation."""
    spare_unpunctuated: bool = False
    """Spare texts in which no line at all ends so: some languages and poems have no such marks."""
    max_short_lines: float = 0.67
    """The share of lines that may be short; 1 lets all be short."""
    short_line: int = 30
    """Most characters of a short line."""
    max_repeated_line_characters: float = 0.01
    """The share of characters that may lie in copies of an earlier line."""
    max_line_feeds: float = 0.3
    """Line feeds for each word."""
    words: Cutter = "english"
    """What a word is: english (spaCy's rules), chinese (needs nothing) or jieba (FineWeb-2's; has to be installed)."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.cutter(self.words)
        checks.shares(self, "min_finished_lines", "max_short_lines", "max_repeated_line_characters")
        checks.at_least(self, 0, "short_line", "max_line_feeds")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or what its lines look like."""
        if not checks.concerns(self.language, document):
            return document
        text = document.text
        filled = [line for line in lines(text) if line and not line.isspace()]
        return self._lines(filled) or self._share(text, filled) or document

    def _lines(self, filled: list[str]) -> Dropped | None:
        if not filled:
            return Dropped("empty")
        finished = sum(map(TERMINAL.__contains__, [line[-1] for line in filled])) / len(filled)
        if finished or not self.spare_unpunctuated:
            dropped = checks.under("unfinished_lines", finished, self.min_finished_lines)
            if dropped:
                return dropped
        short = sum([len(line) <= self.short_line for line in filled]) / len(filled)
        return checks.over("short_lines", short, self.max_short_lines)

    def _share(self, text: str, filled: list[str]) -> Dropped | None:
        feeds = text.count("\n")
        copies = repeated(filled)[2] / (len(text) - feeds)
        if dropped := checks.over("repeated_line_characters", copies, self.max_repeated_line_characters):
            return dropped
        # What stands between spaces is at least one word, and most texts need no finer count.
        if self.words == "english" and feeds / len(text.split()) <= self.max_line_feeds:
            return None
        return checks.over("list_like", feeds / words(text, self.words).count, self.max_line_feeds)


def paper(language: str = "") -> FineWebQuality:
    """With the threshold of FineWeb's paper for characters in repeated lines."""
    return FineWebQuality(max_repeated_line_characters=0.1, language=language)


def mandarin(words: Cutter = "chinese") -> FineWebQuality:
    """What FineWeb-2 passes for Mandarin: its pipeline lets lines be short and takes the paper's threshold."""
    found = FineWebQuality(min_finished_lines=0.106, max_short_lines=1, max_line_feeds=0.178, words=words)
    return replace(found, max_repeated_line_characters=0.1, language="zh")
