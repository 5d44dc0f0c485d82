"""Where a text may be cut: after sentences, and at line ends that are not a wrapped line's.

A border follows a full stop, question or exclamation mark with its closing quotes and white space, the marks of Chinese
and Japanese with or without white space, or a line feed; but not before a small letter, where a sentence goes on
("e.g. this", a wrapped line), and not after an initial ("J. Smith"). So no word and no character is ever cut.
"""

import re
from itertools import pairwise

# Each branch begins where a run of marks or of white space begins and never gives back what it took: linear time.
_BORDER = re.compile(
    r"""
      (?<![.!?…]) (?: [!?…] | (?<!\b[A-Z]) \. ) [.!?…]*+ ["'”’»)\]]*+ \s++ (?![a-z])
    | [。！？；] [。！？；…]*+ ["”’」』）】》\]]*+ \s*+
    | (?<!\s) (?= [^\S\n]*+ \n ) \s++ (?![a-z])
    """,
    re.VERBOSE,
)


def sentences(text: str) -> list[tuple[int, int]]:
    """The parts of ``text``, start and end, that tile it; white space belongs to the part before it."""
    borders = [0, *(match.end() for match in _BORDER.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(borders) if start < end]
