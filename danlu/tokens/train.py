"""Byte-level BPE (Sennrich 2016, arXiv:1508.07909; bytes as in GPT-2), learned by the `tokenizers` library.

Every byte is a piece, so there is no unknown token and any text round-trips. What is ours is where merges may
not cross, `pattern`. Left out: normalisation (it would break the round trip) and a leading space (Chinese has
none). WordPiece, Unigram and training from more text than memory holds are another matter than this file.
"""

from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from danlu.base.errors import UserError
from danlu.tokens.chat import CHATML
from danlu.tokens.tokenizer import END_OF_TEXT, PAD, SPECIAL, TURN_END, TURN_START, Tokenizer

SMALLEST = 256 + len(SPECIAL)  # every byte is a piece
# Longest run of Chinese characters that one piece may span. Without a bound, text without punctuation is one
# endless word. Bytes a token on held-out chapters of 三国演义 with 8,192 pieces, by the bound:
# 1: 3.08, 2: 3.82, 4: 3.98, 8: 4.10, 12: 4.13, none: 4.14; plain GPT-2 splitting: 4.12.
HAN_RUN = 12


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


def train_bpe(texts: Iterable[str], vocab_size: int, *, min_frequency: int = 2, digits: int = 2) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids, special tokens and the 256 bytes among them.

    A small corpus yields fewer ids: a pair seen less than ``min_frequency`` times is never merged. The result
    depends on the texts only, neither on their order nor on the number of threads. ``digits`` 2 measured best
    of 1, 2, 3 on English and code with 8,192 pieces (3.52, 3.55, 3.55 bytes a token).
    """
    if vocab_size < SMALLEST:
        raise UserError(
            f"vocab_size {vocab_size} is too small",
            remedy=f"The smallest is {SMALLEST}: 256 bytes and {len(SPECIAL)} special tokens",
        )
    if not 1 <= digits <= 9:
        raise UserError(f"digits {digits} is not between 1 and 9", remedy="Use 1, 2 or 3")
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern(digits)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[tokenizers.AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        show_progress=False,
    )
    core.train_from_iterator(_not_empty(texts), trainer)
    return Tokenizer(core, config())


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    found = False
    for text in texts:
        found = found or bool(text.strip())
        yield text
    if not found:
        raise UserError("the corpus holds no text", remedy="Check the folder of documents")


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
