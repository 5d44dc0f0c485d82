"""The rules of C4 (Raffel et al. 2020) and the paragraph rule of mC4, deciding as datatrove 0.10 does.

`C4Quality` takes lines out of a text and drops it if it holds a forbidden phrase or too little remains. C4's list of
bad words is not part of it (see the toxicity filter). FineWeb sets ``end_punctuation`` to False.

========================  ====================  =================================================
reason                    datatrove's           when
========================  ====================  =================================================
``lorem_ipsum``           ``lorem_ipsum``       a line holds the phrase
``curly_bracket``         ``curly_bracket``     a line holds ``{``
``too_few_sentences``     ``too_few_sentences`` fewer than 5 in the lines that stay
``too_few_paragraphs``    ``< 3 paragraphs``    fewer than 3 lines of 200 characters (`C4Paragraphs`)
========================  ====================  =================================================

The order matters and is datatrove's: a line that is taken out for its length cannot drop the text. In a text with
many lines no sentence is ever counted, since each line that stays is at least one.
"""

import re
from dataclasses import dataclass

from danlu.text.document import Document, Dropped, changed
from danlu.text.filters import checks
from danlu.text.filters.sentences import count, sentences
from danlu.text.filters.words import lines

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
END_PUNCTUATION = (".", "?", "!", '"', "'")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
TAKEN_OUT = "taken out"  # a line, and not the text


@dataclass(frozen=True)
class C4Quality:
    """Take out lines that are not prose; drop texts with placeholders, code, or too little left."""

    min_sentences: int = 5
    """Fewest sentences in the lines that stay; 0 switches this test off, as below."""
    min_words: int = 3
    """Fewest words of a line that stays, split at white space."""
    max_word_length: int = 1000
    """Most characters of a word in a line that stays."""
    end_punctuation: bool = True
    """Take out lines that do not end in . ? ! or a quotation mark, or end in three dots."""
    citations: bool = True
    """Take out marks such as [12], [edit] and [citation needed]."""
    lorem_ipsum: bool = True
    """Drop texts with this phrase."""
    javascript: bool = True
    """Take out lines with this word."""
    curly_brackets: bool = True
    """Drop texts with an opening one."""
    policy: bool = True
    """Take out lines about cookies, privacy policies and terms of use."""
    by_sentence: bool = False
    """Judge sentence by sentence instead of line by line."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.at_least(self, 0, "min_sentences", "min_words", "max_word_length")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document without the lines that are not prose, or why it is dropped."""
        if not checks.concerns(self.language, document):
            return document
        rows = sentences(document.text) if self.by_sentence else document.text.splitlines()
        kept: list[str] = []
        citations = 0
        suspicious = self._suspicious(document.text)
        for row in map(str.strip, rows):
            if self.max_word_length and len(row) > self.max_word_length and self._has_long_word(row):
                continue
            line = row
            if self.citations and "[" in row:
                line, marks = CITATION.subn("", row)
                citations += marks
            if self.end_punctuation and (not line.endswith(END_PUNCTUATION) or line.endswith("...")):
                continue
            if self.min_words and len(row.split(None, self.min_words)) < self.min_words:  # with its citations
                continue
            if suspicious:
                verdict = self._phrases(line)
                if verdict == TAKEN_OUT:
                    continue
                if verdict:
                    return Dropped(verdict)
            kept.append(line)
        if not self._enough(kept):
            return Dropped("too_few_sentences")
        text = (" " if self.by_sentence else "\n").join(kept).strip()
        return changed(document, text, {"c4_lines": len(rows) - len(kept), "citations": citations})

    def _has_long_word(self, row: str) -> bool:
        return any(len(word) > self.max_word_length for word in row.split())

    def _suspicious(self, text: str) -> bool:
        """May a line of this text hold a phrase that is asked for? Without citations in it a phrase stays a phrase."""
        if (self.citations and "[" in text) or (self.curly_brackets and "{" in text):
            return True
        lowered = text.lower()
        if (self.lorem_ipsum and "lorem ipsum" in lowered) or (self.javascript and "javascript" in lowered):
            return True
        return self.policy and any(phrase in lowered for phrase in POLICY)

    def _phrases(self, line: str) -> str:
        """The reason to drop the text for this line, ``taken out`` if only the line goes, or ''."""
        lowered = line.lower()
        if self.lorem_ipsum and "lorem ipsum" in lowered:
            return "lorem_ipsum"
        if self.javascript and "javascript" in lowered:
            return TAKEN_OUT
        if self.curly_brackets and "{" in line:
            return "curly_bracket"
        return TAKEN_OUT if self.policy and any(phrase in lowered for phrase in POLICY) else ""

    def _enough(self, kept: list[str]) -> bool:
        """Are there enough sentences? Each line is at least one, so most texts need no counting."""
        found = len(kept)
        if found >= self.min_sentences or self.by_sentence:
            return found >= self.min_sentences
        for line in kept:
            found += count(line, self.min_sentences) - 1
            if found >= self.min_sentences:
                return True
        return False


@dataclass(frozen=True)
class C4Paragraphs:
    """Drop texts without enough long lines (mC4, Xue et al. 2021)."""

    minimum: int = 3
    """Fewest lines that are long enough."""
    characters: int = 200
    """Fewest characters of such a line."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.at_least(self, 1, "minimum", "characters")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or ``too_few_paragraphs``."""
        if not checks.concerns(self.language, document):
            return document
        long = sum(len(line) >= self.characters for line in lines(document.text))
        return checks.under("too_few_paragraphs", long, self.minimum) or document


def fineweb(language: str = "") -> C4Quality:
    """As FineWeb uses it: lines need not end in punctuation (datatrove's examples/fineweb.py)."""
    return C4Quality(end_punctuation=False, language=language)
