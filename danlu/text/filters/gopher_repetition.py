"""The repetition filter of Gopher (Rae et al. 2021, Table A1), deciding as datatrove 0.10 does.

It drops a text in which lines, paragraphs or runs of words come again too often. Every threshold is exceeded strictly
and 0 switches its test off. The tests run in this order, and the first that fails is the reason:

=================================  ==========================
reason                             datatrove's
=================================  ==========================
``empty``                          ``empty``
``duplicate_paragraphs``           ``dup_para_frac``
``duplicate_paragraph_characters`` ``dup_para_char_frac``
``duplicate_lines``                ``dup_line_frac``
``duplicate_line_characters``      ``dup_line_char_frac``
``top_2_gram``                     ``top_2_gram``
``top_3_gram``                     ``top_3_gram``
``top_4_gram``                     ``top_4_gram``
``duplicate_5_grams``              ``duplicated_5_n_grams``
``duplicate_6_grams``              ``duplicated_6_n_grams``
``duplicate_7_grams``              ``duplicated_7_n_grams``
``duplicate_8_grams``              ``duplicated_8_n_grams``
``duplicate_9_grams``              ``duplicated_9_n_grams``
``duplicate_10_grams``             ``duplicated_10_n_grams``
=================================  ==========================

dolma counts every copy of a line, the first as well; datatrove and Danlu count from the second on.
"""

import re
from dataclasses import dataclass

from danlu.text.document import Document, Dropped
from danlu.text.filters import checks
from danlu.text.filters.ngrams import Copies, Runs, top_share
from danlu.text.filters.words import Cutter, lines, repeated, words

PARAGRAPH_BREAK = re.compile("\n{2,}")


@dataclass(frozen=True)
class GopherRepetition:
    """Drop texts that repeat themselves."""

    duplicate_paragraphs: float = 0.30
    """The share of paragraphs that may be copies of an earlier one; 0 switches this test off, as below."""
    duplicate_paragraph_characters: float = 0.20
    """The share of characters that may lie in such paragraphs."""
    duplicate_lines: float = 0.30
    """The share of lines that may be copies of an earlier one."""
    duplicate_line_characters: float = 0.20
    """The share of characters that may lie in such lines."""
    top_2_gram: float = 0.20
    """The share of characters that the most frequent pair of words may make up."""
    top_3_gram: float = 0.18
    """The same for three words."""
    top_4_gram: float = 0.16
    """The same for four words."""
    duplicate_5_grams: float = 0.15
    """The share of characters in runs of five words that occurred before."""
    duplicate_6_grams: float = 0.14
    """The same for six words."""
    duplicate_7_grams: float = 0.13
    """The same for seven words."""
    duplicate_8_grams: float = 0.12
    """The same for eight words."""
    duplicate_9_grams: float = 0.11
    """The same for nine words."""
    duplicate_10_grams: float = 0.10
    """The same for ten words."""
    words: Cutter = "english"
    """What a word is: english (spaCy's rules), chinese (needs nothing) or jieba (FineWeb-2's; has to be installed)."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.cutter(self.words)
        shares = [name for name in self.__dataclass_fields__ if name not in ("words", "language")]
        checks.shares(self, *shares)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or what it repeats."""
        if not checks.concerns(self.language, document):
            return document
        text = document.text
        return self._paragraphs(text) or self._lines(text) or self._runs(text) or document

    def _paragraphs(self, text: str) -> Dropped | None:
        if not text:
            return Dropped("empty")
        stripped = text.strip()
        if "\n\n" not in stripped:  # one paragraph
            return None
        every, copies, characters = repeated(PARAGRAPH_BREAK.split(stripped))
        return checks.over("duplicate_paragraphs", copies / every, self.duplicate_paragraphs) or checks.over(
            "duplicate_paragraph_characters", characters / len(text), self.duplicate_paragraph_characters
        )

    def _lines(self, text: str) -> Dropped | None:
        found = lines(text)
        every, copies, characters = repeated(filter(None, found))
        # Line feeds at the very front and at the very end leave an empty line there, which counts as one.
        edges = (found[0] == "") + (found[-1] == "") if len(found) > 1 else 0
        return checks.over(
            "duplicate_lines", (copies + (edges == 2)) / (every + edges), self.duplicate_lines
        ) or checks.over("duplicate_line_characters", characters / len(text), self.duplicate_line_characters)

    def _runs(self, text: str) -> Dropped | None:
        runs = Runs(words(text, self.words))
        frequency = runs.words.count
        for n, most in enumerate((self.top_2_gram, self.top_3_gram, self.top_4_gram), 2):
            if most:
                share, frequency = top_share(runs, n, most, len(text), frequency)
                if dropped := checks.over(f"top_{n}_gram", share, most):
                    return dropped
        limits = {n: getattr(self, f"duplicate_{n}_grams") for n in range(5, 11)}
        wanted = {n: most for n, most in limits.items() if most}
        copies = Copies(runs, len(text))
        if wanted and not copies.bound(min(wanted), min(wanted.values())):
            for n, most in wanted.items():
                if dropped := checks.over(f"duplicate_{n}_grams", copies.share(n, most), most):
                    return dropped
        return None


def mandarin(words: Cutter = "chinese") -> GopherRepetition:
    """What FineWeb-2 passes for Mandarin (configs/cmn_Hani.yml and its pipeline, which tests only lines and runs)."""
    return GopherRepetition(
        duplicate_paragraphs=0,
        duplicate_paragraph_characters=0,
        duplicate_lines=0.287,
        duplicate_line_characters=0,
        top_2_gram=0.256,
        top_3_gram=0.201,
        top_4_gram=0.171,
        duplicate_5_grams=0.198,
        duplicate_6_grams=0.182,
        duplicate_7_grams=0.167,
        duplicate_8_grams=0.154,
        duplicate_9_grams=0.140,
        duplicate_10_grams=0.127,
        words=words,
        language="zh",
    )
