"""Chinese between two marks, cut where no piece of the vocabulary can reach over.

Words of Chinese are long, since no spaces part them, and few come twice; but BPE falls apart where it can never merge.
A merge makes a piece of the vocabulary, so if no piece holds the end of one character and the beginning of the next, in
the bytes that they are written in, then what stands on either side is merged without regard to the other, and each side
may be looked up by itself. Of the pairs in Chinese text about half are so, and the parts are one or two characters.
"""

import re
from collections.abc import Iterable

from danlu.tokens.encoding.borders import HAN, MARK, PIECE, piece_also
from danlu.tokens.extending.extend import unspelled

_RUN = re.compile(rf"(?:^|(?<=[!-~{MARK}]))[{HAN}]+(?=[ -~{MARK}]|$)")
_OPEN = re.compile(rf"[{HAN}{MARK}](?=[{HAN}])")  # a cut may come behind it
_IS_MARK = re.compile(rf"[{MARK}]")


class Crossings:
    """Tells between which characters no piece of ``vocabulary`` can stand.

    ``bound`` is the most characters of a word of Chinese, counted from the beginning of its run; 0 is any number.
    """

    def __init__(self, vocabulary: Iterable[str], bound: int) -> None:
        self._bound = bound
        # What a piece may hold before a place → what after it
        self._follow = dict[bytes, set[bytes]]()
        for piece in vocabulary:
            for before, after in _inner(unspelled(piece)):
                self._follow.setdefault(before, set()).add(after)
        self._after, self._begins = dict[str, set[bytes]](), dict[str, list[bytes]]()
        self.piece = PIECE if bound else self._pattern()

    def _pattern(self) -> "re.Pattern[str]":
        """How texts are cut at characters over whose end nothing reaches, whatever Chinese comes next."""
        han = [chr(code) for code in range(0x4E00, 0x9FA6)]
        marks = filter(_IS_MARK.fullmatch, map(chr, range(0x21, 0xFF20)))
        open_ = [character for character in han if self._reach(character)]
        closed, marks_ = ([c for c in some if not self._reach(c)] for some in (han, marks))
        return piece_also(*("".join(map(re.escape, characters)) for characters in (open_, closed, marks_)))

    def _reach(self, left: str) -> set[bytes]:
        """What a piece may hold of Chinese behind the end of ``left``."""
        after = self._after.get(left)
        if after is None:
            ends = [left.encode()[i:] for i in range(len(left.encode()))]
            found = set[bytes]().union(*(self._follow.get(end, ()) for end in ends))
            after = self._after[left] = {end for end in found if 0xE4 <= end[0] <= 0xE9}
        return after

    def crossed(self, left: str, right: str) -> bool:
        """May a piece hold the end of ``left`` and the beginning of ``right``?"""
        begins = self._begins.get(right)
        if begins is None:
            begins = self._begins[right] = [right.encode()[: i + 1] for i in range(len(right.encode()))]
        return not self._reach(left).isdisjoint(begins)

    def cut(self, text: str) -> list[str]:
        """Parts of a piece, whose ids are those of the whole."""
        if self._bound:
            places = (place for run in _RUN.finditer(text) for place in self._in_run(text, *run.span()))
        else:
            found = (match.end() for match in _OPEN.finditer(text))
            places = (place for place in found if not self.crossed(text[place - 1], text[place]))
        ends = [*places, len(text)]
        return [text[a:b] for a, b in zip([0, *ends], ends) if a < b]

    def _in_run(self, text: str, begin: int, end: int) -> Iterable[int]:
        """A word begins with the run and every ``bound`` characters; inside it, where nothing reaches over."""
        for place in range(begin, end):
            if (place - begin) % self._bound == 0 or not self.crossed(text[place - 1], text[place]):
                yield place


def _inner(piece: bytes) -> Iterable[tuple[bytes, bytes]]:
    """For each place between two characters in a piece: as much of either as the piece holds."""
    starts = [i for i, byte in enumerate(piece) if byte & 0xC0 != 0x80]
    borders = [0, *(i for i in starts if i), len(piece)]
    for before, here, after in zip(borders, borders[1:], borders[2:]):
        yield piece[before:here], piece[here:after]
