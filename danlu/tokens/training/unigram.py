"""Unigram (Kudo 2018, arXiv:1804.10959) with a piece for each byte.

The pieces are those under which the text is likeliest, found by throwing away the least useful of many
(`danlu.tokens.training.likeliest`); a text is cut into its likeliest pieces. A character without a piece is spelled in
the pieces of its UTF-8 bytes, ``<0x41>`` and so on, as in Llama 2, so any text round-trips. Spaces stand in the pieces
as they are: with SentencePiece's ``▁`` a text that holds that character itself would not come back.

Seeds are substrings that occur in two places of the distinct words. So a word that no other contains could never be a
piece, however common; every word that is seen twice is given once more with a mark behind it, and what was learned of
the mark is thrown away (bytes a token on the READMEs of Danlu: 2.30 without, 3.64 with). In text without word borders
nearly every sentence is a word of its own: pieces stay inside `danlu.tokens.training.train.pattern`, and the recipe
bounds the sample by memory.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training.alphabet import COVERAGE, MARK, alphabet, check_digits, check_size, cut_out
from danlu.tokens.training.likeliest import learn
from danlu.tokens.training.train import config, pattern

UNKNOWN = "<unk>"  # the library wants one; the bytes leave it nothing to do
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
FIXED = (*SPECIAL, UNKNOWN, *BYTES)
DECIMALS = 4  # kept of a score


def train_unigram(texts: Iterable[str], vocab_size: int, *, digits: int = 2, coverage: float = COVERAGE) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids, special tokens and 256 bytes among them.

    The texts are held in memory. ``digits`` is the longest group of digits in one piece.
    """
    check_digits(digits)
    held = list(texts)
    characters, spaces = alphabet(held, coverage)
    smallest = len(FIXED) + len({*characters, *spaces, "\n"})
    check_size(vocab_size, smallest, len(characters), coverage, "256 bytes and special tokens")
    words = count_words(cut_out(held, characters), digits)
    words |= {word + chr(MARK): 1 for word, times in words.items() if times > 1 and not word.isspace()}
    listed = sorted(words)  # the order in which texts come must not decide anything
    scored = _settled(learn(listed, [words[word] for word in listed], vocab_size - len(FIXED) + 1))  # 1: the mark
    learned = [item for item in scored if chr(MARK) not in item[0]][: vocab_size - len(FIXED)]
    model = models.Unigram([(piece, 0.0) for piece in FIXED] + learned, FIXED.index(UNKNOWN), True)
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = _pre_tokenizer(digits)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, UNKNOWN)])
    return Tokenizer(made, {**config(), "unk_token": UNKNOWN})


def count_words(texts: Iterable[str], digits: int) -> dict[str, int]:
    """How often each word is in the texts, white space among them."""
    cut, counts = _pre_tokenizer(digits), Counter[str]()
    for text in texts:
        counts.update(word for word, _ in cut.pre_tokenize_str(text))
    return dict(counts)


def _settled(scored: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The likeliest first; four decimals, a hundredth of a per cent of a probability, are the same on any processor."""
    rounded = ((piece, round(score, DECIMALS)) for piece, score in scored)
    return sorted(rounded, key=lambda item: (-item[1], item[0]))


def _pre_tokenizer(digits: int) -> Any:
    # The borders also keep "<0x41>" and "<|pad|>" in a text from being taken for the pieces of that name.
    return pre_tokenizers.Split(tokenizers.Regex(pattern(digits)), behavior="isolated")
