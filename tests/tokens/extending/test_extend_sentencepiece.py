"""Llama 2's kind: characters and byte fallback. Where SentencePiece is installed, its own reading is the reference."""

import builtins
import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.base.errors import MissingExtra, UserError
from danlu.tokens.extending.extend import Extension, Limits, core_of, size_of, with_special
from danlu.tokens.extending.extend_sentencepiece import MODEL, extend, is_byte, read_proto, tokenizer_json, write_model

ENGLISH = [
    "The quick brown fox jumps over the lazy dog; the user waits, and 12 dogs answer.",
    "def answer(question: str) -> int: return 42 # the assistant's answer",
    "天 is heaven.",
] * 20
CHINESE = [
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。",
    "汉朝自高祖斩白蛇而起义，一统天下，后来光武中兴，传至献帝，遂分为三国。 天下 (the world) 大势。",
] * 5
FEW = Limits(add=70, least_count=2)


def train(**changes: Any) -> bytes:
    """A tiny ``tokenizer.model``, by SentencePiece's own trainer; its text has no "▁", which the file would own."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    pytest.importorskip("google.protobuf", reason="protobuf, which reads its file, is not installed")
    made = io.BytesIO()
    options: dict[str, Any] = {"model_type": "bpe", "vocab_size": 370, "byte_fallback": True, "pad_id": -1}
    identity = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "minloglevel": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH), model_writer=made, **{**options, **identity, **changes}
    )
    return made.getvalue()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sentencepiece") / MODEL
    path.write_bytes(train())
    return path


@pytest.fixture(scope="module")
def old(file: Path) -> dict[str, Any]:
    return tokenizer_json(read_proto(file))


@pytest.fixture(scope="module")
def new(old: dict[str, Any]) -> Extension:
    return extend(old, CHINESE, FEW)


@pytest.fixture(scope="module")
def cores(old: dict[str, Any], new: Extension) -> tuple[Any, Any]:
    return core_of(old), core_of(new.data)


def ids(core: Any, text: str) -> list[int]:
    return list(core.encode(text, add_special_tokens=False).ids)


def processor(path: Path) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(path))


TEXTS = (*ENGLISH[:3], *CHINESE[:2], "  two  spaces ", "", "\n\t", "🙂 <s> </s>", "天天天下下")


def test_the_two_files_read_alike(file: Path, old: dict[str, Any]) -> None:
    theirs, ours = processor(file), core_of(old)
    for text in TEXTS:
        assert ids(ours, text) == theirs.encode(text)


def test_english_keeps_every_id(old: dict[str, Any], new: Extension) -> None:
    before, after = core_of(old), core_of(new.data)
    for text in (*ENGLISH, "天 is 天", "<s>", "naïve"):
        assert ids(after, text) == ids(before, text)


@given(st.lists(st.sampled_from([*"天下大势分久必合秦汉 a,。\n1世", "the", "天下"]), max_size=25).map("".join))
def test_only_a_text_that_holds_a_new_piece_is_written_otherwise(
    cores: tuple[Any, Any], new: Extension, text: str
) -> None:
    before, after = (ids(core, text) for core in cores)
    spelled = "▁" + text.replace(" ", "▁")
    if not any(piece.text.decode() in spelled for piece in new.pieces):
        assert after == before
    assert cores[1].decode(after) == text


def test_every_piece_comes_out_of_the_merges(old: dict[str, Any], new: Extension) -> None:
    model, before = core_of(new.data).model, core_of(old).model
    assert len(new.pieces) == FEW.add
    assert [piece.id for piece in new.pieces] == list(range(size_of(old), size_of(old) + FEW.add))
    for piece in new.pieces:
        assert [token.id for token in model.tokenize(piece.text.decode())] == [piece.id]
        assert tuple(token.id for token in before.tokenize(piece.text.decode())) == piece.parts


def test_a_new_character_comes_before_the_pieces_with_it(old: dict[str, Any], new: Extension) -> None:
    known = {piece for piece in old["model"]["vocab"] if not is_byte(piece)}
    lengths = set()
    for piece in new.pieces:
        string = piece.text.decode()
        lengths.add(len(string))
        assert len(string) == 1 or known.issuperset(string)
        known.add(string)
    assert lengths >= {1, 2}


def test_chinese_takes_fewer_ids(old: dict[str, Any], new: Extension) -> None:
    text = "天下大势，分久必合。"
    assert len(ids(core_of(new.data), text)) < len(ids(core_of(old), text)) / 3


def test_the_old_file_says_the_same_as_the_new(file: Path, old: dict[str, Any], new: Extension, tmp_path: Path) -> None:
    write_model(read_proto(file), tmp_path / MODEL, new.data, new.pieces)
    theirs, ours = processor(tmp_path / MODEL), core_of(new.data)
    assert theirs.get_piece_size() == size_of(new.data)
    for text in TEXTS:
        assert theirs.encode(text) == ids(ours, text)
        assert theirs.decode(theirs.encode(text)) == text
    assert any(i >= size_of(old) for i in theirs.encode(CHINESE[0]))


def test_added_tokens_behind_the_old_file_keep_their_ids(file: Path, old: dict[str, Any], tmp_path: Path) -> None:
    data, special = with_special(old, ["<pad>"], "x")
    made = extend(data, CHINESE, FEW)
    write_model(read_proto(file), tmp_path / MODEL, made.data, made.pieces)
    theirs = processor(tmp_path / MODEL)
    assert theirs.piece_to_id("<pad>") == special[0].id == made.pieces[0].id - 1
    assert theirs.is_control(special[0].id)
    assert theirs.encode(CHINESE[0]) == ids(core_of(made.data), CHINESE[0])


def test_a_file_that_cuts_words_first(old: dict[str, Any]) -> None:
    """As newer Llama files: Metaspace before the words, and no normaliser."""
    data = copy.deepcopy(old) | {"normalizer": None}
    data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    made = extend(data, CHINESE, FEW)
    assert made.data["pre_tokenizer"] == data["pre_tokenizer"]
    assert {piece.text for piece in made.pieces} == {piece.text for piece in extend(old, CHINESE, FEW).pieces}


def test_limits(old: dict[str, Any]) -> None:
    singles = extend(old, CHINESE, Limits(add=300, longest=1, least_count=2)).pieces
    assert {len(piece.text.decode()) for piece in singles} == {1}
    assert len(extend(old, CHINESE, Limits(add=500, least_count=20)).pieces) < len(singles)
    texts = ["the zebra zone zebra zone 天 zebra"] * 10
    assert not extend(old, texts, FEW).pieces
    assert b"zebra" in [piece.text.strip("▁".encode()) for piece in extend(old, texts, Limits(70, 8, 2, True)).pieces]


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / MODEL
    path.write_bytes(train(byte_fallback=False, vocab_size=90))
    with pytest.raises(UserError, match=r"not BPE with byte fallback cannot be extended\. Supported: Llama 2's kind"):
        read_proto(path)
    path.write_bytes(b"\x0a\xff\xff broken")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        read_proto(path)
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sentencepiece"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"extending .* needs sentencepiece.*pip install"):
        read_proto(path)


def test_the_json_is_complete(old: dict[str, Any]) -> None:
    assert json.loads(core_of(old).to_str())["model"]["byte_fallback"]
    assert [token["content"] for token in old["added_tokens"]] == ["<unk>", "<s>", "</s>"]
