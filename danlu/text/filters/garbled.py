"""Texts that are not text: wrong encodings, lost characters, dumps of data.

Each test measures a share of the characters, and a text that passes a threshold is dropped for the first of these:

- ``replacement_characters``: U+FFFD, which a decoder puts where it could not read, and its own wreckage (``ï¿½``, and
  锟斤拷, U+FFFD written as UTF-8 and read as GBK), and memory that was never written (烫烫烫, 屯屯屯);
- ``strange_characters``: unassigned and private-use code points, lone surrogates, control characters;
- ``mojibake``: UTF-8 read as Windows-1252 (``â€™``, ``Ã©``) or as GBK (``鐨勬槸`` for 的是), and GBK read as Latin-1
  (``ÖÐÎÄ`` for 中文);
- ``random_strings``: long runs of letters and digits in no order, as Base64, keys and hashes are.

No paper gives thresholds for these. They were set on package text (docstrings, manuals in nine languages, novels,
mail, speeches, reviews), of which they drop what ``docs/CONFORMANCE.md`` states. What cannot be told from the
characters alone (words in random order) is left to the perplexity filter.
"""

import re
import unicodedata
from dataclasses import dataclass

from danlu.text.document import Document, Dropped
from danlu.text.filters import checks

LOST = re.compile("\ufffd|ï¿½|锟斤拷|锟斤|斤拷|烫{3,}|屯{3,}|葺{3,}")
# What a byte from 0x80 to 0xBF is in Windows-1252, or in Latin-1: the second and later bytes of a character in UTF-8.
TAIL = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# First bytes of Latin, Greek, Cyrillic, Hebrew and Arabic; not ß, which German quotation marks follow.
MOJIBAKE = re.compile(
    rf"[Â-ÅÎ-Ñ×-Û][{TAIL}]|[à-ï][{TAIL}]{{2}}|ð[{TAIL}]{{3}}"
    # No Latin script puts four of its accented letters and signs next to each other.
    "|[\xa1-\xff]{4,}"
    # What GBK shows for parts of the most frequent Chinese characters and marks in UTF-8. In 5 million characters of
    # Chinese, and 117 million of its poetry, these stand 100 times; in misread Chinese each seventh is one of them.
    "|[锛紝銆殑鐨浠鏈屽鎴鍙鍏鏄杩屾鍒槸笉鐢鍦嶅竴傛湁鍗鏂勬鏉岃湪鍥佹垜鎵夊鈥嗗鍐戝]"
)
LONG_RUN = re.compile(r"[A-Za-z0-9+/=]{32,}")
# Where a run turns to a capital or between letters and digits: in 0.42 of the places of Base64 and 0.47 of hexadecimal
# digits, and once a word, in 0.2 of the places, in names such as thoseOfJavaClasses.
CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")
CHANGES = 0.28
ORDINARY = frozenset("\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85")  # controls that are white space
STRANGE = frozenset(("Cn", "Co", "Cs", "Cc"))
FEW = 3  # hits that are forgiven in any text, however short


@dataclass(frozen=True)
class Garbled:
    """Drop texts in which too much cannot be read."""

    max_replacements: float = 0.005
    """The share of characters that may be lost ones (U+FFFD, 锟斤拷, 烫烫烫); 0 switches this test off, as below."""
    max_strange: float = 0.01
    """The share of characters that may be unassigned, private or control characters."""
    max_mojibake: float = 0.01
    """The share of characters that may come from reading UTF-8 or GBK in another encoding."""
    max_random: float = 0.25
    """The share of characters that may lie in long random strings."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.shares(self, "max_replacements", "max_strange", "max_mojibake", "max_random")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or what of it cannot be read."""
        text = document.text
        if not text or not checks.concerns(self.language, document):
            return document
        for reason, most, measure in (
            ("replacement_characters", self.max_replacements, _lost),
            ("strange_characters", self.max_strange, _strange),
            ("mojibake", self.max_mojibake, _misread),
            ("random_strings", self.max_random, _random),
        ):
            dropped = checks.over(reason, measure(text) / len(text), most) if most else None
            if dropped:
                return dropped
        return document


def _lost(text: str) -> int:
    return 0 if text.isascii() else _matched(LOST, text)


def _misread(text: str) -> int:
    return 0 if text.isascii() else _matched(MOJIBAKE, text)


def _matched(pattern: re.Pattern[str], text: str) -> int:
    """The characters that ``pattern`` matches; none if there are no more than a few matches."""
    found = pattern.findall(text)
    return sum(map(len, found)) if len(found) > FEW else 0


def _strange(text: str) -> int:
    strange = [mark for mark in set(text) - ORDINARY if unicodedata.category(mark) in STRANGE]
    number = sum(map(text.count, strange))
    return number if number > FEW else 0


def _random(text: str) -> int:
    """The characters of long runs that change between letters, capitals and digits all the time."""
    return sum(len(run) for run in LONG_RUN.findall(text) if len(CHANGE.findall(run)) >= CHANGES * len(run))
