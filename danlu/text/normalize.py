"""One spelling for the same text: NFC, line feeds, no invisible characters, no trailing spaces.

NFC and not NFKC (Unicode Standard Annex 15): the compatibility forms would turn ``x²`` into ``x2`` and full-width
Chinese punctuation into ASCII. Runs of spaces inside a line stay, because in code and tables they are the text.
U+200C and U+200D stay too: Persian, the scripts of India and joined emoji are misspelt without them.
"""

import re
import unicodedata
from dataclasses import replace

from danlu.text.document import Document, Dropped

LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# C0 and C1 controls except tab and line feed, soft hyphen, zero-width space, direction marks, word joiner and the
# invisible operators, byte order mark, lone surrogates, and the two non-characters that break other tools.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ud800-\udfff\ufffe\uffff]"
)
MANY_BLANK_LINES = re.compile("\n{4,}")


def clean(text: str) -> str:
    """``text`` in its one spelling; applying it twice changes nothing."""
    text = INVISIBLE.sub("", LINE_ENDS.sub("\n", text))
    text = unicodedata.normalize("NFC", text)  # after removal: a mark may now stand next to its letter
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return MANY_BLANK_LINES.sub("\n\n\n", text).strip("\n")


def normalize(document: Document) -> Document | Dropped:
    """The document in its one spelling, or ``empty`` if nothing is left of it."""
    text = clean(document.text)
    if not text:
        return Dropped("empty")
    return document if text == document.text else replace(document, text=text)
