"""A tokenizer made ready: templates by name, special tokens where there is room, padding that ends nothing."""

import pytest

from danlu.base.errors import UserError
from danlu.tokens.chat import check_template
from danlu.tokens.fitting import fitted, with_padding
from danlu.tokens.templates import TEMPLATES
from danlu.tokens.tokenizer import Tokenizer
from tests.tokens.talk import spaced


def test_the_own_template_stays(tokenizer: Tokenizer) -> None:
    assert fitted(tokenizer, "own", 0, learned=False) is tokenizer


def test_a_named_template_takes_its_place(tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    size = tokenizer.vocab_size
    for name in TEMPLATES:
        found = fitted(tokenizer, name, size + 3, learned=True)  # type: ignore[arg-type]
        assert found.chat_template == TEMPLATES[name].source
        check_template(found)
        added = len(TEMPLATES[name].tokens) if name == "llama3" else 0
        assert found.vocab_size == size + added
        assert set(TEMPLATES[name].tokens) <= set(found.special_ids)
    said = capsys.readouterr().err
    assert said.count("special tokens added") == 1
    assert "<|start_header_id|> <|end_header_id|> <|eot_id|>" in said


@pytest.mark.parametrize(("free", "learned", "why"), [(2, True, "rows for 2 more"), (9, False, "do not learn")])
def test_special_tokens_without_rows_that_learn_are_refused(
    tokenizer: Tokenizer, free: int, learned: bool, why: str
) -> None:
    with pytest.raises(UserError, match=r"needs <\|start_header_id\|>") as caught:
        fitted(tokenizer, "llama3", tokenizer.vocab_size + free, learned=learned)
    assert why in caught.value.what
    assert "danlu tokenizer extend MODEL --add 0 --special '<|start_header_id|>'" in caught.value.remedy


def test_without_a_template_chatml_is_used_where_its_tokens_are(
    tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tokenizer.with_config(chat_template=None)
    assert fitted(bare, "own", bare.vocab_size, learned=True).chat_template == TEMPLATES["chatml"].source
    assert "that is used" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"has no chat template\. Choose one with --template: chatml, qwen"):
        fitted(spaced(), "own", 1000, learned=True)


def test_padding_that_ends_a_turn_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    base = spaced()  # pads with the end of a text, as Llama 2's and Mistral's do
    assert base.pad_id == base.eos_id
    found = fitted(base, "mistral", base.vocab_size, learned=False)
    assert found.token(found.pad_id) == "<unk>"
    assert "padding is '<unk>': '</s>' ends a turn" in capsys.readouterr().err
    bare = base.with_config(unk_token=None, bos_token="<unk>")
    added = fitted(bare, "mistral", bare.vocab_size + 1, learned=False)
    assert (added.token(added.pad_id), added.vocab_size) == ("<|pad|>", bare.vocab_size + 1)
    full = fitted(bare, "mistral", bare.vocab_size, learned=True)
    with pytest.raises(UserError, match="padding and the end of a turn are both '</s>'"):
        check_template(full)
    assert with_padding(found) == (found, "")
