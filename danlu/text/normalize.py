"""One spelling for the same text: NFC, line feeds, no invisible characters, no trailing spaces, and what else is asked.

NFC and not NFKC (Unicode Standard Annex 15): the compatibility forms would turn ``x²`` into ``x2`` and full-width
Chinese punctuation into ASCII. Runs of spaces inside a line stay, because in code and tables they are the text.
U+200C and U+200D stay too: Persian, the scripts of India and joined emoji are misspelt without them.

`clean` is that much and nothing else. `Normalize` adds what depends on taste or on where a text comes from, each with
a switch and a count; what is on by default was seen to leave prose, code and documentation as they are
(`bench/normalize.py`), and what is off is also somebody's way of writing.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from danlu.base.errors import require
from danlu.text import punctuation
from danlu.text.boilerplate import FRAMES, Frame, drop_lines, own
from danlu.text.document import Document, Dropped, changed
from danlu.text.markup import MARKUPS, Markup, strip
from danlu.text.prose import Count

LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# C0 and C1 controls except tab and line feed, soft hyphen, zero-width space, direction marks, word joiner and the
# invisible operators, byte order mark, lone surrogates, and the two non-characters that break other tools.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ud800-\udfff\ufffe\uffff]"
)
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")  # what of it all ASCII has
MANY_BLANK_LINES = re.compile("\n{4,}")
ROUNDS = 8  # one step's result may be another's material: &lt;b&gt; is a tag only once it is written out

Width = Literal["", "chinese", "ascii"]
Spaces = Literal["", "letters", "all"]


def clean(text: str) -> str:
    """``text`` in its one spelling; applying it twice changes nothing."""
    if not text.isascii() or CONTROLS.search(text):
        text = INVISIBLE.sub("", LINE_ENDS.sub("\n", text))
        text = unicodedata.normalize("NFC", text)  # after removal: a mark may now stand next to its letter
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = MANY_BLANK_LINES.sub("\n\n\n", text)
    return text.strip("\n")


def normalize(document: Document) -> Document | Dropped:
    """The document in its one spelling, or ``empty`` if nothing is left of it."""
    text = clean(document.text)
    if not text:
        return Dropped("empty")
    return document if text == document.text else replace(document, text=text)


@dataclass(frozen=True)
class Normalize:
    """One spelling for the same text; the report counts what each switch changed as ``normalize.width`` and so on."""

    letters: bool = True
    """Full-width Latin letters and digits become ASCII; on, for they are a keyboard's mode and never a meaning."""
    width: Width = "chinese"
    """Marks between Chinese characters become full-width, or all full-width marks ASCII, or stay as they are ('')."""
    spaces: Spaces = "letters"
    """Join Chinese characters set apart: three single ones in a row or more, or all of them, or none ('')."""
    repeats: int = 3
    """A mark such as ! or 。 stands at most so often in a row; 0 for as often as it does. Three keeps '...'."""
    boilerplate: tuple[Frame, ...] = FRAMES
    """Short lines that go when all of them is a cookie notice, sharing, navigation, a copyright or a page number."""
    lines: Path | None = None
    """A file with more such lines: one regular expression a line, matched from end to end, # for comments."""
    markup: tuple[Markup, ...] = ("entities",)
    """Leftovers to take out. Only entities are by default: tags, Markdown or LaTeX may be what a text is about."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("width", self.width in get_args(Width), f"must be one of {', '.join(map(repr, get_args(Width)))}"),
            ("spaces", self.spaces in get_args(Spaces), f"must be one of {', '.join(map(repr, get_args(Spaces)))}"),
            ("repeats", self.repeats >= 0, "must be at least 0"),
            ("boilerplate", set(self.boilerplate) <= set(FRAMES), f"must be of {', '.join(FRAMES)}"),
            ("markup", set(self.markup) <= set(MARKUPS), f"must be of {', '.join(MARKUPS)}"),
        )
        if self.lines:
            own(self.lines)  # a wrong pattern is told before the first document

    def __call__(self, document: Document) -> Document | Dropped:
        """The document as the switches say, or ``empty`` if nothing is left of it."""
        counts = Counter[str]()
        text = clean(document.text)
        counts["normalize.clean"] = int(text != document.text)
        for _ in range(ROUNDS):
            before, text = text, self._edited(text, counts)
            if text == before:
                break
            text = clean(text)
        return changed(document, text, counts) if text else Dropped("empty")

    def _edited(self, text: str, counts: Counter[str]) -> str:
        """Each switch's edit of what the one before it made: first what shows no text, then letters, then marks."""
        for markup in self.markup:
            text, number = strip(text, markup)
            counts[f"normalize.{markup}"] += number
        edits: tuple[tuple[str, bool, Callable[[str], Count]], ...] = (
            ("letters", self.letters, punctuation.ascii_letters),
            ("spaces", self.spaces == "letters", punctuation.join_letters),
            ("spaces", self.spaces == "all", punctuation.join_all),
            ("width", self.width == "chinese", punctuation.chinese_width),
            ("width", self.width == "ascii", punctuation.ascii_width),
            ("repeats", self.repeats > 0, lambda given: punctuation.shorten(given, self.repeats)),
            ("lines", True, lambda given: drop_lines(given, self.boilerplate, self.lines)),
        )
        for name, wanted, edit in edits:
            if wanted:
                text, number = edit(text)
                counts[f"normalize.{name}"] += number
        return text
