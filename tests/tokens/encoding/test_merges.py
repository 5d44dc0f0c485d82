"""The merges that tiktoken makes have the ids of the library, for every kind of splitting that it is told."""

import json
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from danlu.tokens.encoding import merges as module
from danlu.tokens.encoding.merges import Merges, added, expression
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


def rules(made: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.to_str())
    return found


def told(made: Any, **changes: Any) -> Merges | None:
    """The merges of a tokenizer whose rules are changed."""
    values = rules(made)
    for key, value in changes.items():
        values = values | {key: values[key] | value if isinstance(value, dict) and values.get(key) else value}
    return Merges.of(tokenizers.Tokenizer.from_str(json.dumps(values)), values)


def ids(made: Any, text: str) -> list[int]:
    return list(made.encode(text, add_special_tokens=False).ids)


MERGES = {name: Merges.of(made, rules(made)) for name, made in CORES.items()}
LIBRARY = "digits first"  # two expressions, of which the second is not GPT-2's


def test_which_kinds_are_told() -> None:
    assert {name for name, found in MERGES.items() if found is None} == {LIBRARY}


@pytest.mark.parametrize("name", sorted(set(CORES) - {LIBRARY}))
@settings(max_examples=100)
@given(
    parts=st.lists(st.one_of(st.text(ALPHABET, max_size=6), st.text(max_size=4), st.sampled_from(WORDS)), max_size=12)
)
def test_ids_are_those_of_the_library(name: str, parts: list[str]) -> None:
    merges, text = MERGES[name], "".join(parts)
    assert merges is not None
    found = merges.ids(text)
    assert found is None or found.tolist() == ids(CORES[name], text)


@pytest.mark.parametrize("name", sorted(set(CORES) - {LIBRARY}))
def test_real_text_is_not_left_to_the_library(name: str) -> None:
    merges = MERGES[name]
    assert merges is not None
    for text in CORPUS:
        found = merges.ids(text)
        assert found is not None
        assert found.tolist() == ids(CORES[name], text)


def test_a_piece_that_is_not_merged_to_itself_never_comes() -> None:
    """``abc`` is listed as a + bc, and ab comes first: tiktoken alone would merge ab + c."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, "ab", "bc", "abc", "bcd"])}
    listed = [("a", "b"), ("b", "c"), ("a", "bc"), ("bc", "d")]
    made = tokenizers.Tokenizer(models.BPE(vocabulary, listed))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    merges = Merges.of(made, rules(made))
    assert merges is not None
    for text in ("abc", "bcd", "abcd", "xabcx", "bc", "aabcbcd"):
        found = merges.ids(text)
        assert found is not None
        assert found.tolist() == ids(made, text)
    assert ids(made, "abc") == [vocabulary["ab"], vocabulary["c"]]
    made.model = models.BPE(vocabulary, listed, ignore_merges=True)
    assert Merges.of(made, rules(made)) is None  # alone abc is a piece, and in a longer word it is none
    made.model = models.BPE(vocabulary, [*listed[:2], ("ab", "c"), *listed[3:]], ignore_merges=True)
    whole = Merges.of(made, rules(made))
    assert whole is not None
    assert whole.ids("abc").tolist() == ids(made, "abc") == [vocabulary["abc"]]  # type: ignore[union-attr]


def test_ids_may_stand_in_another_order_than_merges() -> None:
    made = CORES["GPT-2"]
    values = rules(made)
    vocabulary = values["model"]["vocab"]
    last = max(vocabulary.values())
    turned = {piece: last - i for piece, i in vocabulary.items()}
    values["model"]["vocab"], values["added_tokens"] = turned, []
    other = tokenizers.Tokenizer.from_str(json.dumps(values))
    merges = Merges.of(other, values)
    assert merges is not None
    assert merges.ids("天下大势 the dog").tolist() == ids(other, "天下大势 the dog")  # type: ignore[union-attr]


def test_what_one_engine_sees_otherwise_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    merges = MERGES["GPT-4"]
    assert merges is not None
    assert merges.ids("a\u0e33b") is not None
    monkeypatch.setattr(merges._kinds, "_by_library", lambda text: iter([0]))
    assert merges.ids("a\u0e34b") is None
    assert merges.ids("a\u0e33b") is not None  # known already
    assert "\u0e34" in merges._kinds._others


def test_where_words_end_shows_in_the_ids_that_are_compared() -> None:
    """Two engines that split alike agree; one for which a character is of another kind does not."""
    letters = module._alphabet()
    made, never = CORES["GPT-2"], module._holding([])
    right = module.Kinds(made, module.GPT2, letters, never)
    for mark, cut in (
        ("é", module.GPT2.replace(r"\p{L}", "[a-zA-Z中]")),
        ("½", module.GPT2.replace(r"\p{N}", "[0-9]")),
    ):
        assert right._same(mark)
        assert not module.Kinds(made, cut, letters, never)._same(mark)


def test_a_byte_without_a_piece_is_left_to_the_library() -> None:
    values = rules(CORES["GPT-2"])
    letters = {byte: letter for letter, byte in module._alphabet().items()}
    for byte in (0x04, 0xF1, 0xE1, 0xC4):
        vocabulary = dict(values["model"]["vocab"])
        listed = [pair for pair in values["model"]["merges"] if letters[byte] not in "".join(pair)]
        kept = {piece: i for piece, i in vocabulary.items() if letters[byte] not in piece}
        changed = values | {"model": values["model"] | {"vocab": kept, "merges": listed}}
        made = tokenizers.Tokenizer.from_str(json.dumps(changed))
        merges = Merges.of(made, changed)
        assert merges is not None
        for text in ("a\x04b", "\U00040001", "\u1234", "\u0101", "the dog 天下"):
            found, holds = merges.ids(text), bytes([byte]) in text.encode()
            assert (found is None) or found.tolist() == ids(made, text)
            assert not holds or found is None
    few = {"vocab": {piece: i for piece, i in kept.items() if letters[0x9F] not in piece}, "merges": []}
    assert Merges.of(made, values | {"model": values["model"] | few}) is None  # it is in too many characters


def test_very_long_blanks_are_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    merges = MERGES["GPT-2"]
    assert merges is not None
    assert merges.ids("a" + " " * 99_000 + "b") is not None
    assert merges.ids("a" + " " * 1_000_000 + "b") is None


def test_added_tokens_are_named_and_left_to_the_library() -> None:
    made = core([GPT4], added=["<tool>", "two words"])
    merges = Merges.of(made, rules(made))
    assert added(rules(made)) == ["<tool>", "two words"]  # and not <|im_end|>, which is special
    assert merges is not None
    assert merges.ids("call <tool> now") is None
    assert merges.ids("call <|im_end|> now").tolist() == ids(made, "call <|im_end|> now")  # type: ignore[union-attr]
    assert told(made, normalizer={"type": "NFC"}) is None  # the library would look for them after composing
    made = core([GPT4], added=[f"<{n}>" for n in range(101)])
    assert Merges.of(made, rules(made)) is None


def test_what_is_not_composed_is_left_to_the_library() -> None:
    merges = MERGES["NFC"]
    assert merges is not None
    assert merges.ids("é") is not None
    assert merges.ids("e\u0301") is None


@pytest.mark.parametrize(
    "splitter",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Whitespace()]),
        pre_tokenizers.Sequence([pre_tokenizers.Split("x", "removed"), pre_tokenizers.ByteLevel(False)]),
        pre_tokenizers.Sequence([pre_tokenizers.Split("x", "isolated", invert=True), pre_tokenizers.ByteLevel(False)]),
    ],
    ids=str,
)
def test_other_splittings_are_left_to_the_library(splitter: Any) -> None:
    made = tokenizers.Tokenizer.from_str(CORES["GPT-2"].to_str())
    made.pre_tokenizer = splitter
    assert Merges.of(made, rules(made)) is None


def test_what_nothing_matches_is_a_word() -> None:
    made = core([r"\p{L}+", r"x"][:1])
    merges = Merges.of(made, rules(made))
    assert merges is not None
    for text in ("天下，大势 2024", "!! a", "12 "):
        assert merges.ids(text).tolist() == ids(made, text)  # type: ignore[union-attr]


def test_other_models_are_left_to_the_library() -> None:
    plain = core([GPT4])
    assert told(plain) is not None
    assert told(plain, normalizer={"type": "NFKC"}) is None
    for key, value in (("dropout", 0.1), ("end_of_word_suffix", "</w>"), ("unk_token", "a")):
        assert told(plain, model={key: value}) is None
    assert expression({"type": "none"}) is None
