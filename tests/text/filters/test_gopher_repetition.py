"""Gopher's repetition rules decide as datatrove's do."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters import gopher_repetition
from danlu.text.filters.gopher_repetition import GopherRepetition, mandarin
from tests.text.filters.judged import expected, needs_jieba, reason, renamed
from tests.text.filters.texts import MANDARIN_TEXTS, PROSE, TEXTS

ENGLISH = expected("gopher repetition", gopher_repetition)
MANDARIN = expected("gopher repetition", gopher_repetition, mandarin=True)
SHARES = [field.name for field in fields(GopherRepetition) if field.name not in ("words", "language")]
PROVOKED = {reason: name for name, reason in reversed(ENGLISH.items()) if reason}


@pytest.mark.parametrize("name", TEXTS)
def test_decides_as_datatrove(name: str) -> None:
    assert reason(GopherRepetition(), TEXTS[name]) == ENGLISH[name]


@needs_jieba
@pytest.mark.parametrize("name", MANDARIN_TEXTS)
def test_decides_as_datatrove_with_fineweb_2_and_jieba(name: str) -> None:
    assert reason(mandarin("jieba"), MANDARIN_TEXTS[name], language="zh") == MANDARIN[name]


def test_every_reason_of_datatrove_is_met_by_some_text() -> None:
    assert set(PROVOKED) == {*renamed(gopher_repetition).values()}


@pytest.mark.parametrize("key", SHARES)
def test_every_threshold_decides_its_text(key: str) -> None:
    """Off, the text passes this test; at the least share above 0, prose with the same fault in small fails it."""
    text = TEXTS[PROVOKED[key]]
    alone = replace(GopherRepetition(), **dict.fromkeys(SHARES, 0.0))
    default = getattr(GopherRepetition(), key)
    assert reason(alone, text) == ""
    assert reason(replace(alone, **{key: default}), text) == key
    assert reason(replace(alone, **{key: 1.0}), text) == ""


@pytest.mark.parametrize("key", SHARES)
def test_thresholds_are_passed_strictly(key: str) -> None:
    text = TEXTS[PROVOKED[key]]
    alone = replace(GopherRepetition(), **dict.fromkeys(SHARES, 0.0))
    found = replace(alone, **{key: 1e-9})(Document(text, "a:1", "a"))
    assert found.reason == key  # type: ignore[union-attr]
    low, high = 0.0, 1.0
    for _ in range(60):  # the exact share, to the last bit, from decisions alone
        middle = (low + high) / 2
        low, high = (middle, high) if reason(replace(alone, **{key: middle}), text) else (low, middle)
    assert reason(replace(alone, **{key: high}), text) == ""
    assert (high * len(text)) == pytest.approx(round(high * len(text))) or key in (
        "duplicate_lines",
        "duplicate_paragraphs",
    )


def test_words_and_language() -> None:
    chinese = "春天来了，" * 12 + MANDARIN_TEXTS["mandarin"]
    assert reason(mandarin(), chinese, language="zh") != reason(
        replace(mandarin(), words="english"), chinese, language="zh"
    )
    assert reason(mandarin(), TEXTS["lines again"], language="en") == ""
    assert reason(GopherRepetition(language="en"), TEXTS["lines again"], language="en") == "duplicate_lines"


def test_mandarin_without_jieba_agrees_where_it_should() -> None:
    """With pairs of characters for words; the two texts that differ are the ones that hold two sentences."""
    found = {name: reason(mandarin(), text, language="zh") for name, text in MANDARIN_TEXTS.items()}
    assert {name for name in found if bool(found[name]) != bool(MANDARIN[name])} <= {"too short", "verse"}


def test_a_step_travels_as_plain_values_and_leaves_the_document_alone() -> None:
    document = Document(PROSE, "a:1", "a")
    assert from_dict(GopherRepetition, to_dict(GopherRepetition()))(document) is document


@pytest.mark.parametrize("change", [{"top_2_gram": 1.5}, {"duplicate_lines": -0.1}, {"words": "latin"}])
def test_senseless_settings_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        GopherRepetition(**change)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text("ab \n\x00\ud800中", max_size=200)))
def test_never_raises(text: str) -> None:
    for step in (GopherRepetition(), mandarin()):
        step(Document(text, "a:1", "a", {"language": "zh"}))
