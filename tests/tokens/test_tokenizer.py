import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.tokenizer import CONFIG, FILE, TEMPLATE, Tokenizer


@settings(max_examples=100, deadline=None)
@given(text=st.text() | st.text("ab 12中文'\n\t", max_size=30))
def test_transformers_gives_the_same_ids(tokenizer: Tokenizer, reference: Any, text: str) -> None:
    assume("<|" not in text)  # transformers lets a text speak special tokens; here only the renderer can
    ids = reference.encode(text, add_special_tokens=True)
    assert ids == tokenizer.encode(text)
    assert reference.decode(ids) == text


def test_transformers_sees_the_same_special_tokens(tokenizer: Tokenizer, reference: Any) -> None:
    assert reference.bos_token_id == tokenizer.bos_id == tokenizer.eos_id == reference.eos_token_id
    assert reference.pad_token_id == tokenizer.pad_id
    assert len(reference) == tokenizer.vocab_size
    assert set(tokenizer.special_ids.values()) <= set(reference.all_special_ids)
    assert reference.chat_template == tokenizer.chat_template
    assert tokenizer.stop_ids == (tokenizer.end_of_turn_id, tokenizer.eos_id)


def test_saving_what_was_loaded_changes_no_byte(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "a")
    Tokenizer.load(tmp_path / "a").save(tmp_path / "b")
    for name in (FILE, CONFIG):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [FILE, CONFIG]


def test_special_tokens_are_text_after_every_kind_of_copy(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for copied in (Tokenizer.load(tmp_path), copy.deepcopy(tokenizer)):
        assert tokenizer.end_of_turn_id not in copied.encode("a<|im_end|>b")
        assert copied.encode("a<|im_end|>b") == tokenizer.encode("a<|im_end|>b")
        assert copied.encode_spans("a<|im_end|>b", parse=True)[0][1] == tokenizer.end_of_turn_id


def test_decoding_hides_special_tokens_on_demand(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode("天下"), tokenizer.eos_id]
    assert tokenizer.decode(ids) == "天下"
    assert tokenizer.decode(ids, skip_special=False) == "<|endoftext|>天下<|endoftext|>"


def test_spans_are_the_characters_of_each_token(tokenizer: Tokenizer) -> None:
    text = "the dog 天下🜂 2024"
    ids, spans = tokenizer.encode_spans(text, parse=False)
    assert ids == tokenizer.encode(text)
    assert spans[:2] == [(0, 3), (3, 7)]  # "the", " dog"
    assert spans == sorted(spans)
    assert {i for a, b in spans for i in range(a, b)} == set(range(len(text)))
    assert spans.count((10, 11)) >= 4  # a character of four bytes is four tokens, and each is that character


def edit(path: Path, **changes: Any) -> Path:
    config = json.loads((path / CONFIG).read_text())
    config.update(changes)
    (path / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return path


@pytest.fixture
def saved(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    tokenizer.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_foreign_spellings_are_understood(saved: Path) -> None:
    edit(saved, bos_token=None, pad_token=None, eos_token={"content": "<|im_end|>", "special": True})
    edit(saved, chat_template=[{"name": "tools", "template": "no"}, {"name": "default", "template": "<|im_end|>"}])
    found = Tokenizer.load(saved)
    assert found.bos_id == found.eos_id == found.pad_id == found.end_of_turn_id == found.special_ids["<|im_end|>"]
    assert found.stop_ids == (found.eos_id,)
    assert found.chat_template == "<|im_end|>"
    (saved / TEMPLATE).write_text("from the file")
    assert Tokenizer.load(saved).chat_template == "from the file"


def test_a_template_without_the_token_ends_turns_with_eos(saved: Path) -> None:
    found = Tokenizer.load(edit(saved, chat_template="{{ messages }}"))
    assert found.end_of_turn_id == found.eos_id


@pytest.mark.parametrize("name", [FILE, CONFIG])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{"])
def test_a_missing_or_damaged_file_is_one_sentence(saved: Path, name: str, content: str | None) -> None:
    (saved / name).unlink() if content is None else (saved / name).write_text(content)
    with pytest.raises(UserError) as caught:
        Tokenizer.load(saved)
    assert str(saved) in str(caught.value) or "eos_token" in str(caught.value)


def test_a_special_token_outside_the_vocabulary_is_named(saved: Path) -> None:
    with pytest.raises(UserError, match=r"pad_token '<pad>' is not in the vocabulary"):
        Tokenizer.load(edit(saved, pad_token="<pad>"))


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Tokenizer.load(tmp_path / "none")
