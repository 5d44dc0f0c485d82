"""Unigram (Kudo 2018, arXiv:1804.10959) with a piece for each byte, learned by the `tokenizers` library.

The pieces are those under which the text is likeliest, found by throwing away the least useful of many; a text is cut
into its likeliest pieces. A character without a piece is spelled in the pieces of its UTF-8 bytes, ``<0x41>`` and so
on, as in Llama 2, so any text round-trips. Spaces stand in the pieces as they are: with SentencePiece's ``▁`` a text
that holds that character itself would not come back.

Seeds are all substrings that occur in two places of the distinct words, found in a suffix array. So a word that no
other contains could never be a piece, however common; every word that is seen twice is given once more with a mark
behind it, and what was learned of the mark is thrown away (bytes a token on the READMEs of Danlu: 2.30 without, 3.64
with). In text without word borders nearly every sentence is a word of its own: pieces stay inside
`danlu.tokens.training.train.pattern`, and the recipe bounds the sample by memory.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training.alphabet import COVERAGE, MARK, alphabet, check_digits, check_size, cut_out
from danlu.tokens.training.train import config, pattern

UNKNOWN = "<unk>"  # the library wants one; the bytes leave it nothing to do
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
FIXED = (*SPECIAL, UNKNOWN, *BYTES)
DECIMALS, STEP = 4, 0.0001  # kept of a score; between the scores that the library makes up


def train_unigram(texts: Iterable[str], vocab_size: int, *, digits: int = 2, coverage: float = COVERAGE) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids, special tokens and 256 bytes among them.

    The texts are held in memory. ``digits`` is the longest group of digits in one piece.
    """
    check_digits(digits)
    held = list(texts)
    characters, spaces = alphabet(held, coverage)
    smallest = len(FIXED) + len({*characters, *spaces, "\n"})
    check_size(vocab_size, smallest, len(characters), coverage, "256 bytes and special tokens")
    core = tokenizers.Tokenizer(models.Unigram())
    marked = f"(?:{pattern(digits)}){chr(MARK)}?"
    core.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(marked), behavior="isolated")
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size - len(FIXED) + 1, show_progress=False)  # 1: the mark
    held = list(cut_out(held, characters))
    core.train_from_iterator(chain(held, (word + chr(MARK) for word in _repeated(held, digits))), trainer)
    scored = _settled(json.loads(core.to_str())["model"]["vocab"])
    learned = [item for item in scored if chr(MARK) not in item[0]][: vocab_size - len(FIXED)]
    model = models.Unigram([(piece, 0.0) for piece in FIXED] + learned, FIXED.index(UNKNOWN), True)
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = _pre_tokenizer(digits)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, UNKNOWN)])
    return Tokenizer(made, {**config(), "unk_token": UNKNOWN})


def _repeated(texts: Iterable[str], digits: int) -> Iterator[str]:
    """Each word that comes twice, once, white space aside."""
    cut, count = _pre_tokenizer(digits), dict[str, int]()
    for text in texts:
        for word, _ in cut.pre_tokenize_str(text):
            count[word] = seen = count.get(word, 0) + 1
            if seen == 2 and not word.isspace():
                yield word


def _settled(scored: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The pieces with scores that are the same in every process, the likeliest first.

    The library sums over words in the order of a hash table that is another each time, so scores agree to a dozen
    digits; four decimals are a hundredth of a per cent of a probability. Characters that were pruned it takes back in
    that order too, each 0.0001 above the last, from the lowest score on: here all of them have the lowest.
    """
    least = min(score for _, score in scored)
    steps = {piece: round((score - least) / STEP, 5) for piece, score in scored if len(piece) == 1}
    made_up = set(steps.values())
    back = next(n for n in range(len(made_up) + 1) if float(n) not in made_up)  # the first step that is missing
    same = {piece for piece, step in steps.items() if step in range(back)}
    settled = ((piece, round(least if piece in same else score, DECIMALS)) for piece, score in scored)
    return sorted(settled, key=lambda item: (-item[1], item[0]))


def _pre_tokenizer(digits: int) -> Any:
    # The borders also keep "<0x41>" and "<|pad|>" in a text from being taken for the pieces of that name.
    return pre_tokenizers.Split(tokenizers.Regex(pattern(digits)), behavior="isolated")
