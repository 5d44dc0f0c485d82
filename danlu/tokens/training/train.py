"""Byte-level BPE (Sennrich 2016, arXiv:1508.07909; bytes as in GPT-2), from a corpus of any size.

Every byte is a piece, so there is no unknown token and any text round-trips. Three steps: `counts` counts words, in
bounded memory; `fewer` makes them few enough; `merges` learns from them what the trainer of `tokenizers` would. Left
out: normalisation (it would break the round trip) and a leading space (Chinese has none).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.tokens.templates import CHATML
from danlu.tokens.tokenizer import END_OF_TEXT, PAD, SPECIAL, TURN_END, TURN_START, Tokenizer
from danlu.tokens.training.counts import Counts, Seen, count_words
from danlu.tokens.training.fewer import Fewest, few_words
from danlu.tokens.training.merges import ORDER, Merges, learn
from danlu.tokens.training.words import HAN_RUN as HAN_RUN
from danlu.tokens.training.words import pattern as pattern

SMALLEST = 256 + len(SPECIAL)  # every byte is a piece
FIXED = 160_000_000  # bytes of memory for Python, its libraries and what does not grow with the corpus
LEAST_MEMORY = 256_000_000
A_WORKER = 128_000_000  # bytes of the ceiling for each thread: it takes a sixth of that
UNBOUNDED = 1 << 62
HELD = 6  # a table of words takes up to so many times its size while tables are added up
LEARNED = 20  # bytes of memory for a byte of words while merges are learned
WHOLE = 8 << 20  # bytes of different words up to which none is cut
MARGIN = 2  # neighbours are rare if so many times less common than the last that could be a piece
LONG = 4096  # characters: no word of any language has as many
ODD = 0.1  # share of characters that no text is made of, above which it is none


class Trained(NamedTuple):
    """A tokenizer, and what it was learned from and how, for its report."""

    tokenizer: Tokenizer
    facts: dict[str, int]


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    min_frequency: int = 2,
    digits: int = 2,
    memory: int | None = None,
    workers: int | None = None,
) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids, special tokens and the 256 bytes among them.

    A small corpus yields fewer ids: a pair seen less than ``min_frequency`` times is never merged. The result
    depends on the texts and ``memory`` only, neither on their order nor on the number of threads (``workers``).
    ``digits`` 2 measured best of 1, 2, 3 on English and code with 8,192 pieces (3.52, 3.55, 3.55 bytes a token).
    ``memory`` is a ceiling in bytes for the whole process, `LEAST_MEMORY` or more; without it nothing is spilled.
    """
    return train_bpe_reporting(
        texts, vocab_size, min_frequency=min_frequency, digits=digits, memory=memory, workers=workers
    ).tokenizer


def train_bpe_reporting(
    texts: Iterable[str],
    vocab_size: int,
    *,
    min_frequency: int = 2,
    digits: int = 2,
    memory: int | None = None,
    workers: int | None = None,
) -> Trained:
    """`train_bpe`, with what there is to know about it."""
    if vocab_size < SMALLEST:
        raise UserError(
            f"vocab_size {vocab_size} is too small",
            remedy=f"The smallest is {SMALLEST}: 256 bytes and {len(SPECIAL)} special tokens",
        )
    if not 1 <= digits <= 9:
        raise UserError(f"digits {digits} is not between 1 and 9", remedy="Use 1, 2 or 3")
    if memory is not None and memory < LEAST_MEMORY:
        say(f"  less than {count(LEAST_MEMORY)}B of memory cannot be kept to: the program itself takes half of that")
        memory = LEAST_MEMORY
    room = UNBOUNDED if memory is None else memory - FIXED
    threads = min(workers or os.cpu_count() or 1, room // A_WORKER + 1)
    with TemporaryDirectory(prefix="danlu-words-") as folder:
        counts, spare = (Counts(Path(folder) / name, room // HELD) for name in ("words", "parts"))
        seen = count_words(texts, counts, digits, threads)
        _check(seen)
        few = few_words(counts, spare, whole=WHOLE, most=room // LEARNED, rare=lambda n: _rare(n, vocab_size))
        spilled = counts.spilled + spare.spilled
        del counts, spare
    merges = learn(few.text, few.sizes, few.counts, vocab_size, first=len(SPECIAL), min_frequency=min_frequency)
    facts = {
        "characters": seen.characters,
        "different_words": len(few.sizes),
        "bytes_of_different_words": len(few.text),
        "spilled_bytes": spilled,
        "cut_between_neighbours_rarer_than": few.rare,
        "words_sampled_below": few.level,
        "rarest_merge": merges.rarest,
    }
    _tell(few, merges)
    return Trained(Tokenizer(_core(merges, digits), config()), facts)


def _check(seen: Seen) -> None:
    if not seen.solid:
        raise UserError("the corpus holds no text", remedy="Check the folder of documents")
    if seen.odd > ODD * seen.characters:
        share = f"{seen.odd / seen.characters:.0%}"
        raise UserError(
            f"the corpus looks binary: {share} of its characters are control characters or undecodable",
            remedy="Check the folder of documents",
        )
    size, begin = seen.longest
    if size > LONG:
        say(
            f"  the longest word has {count(size)} characters ({begin!r} ...): text without borders makes training slow"
        )
        say("  and pieces poor")


def _rare(neighbours: Any, vocab_size: int) -> int:
    """Below which count two neighbouring characters can be parted.

    Of the pairs of characters, only so many as there are pieces can become one; in the end the last of them is less
    common than it was, as its characters went into other pieces.
    """
    return int(np.partition(neighbours, -vocab_size)[-vocab_size]) // MARGIN if len(neighbours) > vocab_size else 0


def _tell(few: Fewest, merges: Merges) -> None:
    if few.rare > max(merges.rarest, 1):
        say(f"  words were cut between characters that are neighbours less than {few.rare} times; the rarest pair")
        say(f"  merged was seen {merges.rarest} times, so pieces between the two counts may be missing")
    if few.level > 1:
        say(
            f"  words seen less than {few.level} times were sampled to stay below the memory given: a pair seen N times"
        )
        say(f"  is counted with a standard error of at most sqrt({few.level} N)")


def _core(merges: Merges, digits: int) -> tokenizers.Tokenizer:
    """What `tokenizers` would have made of the same merges."""
    letters = dict(zip(ORDER, sorted(pre_tokenizers.ByteLevel.alphabet())))
    names = ["".join(letters[byte] for byte in piece) for piece in merges.pieces]
    vocabulary = {name: n for n, name in enumerate((*SPECIAL, *names))}
    name = (*SPECIAL, *names)
    core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[(name[a], name[b]) for a, b in merges.merges]))
    core.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern(digits)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def config() -> dict[str, object]:
    """``tokenizer_config.json`` of the tokenizers trained here.

    ``<|endoftext|>`` begins and ends a document. It stays the eos token for chats too: transformers and vLLM
    stop at every id in ``eos_token_id`` of ``generation_config.json``, where ``<|im_end|>`` is named.
    Padding has a token to itself: a pad that equals an end token is masked, and its end is never learned.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "additional_special_tokens": [TURN_START, TURN_END],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHATML,
    }
