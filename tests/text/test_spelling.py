"""Correctors: what they change is counted, what must stay stays."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import MissingExtra, UserError
from danlu.text.document import Document
from danlu.text.spelling import Spelling, corrected


def spelt(step: Spelling, text: str, **meta: str) -> Document:
    result = step(Document(text, "t:1", "t", dict(meta)))
    assert isinstance(result, Document)
    return result


def test_off_by_default() -> None:
    document = Document("teh goverment", "t:1", "t")
    assert Spelling()(document) is document


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text("高行 → 高兴\nteh → the\n", encoding="utf-8")
    result = spelt(Spelling("file", path), "teh tehran 很高行")
    assert result.text == "the tehran 很高兴"
    assert result.meta["changes"] == {"spelling": 2}


def test_english() -> None:
    pytest.importorskip("symspellpy", reason="the extra 'spelling' is not installed")
    result = spelt(Spelling("symspell"), "The goverment will recieve colour and honour, definately.")
    assert result.text == "The government will receive colour and honour, definitely."
    assert result.meta["changes"] == {"spelling": 3}


@pytest.mark.parametrize(
    "text",
    [
        "Goverment and GOVERMENT",  # names
        "http://goverment.com/recieve me@goverment.com /usr/goverment/recieve",
        "`goverment` and\ndef goverment():",
        "goverment_x goverment.py x-goverment",
        "tokenizer goverment goverment goverment",  # said three times, it is meant
        "teh",  # three letters are as often a name
    ],
)
def test_what_english_leaves(text: str) -> None:
    pytest.importorskip("symspellpy", reason="the extra 'spelling' is not installed")
    assert spelt(Spelling("symspell"), text).text == text


def test_english_is_left_alone_in_other_languages() -> None:
    pytest.importorskip("symspellpy", reason="the extra 'spelling' is not installed")
    assert spelt(Spelling("symspell"), "le goverment", language="fr").text == "le goverment"
    assert spelt(Spelling("symspell"), "the goverment", language="en").text == "the government"


def test_chinese_needs_its_library(tmp_path: Path) -> None:
    """What remains to be said where it is not installed; where it is, it corrects (see bench/spelling.py)."""
    model = tmp_path / "model.arpa"
    model.write_text("", encoding="utf-8")
    step = Spelling("pycorrector", model)
    assert spelt(step, "no Chinese").text == "no Chinese"
    try:
        import kenlm  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match="kenlm"):
            spelt(step, "很高行")


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: corrector"):
        Spelling("word")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="recipe: file"):
        Spelling("file")
    with pytest.raises(UserError, match="recipe: file"):
        Spelling("pycorrector")
    with pytest.raises(UserError, match="no such file"):
        Spelling("pycorrector", tmp_path / "none")


def test_a_corrector_of_ones_own_is_a_function() -> None:
    text = "我今天很高行。价格 123 元，Bob 说\n`高行` http://x.com/高行 x = 高行;"
    result = corrected(
        Document(text, "t:1", "t"),
        lambda line: line.replace("高行", "高兴").replace("123", "456").replace("Bob", "bob").replace("\n", " "),
    )
    assert result.text.startswith("我今天很高兴。价格 123 元，Bob 说\n`高行` ")
    assert result.meta == {"changes": {"spelling": 1}} or result.meta["changes"]["spelling"] >= 1
    same = Document(text, "t:1", "t")
    assert corrected(same, lambda line: line) is same


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab1A中。\n `.@/:"), max_size=40), st.text(st.sampled_from("ab1A中。\n "), max_size=10))
def test_no_corrector_can_touch_numbers_names_or_line_ends(text: str, nonsense: str) -> None:
    result = corrected(Document(text, "t:1", "t"), lambda line: nonsense).text

    def fixed(given_text: str) -> list[str]:
        return [c for c in given_text if c.isdigit() or c.isupper() or c == "\n"]

    assert fixed(result) == fixed(text)
