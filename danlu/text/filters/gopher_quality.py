"""The quality filter of Gopher (Rae et al. 2021, A1.1), deciding as datatrove 0.10 does.

It drops a text whose words, symbols or lines are not those of prose. Thresholds are passed strictly, and 0 switches a
test off. The tests run in this order, and the first that fails is the reason:

========================  ===============================
reason                    datatrove's
========================  ===============================
``too_few_words``         ``gopher_short_doc``
``too_many_words``        ``gopher_long_doc``
``short_words``           ``gopher_below_avg_threshold``
``long_words``            ``gopher_above_avg_threshold``
``hashes``                ``gopher_too_many_hashes``
``ellipses``              ``gopher_too_many_ellipsis``
``bullet_lines``          ``gopher_too_many_bullets``
``ellipsis_lines``        ``gopher_too_many_end_ellipsis``
``few_lettered_words``    ``gopher_below_alpha_threshold``
``few_stop_words``        ``gopher_enough_stop_words``
========================  ===============================

dolma differs: the *median* length of words split at white space, ``*`` and ``-`` as bullets where it is ``•`` and
``-`` here, and only ``…`` at the end of a line.
"""

from dataclasses import dataclass

from danlu.text.document import Document, Dropped
from danlu.text.filters import checks
from danlu.text.filters.words import Cutter, Words, words

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# FineWeb-2, configs/cmn_Hani.yml: the most frequent words of Chinese, simplified and traditional.
MANDARIN_STOP_WORDS = tuple("的年在月是和日了於·為有被人中为他與後也而由")


@dataclass(frozen=True)
class GopherQuality:
    """Drop texts that are not made of ordinary words and lines."""

    min_words: int = 50
    """Fewest words that are not all punctuation; 0 switches this test off, as below."""
    max_words: int = 100_000
    """Most of them."""
    min_word_length: float = 3
    """Smallest mean length of these words in characters."""
    max_word_length: float = 10
    """Largest mean length of these words in characters."""
    max_symbols: float = 0.1
    """The number of hash signs, and that of ellipses, for each word."""
    max_bullet_lines: float = 0.9
    """The share of lines that may begin with a bullet or a hyphen."""
    max_ellipsis_lines: float = 0.3
    """The share of lines that may end in an ellipsis."""
    min_lettered_words: float = 0.8
    """The share of words that must hold a letter."""
    min_stop_words: int = 2
    """How many different stop words must occur."""
    stop_words: tuple[str, ...] = STOP_WORDS
    """Words that nearly every text of the language holds."""
    words: Cutter = "english"
    """What a word is: english (spaCy's rules), chinese (needs nothing) or jieba (FineWeb-2's; has to be installed)."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.cutter(self.words)
        checks.at_least(self, 0, "min_words", "max_words", "min_word_length", "max_word_length", "max_symbols")
        checks.shares(self, "max_bullet_lines", "max_ellipsis_lines", "min_lettered_words")
        checks.at_least(self, 0, "min_stop_words")
        checks.ordered(self, "min_words", "max_words")
        checks.ordered(self, "min_word_length", "max_word_length")
        checks.at_most(self, "min_stop_words", len(set(self.stop_words)), "the number of stop_words")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or what is wrong with its words or lines."""
        if not checks.concerns(self.language, document):
            return document
        found = words(document.text, self.words)
        return self._words(found) or self._symbols(document.text, found.count) or self._language(found) or document

    def _words(self, found: Words) -> Dropped | None:
        dropped = checks.under("too_few_words", found.solid, self.min_words)
        dropped = dropped or checks.over("too_many_words", found.solid, self.max_words)
        if dropped or not found.solid:
            return dropped
        mean = found.solid_characters / found.solid
        return checks.under("short_words", mean, self.min_word_length) or checks.over(
            "long_words", mean, self.max_word_length
        )

    def _symbols(self, text: str, number: int) -> Dropped | None:
        ellipses = text.count("...") + text.count("…")
        if number:
            dropped = checks.over("hashes", text.count("#") / number, self.max_symbols)
            dropped = dropped or checks.over("ellipses", ellipses / number, self.max_symbols)
            if dropped:
                return dropped
        bullets = text.count("•") + text.count("-")
        if not bullets and not ellipses:
            return None
        rows = text.splitlines()
        # Counting in the whole text bounds the number of lines that begin or end with it.
        if bullets / len(rows) > self.max_bullet_lines:
            begin = sum(row.lstrip().startswith(("•", "-")) for row in rows)
            if dropped := checks.over("bullet_lines", begin / len(rows), self.max_bullet_lines):
                return dropped
        if ellipses / len(rows) > self.max_ellipsis_lines:
            end = sum(row.rstrip().endswith(("...", "…")) for row in rows)
            return checks.over("ellipsis_lines", end / len(rows), self.max_ellipsis_lines)
        return None

    def _language(self, found: Words) -> Dropped | None:
        if found.count:
            dropped = checks.under("few_lettered_words", found.lettered / found.count, self.min_lettered_words)
            if dropped:
                return dropped
        stop_words = found.distinct(frozenset(self.stop_words), self.min_stop_words) if self.min_stop_words else 0
        return checks.under("few_stop_words", stop_words, self.min_stop_words)


def mandarin(words: Cutter = "chinese") -> GopherQuality:
    """What FineWeb-2 passes for Mandarin (configs/cmn_Hani.yml)."""
    return GopherQuality(
        min_word_length=1,
        max_word_length=5,
        min_lettered_words=0.735,
        stop_words=MANDARIN_STOP_WORDS,
        words=words,
        language="zh",
    )
