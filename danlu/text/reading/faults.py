"""What went wrong in one part of the input, told in a bounded number of sentences.

A corpus of a million bad lines must neither fill the report with one file's troubles nor hide another's: of each
kind of fault the first `NAMED` are named one by one, and the rest are counted in one sentence at the end.
"""

import errno
import os
from collections import Counter
from pathlib import Path

from danlu.text.report import Funnel

NAMED = 3


def shown(path: str | Path) -> str:
    """A path as it can stand in a report, a Parquet file and a terminal, whatever bytes the name holds."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair that no file system made
        text = str(path).encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def reason(error: BaseException) -> str:
    """Why the operating system or a library refused, in a few words on one line."""
    if isinstance(error, OSError) and error.errno is not None:
        known = {errno.EACCES: "no permission", errno.ENOENT: "has disappeared", errno.ELOOP: "a link to itself"}
        return known.get(error.errno, error.strerror or type(error).__name__)
    if isinstance(error, MemoryError):
        return "asks for more memory than there is"
    return shown(" ".join(str(error).split())[:120]) or type(error).__name__


class Faults:
    """Collects the faults of one part; call `close` when it has been read.

    ``cut`` is set once the data ended early: what follows from that (half a line at the end) is no news.
    """

    def __init__(self, path: str, tally: Funnel, unit: str = "record") -> None:
        self.path, self.tally, self.unit = path, tally, unit
        self.cut = False
        self._seen: Counter[str] = Counter()
        self._mended: Counter[str] = Counter()

    def file(self, sentence: str, *, cut: bool = False) -> None:
        """Something about the file as a whole; ``cut``: nothing more of it will be read."""
        self.cut = self.cut or cut
        self.tally.problem(f"{self.path}: {sentence}")

    def bad(self, number: int | str, kind: str, detail: str = "") -> None:
        """A record was skipped. ``kind`` is a fixed phrase, ``detail`` what was met this time."""
        self._seen[kind] += 1
        if self._seen[kind] <= NAMED:
            what = f"{kind} ({detail})" if detail else kind
            self.tally.problem(f"{self.path}, {self.unit} {number}: {what}; skipped")

    def mended(self, what: str, number: int = 1) -> None:
        """Something was put right and the text kept."""
        self._mended[what] += number

    def close(self) -> None:
        """Tell what was only counted so far."""
        for kind, number in self._seen.items():
            if number > NAMED:
                self.tally.problem(f"{self.path}: {number - NAMED} more {self.unit}s skipped: {kind}")
        for what, number in self._mended.items():
            self.tally.problem(f"{self.path}: {number} {what}")
