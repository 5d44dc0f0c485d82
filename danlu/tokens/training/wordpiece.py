"""WordPiece (Schuster and Nakajima 2012; as in BERT, Devlin 2019, arXiv:1810.04805), by the `tokenizers` library.

Words are cut at white space, between scripts and at punctuation, and spelled in pieces of which all but the first
begin with ``##``. A word with a character that has no piece is ``[UNK]`` as a whole. So it is the one kind here that
loses text: which white space there was, and words with rare characters. How much is counted when it is trained.

The library's trainer numbers the pieces ``##x`` in the order of a hash table that is another in every process, and
breaks ties between merges by those numbers: the same corpus gave another vocabulary in each of four runs. Here they
are numbered before it starts. Left out: lower case and accents stripped, as BERT's uncased vocabularies have it.
"""

import re
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training.alphabet import COVERAGE, alphabet, check_digits, check_size, cut_out
from danlu.tokens.training.train import HAN_RUN, config

UNKNOWN, CONTINUED = "[UNK]", "##"
LONGEST = 100  # characters a word may have, BERT's number; longer ones are cut and not given up
WIDE = r"[\p{Han}\u3000-\u303f\uff00-\uffef]"  # Chinese characters and marks, which stand without spaces


def words() -> str:
    """The regular expression for the words of what stands between white space."""
    return "|".join(
        (
            rf"\p{{Han}}{{1,{HAN_RUN}}}",
            r"'(?i:[sdmt]|ll|ve|re)(?![\p{L}\p{M}])",  # English contractions
            rf"[\p{{L}}\p{{M}}&&[^\p{{Han}}]]{{1,{LONGEST}}}",
            rf"\p{{N}}{{1,{LONGEST}}}",
            rf"[^\s\p{{L}}\p{{M}}\p{{N}}]{{1,{LONGEST}}}",
        )
    )


def spaces() -> str:
    """The regular expression for the spaces between words that no writer puts there."""
    return "|".join(
        (
            rf"(?<={WIDE}) ",
            rf" (?={WIDE})",
            r" (?=[.,;:!?%)\]}])",
            r" (?='(?i:[sdmt]|ll|ve|re)(?![\p{L}\p{M}]))",
            r"(?<=[(\[{]) ",
        )
    )


def train_wordpiece(
    texts: Iterable[str], vocab_size: int, *, min_frequency: int = 2, digits: int = 2, coverage: float = COVERAGE
) -> Tokenizer:
    """Learn a tokenizer of at most ``vocab_size`` ids; the texts are held in memory.

    Every character of the alphabet has two pieces, ``x`` and ``##x``, so that a word of them is never unknown.
    ``digits`` is the longest group of digits in one piece. The result depends on the texts only.
    """
    check_digits(digits)
    held = list(texts)
    characters, _ = alphabet(held, coverage)
    fixed = [*SPECIAL, UNKNOWN, *characters, *(CONTINUED + character for character in characters)]
    check_size(vocab_size, len(fixed), len(characters), coverage, f"'{CONTINUED}' before each as well")
    core = tokenizers.Tokenizer(models.WordPiece())
    core.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size + vocab_size // 8,  # some are numbers that are too long, and go
        min_frequency=min_frequency,
        special_tokens=fixed,
        continuing_subword_prefix=CONTINUED,
        show_progress=False,
    )
    core.train_from_iterator(cut_out(held, characters), trainer)
    learned = [piece for piece, _ in sorted(core.get_vocab().items(), key=lambda item: item[1])]
    too_long = re.compile(rf"(?:{CONTINUED})?\d{{{digits + 1},}}")
    kept = [piece for piece in learned if not too_long.fullmatch(piece)][:vocab_size]
    return Tokenizer(_made({piece: i for i, piece in enumerate(kept)}), {**config(), "unk_token": UNKNOWN})


def _pre_tokenizer() -> Any:
    split = pre_tokenizers.Split(tokenizers.Regex(words()), behavior="isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])


def _made(vocabulary: dict[str, int]) -> Any:
    """The tokenizer of the pieces: in the trained one the whole alphabet counts as special."""
    model = models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST)
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = _pre_tokenizer()
    together = decoders.Replace(tokenizers.Regex(spaces()), "")
    core.decoder = decoders.Sequence([decoders.WordPiece(prefix=CONTINUED, cleanup=False), decoders.Fuse(), together])
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, UNKNOWN)])
    return core
