"""The characters that a vocabulary of characters (WordPiece, Unigram) has to hold, and how many are worth it.

In Chinese text a third of the distinct characters are seen once or twice, and each would take a place that a word
could have. As in SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226) the commonest that together make up
``coverage`` of the text are kept; the others are cut out of the training text, so that no piece holds them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError
from danlu.tokens.training.train import ODD

COVERAGE = 0.9995  # SentencePiece's own default and its advice for Chinese and Japanese
CODES = 0x110000
LINE_FEED, MARK = 10, 0xFDD0
NEVER = (
    0,
    MARK,
)  # U+0000 is the end of a word to `danlu.tokens.training.likeliest`, the noncharacter to `unigram`
# Unicode's White_Space, by which `tokenizers` cuts; Python counts four control characters as well.
SPACES = tuple(chr(code) for code in range(0x3001) if chr(code).isspace() and not 0x1C <= code <= 0x1F)
CONTROLS = [code for code in (*range(32), *range(127, 160), 0xFFFD) if chr(code) not in SPACES]


def codes_of(text: str) -> NDArray[np.uint32]:
    """``text`` as code points  # [characters]; half a surrogate pair, which no tokenizer can take, becomes U+FFFD."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    halves = (codes >= 0xD800) & (codes < 0xE000)
    return np.where(halves, np.uint32(0xFFFD), codes) if halves.any() else codes


def alphabet(texts: Iterable[str], coverage: float) -> tuple[list[str], list[str]]:
    """The commonest characters that make up ``coverage`` of the texts, by code point, and the white space there is."""
    counts = np.zeros(CODES, np.int64)
    for text in texts:
        found = np.bincount(codes_of(text))
        counts[: len(found)] += found
    odd, everything = int(counts[CONTROLS].sum()), max(int(counts.sum()), 1)
    if odd > ODD * everything:
        raise UserError(
            f"the corpus looks binary: {odd / everything:.0%} of its characters are control characters or undecodable",
            remedy="Check the folder of documents",
        )
    spaces = [space for space in SPACES if counts[ord(space)]]
    counts[[*NEVER, *map(ord, SPACES)]] = 0
    seen = np.flatnonzero(counts)
    if not len(seen):
        raise UserError("the corpus holds no text", remedy="Check the files or the folder of documents")
    ranked = seen[np.argsort(-counts[seen], kind="stable")]
    reached = np.cumsum(counts[ranked])
    kept = int(np.searchsorted(reached, coverage * int(reached[-1]) - 1e-6)) + 1
    return [chr(code) for code in sorted(ranked[:kept].tolist())], spaces


def cut_out(texts: Iterable[str], kept: Sequence[str]) -> Iterable[str]:
    """The texts with a line feed for every character that is neither kept nor white space: no word goes across."""
    known = np.zeros(CODES, bool)
    known[[ord(character) for character in kept]] = True
    known[list(map(ord, SPACES))] = True
    for text in texts:
        codes = codes_of(text)
        wanted = known[codes]
        yield text if wanted.all() else np.where(wanted, codes, LINE_FEED).astype("<u4").tobytes().decode("utf-32-le")


def check_size(vocab_size: int, smallest: int, characters: int, coverage: float, taken: str) -> None:
    """A `UserError` if the vocabulary has no room for its own alphabet."""
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size {vocab_size} is smaller than the alphabet: {characters:,} characters make up {coverage:.2%} "
            f"of the text, and with {taken} they need {smallest:,} ids",
            remedy="Ask for a larger vocabulary, or for a smaller coverage",
        )


def check_digits(digits: int) -> None:
    """A `UserError` for a longest group of digits that makes no sense."""
    if not 1 <= digits <= 9:
        raise UserError(f"digits {digits} is not between 1 and 9", remedy="Use 1, 2 or 3")
