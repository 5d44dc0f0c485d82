"""Where a text is prose: edits of punctuation, terms and spelling stay out of code, addresses and paths.

A replacement is searched in the whole text, so that a pattern sees what stands around a match, and is left out where it
would touch what has to stay. Code is what stands between back quotes, and lines that only a program has.
"""

import re
from bisect import bisect_right
from collections.abc import Callable

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
CODE = re.compile(r"```[\s\S]*?(?:```|\Z)|`[^`\n]+`")
# An address has no spaces, quotes and Chinese; a stretch without is looked at only where an edit would touch it.
APART = set(" \t\n\r\u3000\u00a0<>\"'`|，。；：！？、（）《》【】「」『』“”‘’…")
WIDEST = 300  # characters to either side that are looked at
IS_ADDRESS = re.compile(
    r"://|www\.|(?:mailto|data|magnet|tel):\S|[A-Za-z0-9._%+-]@[A-Za-z0-9-]+\.[A-Za-z]"
    r"|\A[(\[]?(?:[A-Za-z]:\\|[~.]{0,2}/)[\w.-]+[\\/]|[\w.-]+/[\w.-]+/[\w.-]+|\\[\w.-]+\\",
    re.ASCII,
)
# What only a program writes, each asked for where its first character is there at all.
CODE_START = re.compile(
    r"\s*(?:#include|#!|//|/\*|def |class |import |from [\w.]+ import |return |print|echo |\$ |>>> |SELECT |INSERT )"
)
CODE_ENDS, CODE_PAIRS = (";", "{", "}"), ("::", "=>", "->", "</", "==", "!=", "<=", ">=")
CODE_HINTS = (
    ("(", re.compile(r"\((?<=[A-Za-z_\]].)[^()\n]{0,80}[\"']")),  # a call with a string
    ("=", re.compile(r"=(?:(?<=[A-Za-z_\])].)|(?<=[A-Za-z_\])] .))\s?[\"'\[({\w]")),  # an assignment
    (":", re.compile(r":(?<=[\"'].)\s")),  # a key
)
LONGEST_LINE = 2000  # characters of a line of code

Count = tuple[str, int]  # a text, and how many places of it were changed


def replace(
    pattern: re.Pattern[str], new: str | Callable[[re.Match[str]], str], text: str, *, addresses: bool = False
) -> Count:
    """``text`` with each match of ``pattern`` replaced that does not touch code or, if asked, ``addresses``."""
    if not pattern.search(text):
        return text, 0
    code, changes = code_in(text), 0

    def one(found: re.Match[str]) -> str:
        nonlocal changes
        start, end = found.span()
        if code.touches(start, end) or (addresses and in_address(text, start, end)):
            return found.group()
        instead = found.expand(new) if isinstance(new, str) else new(found)
        changes += instead != found.group()
        return instead

    return pattern.sub(one, text), changes


def in_address(text: str, start: int, end: int) -> bool:
    """Does ``start`` or ``end`` lie in an address of the web, of a mailbox or of a file?"""
    first, last = start, end
    while first > 0 and start - first < WIDEST and not _parts(text[first - 1]):
        first -= 1
    while last < len(text) and last - end < WIDEST and not _parts(text[last]):
        last += 1
    around = text[first:last]
    return len(around) > end - start and bool(IS_ADDRESS.search(around))


def _parts(character: str) -> bool:
    return character in APART or "\u3400" <= character <= "\u9fff"


def code_in(text: str) -> "Spans":
    """What stands between back quotes."""
    return Spans([found.span() for found in CODE.finditer(text)] if "`" in text else [])


class Spans:
    """Stretches of a text, in order and apart."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self.starts, self.ends = [start for start, _ in spans], [end for _, end in spans]

    def touches(self, start: int, end: int) -> bool:
        """Does ``start`` to ``end`` share a character with one of them?"""
        before = bisect_right(self.starts, max(start, end - 1)) - 1
        return before >= 0 and self.ends[before] > start


class Lines:
    """Is the line around a place code? Asked for one place after another, each line is looked at once."""

    def __init__(self, text: str) -> None:
        self.text, self.end, self.code = text, -1, False

    def is_code(self, place: int) -> bool:
        """Is the line that ``place`` is in written in a programming language? Places must not go back."""
        if place > self.end:
            start = self.text.rfind("\n", 0, place) + 1
            end = self.text.find("\n", place)
            self.end = len(self.text) if end < 0 else end
            line = self.text[start : min(self.end, start + LONGEST_LINE)]
            self.code = _is_code(line)
        return self.code


def _is_code(line: str) -> bool:
    if line.rstrip().endswith(CODE_ENDS) or CODE_START.match(line) or any(pair in line for pair in CODE_PAIRS):
        return True
    return any(sign in line and pattern.search(line) for sign, pattern in CODE_HINTS)
