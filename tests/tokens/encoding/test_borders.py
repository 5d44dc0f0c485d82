"""A text cut into pieces has the ids of the whole, for every kind of splitting that is said to be safe."""

import json
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from danlu.tokens.encoding.borders import PIECE, added, alternatives, cuttable
from danlu.tokens.training.train import pattern
from tests.tokens.conftest import CORPUS

# The expressions that published tokenizers carry in their tokenizer.json.
END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT4 = rf"{END}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{END}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{END}?|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, list[Any]] = {
    "GPT-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "GPT-4": [GPT4],
    "GPT-4o": [GPT4O],
    "Qwen": [GPT4.replace("{1,3}", "")],
    "SmolLM2": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "digits first": [r"\p{N}{1,3}", GPT4],
    "danlu": [pattern(2)],
}
ALPHABET = (
    "aZé0९ \n\r\t.,'\"(_-/’—\u00a0\u0085\u2028\u3000\u1680\x1c\x1f\u180e\u200b\u200d\ufeff\u0301\u00bd\u2167"
    "中大々〇龦㐀，。《》！・あカ한ไ👍\U00020000<|>"
)
WORDS = (
    "the",
    " dog",
    "'s",
    "'LL",
    "天下大势",
    "，分久必合",
    "\n\n",
    "  ",
    "2024",
    "<|im_end|>",
    "<tool>",
    ".\n",
    "\r\n ",
)
# Every two characters beside each other: a wrong cut between any two that one word may hold parts a merge.
PAIRS = [a + b for a in ALPHABET for b in ALPHABET] * 2


def core(stages: list[Any], normalizer: Any = None, added: list[Any] | None = None) -> Any:
    """A byte-level BPE tokenizer with these stages of splitting, its merges learned from a little text."""
    made = tokenizers.Tokenizer(models.BPE())
    split = [
        pre_tokenizers.Split(tokenizers.Regex(s), behavior="isolated") if isinstance(s, str) else s for s in stages
    ]
    if all(isinstance(s, str) for s in stages):
        split.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    made.pre_tokenizer = pre_tokenizers.Sequence(split)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [*CORPUS, *("".join(WORDS),) * 5, *PAIRS],
        trainers.BpeTrainer(vocab_size=5000, initial_alphabet=alphabet, show_progress=False),
    )
    made.normalizer = normalizer
    made.add_special_tokens(["<|im_end|>"])
    made.add_tokens(added or [])
    made.encode_special_tokens = True
    return made


CORES = {name: core(stages) for name, stages in SPLITS.items()}
CORES["NFC"] = core([GPT4], normalizers.NFC())


def ids(made: Any, text: str) -> list[int]:
    return list(made.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("name", CORES)
@settings(max_examples=60)
@given(parts=st.lists(st.one_of(st.text(ALPHABET, max_size=6), st.sampled_from(WORDS)), max_size=12))
def test_the_pieces_have_the_ids_of_the_whole(name: str, parts: list[str]) -> None:
    made, text = CORES[name], "".join(parts)
    assert cuttable(json.loads(made.to_str()))
    pieces = PIECE.findall(text)
    assert "".join(pieces) == text
    assert [i for piece in pieces for i in ids(made, piece)] == ids(made, text)


@settings(max_examples=300)
@given(st.text())
def test_nothing_of_a_text_is_lost(text: str) -> None:
    assert "".join(PIECE.findall(text)) == text


def test_where_a_text_is_cut() -> None:
    text = "The dog (2 years) runs,\n  and\n\nsays: it's.\n天下大势，分久必合。 a  b"
    cut = "The| dog| (2| years|)| runs|,\n  and|\n\nsays|:| it's|.\n天下大势|，分久必合|。| a|  b"
    assert PIECE.findall(text) == cut.split("|")


@pytest.mark.parametrize(
    "stage",
    [
        r".+|\s+",
        r"\p{L}+ \p{L}+|\s+",  # a word of two
        r"[^\s]+[\r\n]*|\s+",  # a letter, then the end of the line
        r"[\p{L}\p{P}]+|\s+",  # a mark behind a letter
        r"(?<= )\p{L}+|\s+",  # depends on what is before it
        r"\p{L}+(?= )|\s+",
        r"\p{L}+|\p{N}+",  # blanks are left with the words
        r"\p{L}+\s|\s+",
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Whitespace(),
    ],
)
def test_another_splitting_is_not_cut(stage: Any) -> None:
    assert not cuttable(json.loads(core([stage]).to_str()))


def test_other_models_are_not_cut() -> None:
    plain = json.loads(core([GPT4]).to_str())
    assert cuttable(plain)
    assert not cuttable(plain | {"normalizer": {"type": "NFKC"}})
    assert not cuttable(plain | {"pre_tokenizer": None})
    for key, value in (("type", "Unigram"), ("dropout", 0.1), ("end_of_word_suffix", "</w>")):
        assert not cuttable(plain | {"model": plain["model"] | {key: value}})


def test_added_tokens_are_named() -> None:
    few = json.loads(core([GPT4], added=["<tool>", "two words"]).to_str())
    assert cuttable(few)
    assert added(few) == ["<tool>", "two words"]  # and not <|im_end|>, which is special
    assert not cuttable(few | {"normalizer": {"type": "NFC"}})  # the library would look for them after composing
    assert not cuttable(json.loads(core([GPT4], added=[f"<{n}>" for n in range(101)]).to_str()))


def test_alternatives_are_cut_at_the_outermost_bars() -> None:
    assert alternatives(r"a(b|c)|[|\]|]x|\||d") == ["a(b|c)", r"[|\]|]x", r"\|", "d"]
