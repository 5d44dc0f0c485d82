"""One pass over a text's characters for all kinds: where numbers stand, and where words are too long to be words.

Searching with a regular expression costs 4 to 40 ns a character for each kind; the same question asked of an array of
bytes costs 1 or 2 for all. Latin-1 with a question mark for whatever is outside it keeps one byte for one character,
so positions hold in Chinese text too.
"""

import string
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]  # start and end in the text, as in slices

GAP = 4  # digits this far apart can be of one number: three separators, as in "+44 (0)20"
NUMBER, DOTTED = 7, 4  # fewest digits of a telephone number, and of 8.8.8.8
LONG_RUN = 16  # fewest characters of a key

ENDS_RUN = np.ones(256, np.bool_)
ENDS_RUN[[ord(character) for character in "-_." + string.ascii_letters + string.digits]] = False


class Scan(NamedTuple):
    """What a text may hold, by place."""

    numbers: list[Span]  # at least seven digits, three other characters between two of them at most
    dotted: list[Span]  # the same for four digits
    runs: list[Span]  # letters, digits, and - _ . without a break


def scan(text: str) -> Scan:
    """The places in ``text`` where looking closer may pay."""
    plain = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
    digits = np.flatnonzero((plain - np.uint8(48)) < 10)
    breaks = np.flatnonzero(ENDS_RUN[plain])
    return Scan(*_groups(digits), _runs(breaks, len(plain)))


def _groups(digits: NDArray[np.intp]) -> tuple[list[Span], list[Span]]:
    if len(digits) < DOTTED:
        return [], []
    inner = np.flatnonzero(digits[1:] - digits[:-1] > GAP)
    last = np.append(inner, len(digits) - 1)  # the last digit of each group
    first = np.append(0, inner + 1)
    count = last - first + 1
    numbers, dotted = (_spans(digits, first, last, count >= fewest) for fewest in (NUMBER, DOTTED))
    return numbers, dotted


def _spans(
    digits: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp], enough: NDArray[np.bool_]
) -> list[Span]:
    return list(zip(digits[first[enough]].tolist(), (digits[last[enough]] + 1).tolist(), strict=True))


def _runs(breaks: NDArray[np.intp], size: int) -> list[Span]:
    if len(breaks) == 0:
        return [(0, size)] if size >= LONG_RUN else []
    long = np.flatnonzero(breaks[1:] - breaks[:-1] > LONG_RUN).tolist()
    found = [(int(breaks[at]) + 1, int(breaks[at + 1])) for at in long]
    first, last = int(breaks[0]), int(breaks[-1])
    before = [(0, first)] if first >= LONG_RUN else []
    after = [(last + 1, size)] if size - last - 1 >= LONG_RUN else []
    return before + found + after
