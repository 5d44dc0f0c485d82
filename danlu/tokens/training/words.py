"""Where one word ends and the next begins: the law, and the same in bulk.

`pattern` is the law, which `tokenizers` follows whenever it encodes. To count the words of a corpus it is too slow,
and makes an object of every word. So `cut` writes for each character the letter of its kind and lets Python's `re`
follow the same rules over these letters. What kind a character is, the engine of `tokenizers` is asked once, so both
know the same Unicode; that both find the same words is tested on any text.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import pre_tokenizers

from danlu.base.errors import UserError

# Longest run of Chinese characters that one piece may span. Without a bound, text without punctuation is one
# endless word. Bytes a token on held-out chapters of 三国演义 with 8,192 pieces, by the bound:
# 1: 3.08, 2: 3.82, 4: 3.98, 8: 4.10, 12: 4.13, none: 4.14; plain GPT-2 splitting: 4.12.
HAN_RUN = 12
BORDER = ord("|")
PLANES = (0, 1, 2, 3, 14)  # of Unicode, where characters are: the others are empty or private
CONTRACTIONS = {"s": "sSſ", "d": "dD", "m": "mM", "t": "tT", "l": "lL", "v": "vV", "e": "eE", "r": "rR"}


def pattern(digits: int = 2) -> str:
    """The regular expression whose matches are the words that merges stay inside, first alternative first.

    Chinese is kept apart from Latin, so that "用Python写" shares its pieces with "Python"; combining marks stay
    with their letters (Hindi and Thai need it); ``digits`` is the longest group of digits.
    """
    return "|".join(
        (
            rf"\p{{Han}}{{1,{HAN_RUN}}}",
            r"'(?i:[sdmt]|ll|ve|re)",  # English contractions
            r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+",  # a word with the space or mark before it
            rf"\p{{N}}{{1,{digits}}}",
            r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",  # punctuation, with the end of its line
            r"\s*[\r\n]+",
            r"\s+(?!\S)",  # indentation, but for the space that belongs to the next word
            r"\s+",
        )
    )


def kinds_pattern(digits: int = 2) -> bytes:
    """`pattern`, line by line, over the letters of `kinds`, and the border between two texts as a word of its own."""
    return "|".join(
        (
            rf"[Hhq]{{1,{HAN_RUN}}}",
            r"'(?:[sdmt]|ll|ve|re)",
            r"[SWPC'q]?[Lsdmtlver]+",
            rf"[Nh]{{1,{digits}}}",
            r"S?[PC'q]+R*",
            r"[SWR]*R+",
            r"[SWR]+(?![^SWR|])",
            r"[SWR]+",
            r"\|",
        )
    ).encode()


@cache
def kinds() -> npt.NDArray[np.uint8]:
    """The letter of every code point.

    H, h, q: Chinese that is a letter or mark, a number, anything else. L: letters and marks of other scripts, those
    of contractions as themselves. N: numbers. R: line ends. S: the space. W: other white space. ': itself.
    C: what no text is made of, control characters and the mark of undecodable bytes. P: the rest.
    """
    table = np.full(0x110000, ord("P"), np.uint8)
    for plane in PLANES:
        points = [p for p in range(plane << 16, (plane + 1) << 16) if not 0xD800 <= p < 0xE000]
        text, at = "".join(map(chr, points)), np.array(points)
        number = _inside(text, r"\p{N}")
        letter = _inside(text, r"[\p{L}\p{M}]")
        han = _inside(text, r"\p{Han}")
        table[at[number]] = ord("N")
        table[at[letter]] = ord("L")
        table[at[_inside(text, r"\s")]] = ord("W")
        table[at[han]] = ord("q")
        table[at[han & letter]] = ord("H")
        table[at[han & number]] = ord("h")
    for name, same in CONTRACTIONS.items():
        table[list(map(ord, same))] = ord(name)
    controls = np.array([*range(32), *range(127, 160), 0xFFFD])
    table[controls[table[controls] == ord("P")]] = ord("C")
    table[[ord("\r"), ord("\n"), ord(" "), ord("'")]] = list(b"RRS'")
    return table


def _inside(text: str, characters: str) -> npt.NDArray[np.bool_]:
    """Which characters of the text the class holds."""
    outside = pre_tokenizers.Split(tokenizers.Regex(f"{characters}+"), behavior="removed", invert=True)
    found = np.zeros(len(text), bool)
    for _, (begin, end) in outside.pre_tokenize_str(text):
        found[begin:end] = True
    return found


class Words(NamedTuple):
    """Words as stretches of one array of code points."""

    points: npt.NDArray[np.uint32]  # [characters]
    starts: npt.NDArray[np.int64]  # [words]
    sizes: npt.NDArray[np.int64]  # [words], in characters
    odd: int  # characters that no text is made of


def cut(texts: Sequence[str], digits: int = 2) -> Words:
    """The words of each text, by the rules of `pattern`; no word spans two texts."""
    try:
        raw = "\n".join(texts).encode("utf-32-le")
    except UnicodeEncodeError as error:
        raise UserError(
            f"a text holds {error.object[error.start]!r}, half a character, which UTF-8 cannot express",
            remedy="Clean the corpus first",
        ) from None
    points: npt.NDArray[Any] = np.frombuffer(raw, "<u4")
    letters = kinds()[points]
    borders = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)[:-1] - 1
    letters[borders] = BORDER
    line = letters.tobytes()
    sizes = np.fromiter(map(len, re.findall(kinds_pattern(digits), line)), np.int64)
    starts = np.cumsum(sizes) - sizes
    words = letters[starts] != BORDER
    return Words(points, starts[words], sizes[words], line.count(b"C"))
