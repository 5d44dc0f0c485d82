"""Gopher's quality rules decide as datatrove's do, and every threshold is passed strictly."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters import gopher_quality
from danlu.text.filters.gopher_quality import GopherQuality, mandarin
from tests.text.filters.judged import expected, needs_jieba, reason, renamed
from tests.text.filters.texts import MANDARIN_TEXTS, PROSE, SENTENCES, TEXTS

ENGLISH = expected("gopher quality", gopher_quality)
MANDARIN = expected("gopher quality", gopher_quality, mandarin=True)


@pytest.mark.parametrize("name", TEXTS)
def test_decides_as_datatrove(name: str) -> None:
    assert reason(GopherQuality(), TEXTS[name]) == ENGLISH[name]


@needs_jieba
@pytest.mark.parametrize("name", MANDARIN_TEXTS)
def test_decides_as_datatrove_with_fineweb_2_and_jieba(name: str) -> None:
    assert reason(mandarin("jieba"), MANDARIN_TEXTS[name], language="zh") == MANDARIN[name]


def test_mandarin_without_jieba_agrees_on_these_texts() -> None:
    found = {name: reason(mandarin(), text, language="zh") for name, text in MANDARIN_TEXTS.items()}
    assert found == MANDARIN


def test_every_reason_of_datatrove_is_met_by_some_text() -> None:
    assert {*ENGLISH.values()} - {""} == {*renamed(gopher_quality).values()}


def words(number: int) -> str:
    """So many words of five letters, full stops left out."""
    return " ".join(["with the", *["house"] * (number - 2)])


@pytest.mark.parametrize(
    ("change", "text", "before", "after"),
    [
        ({"min_words": 51}, words(50), "", "too_few_words"),
        ({"min_words": 0}, words(4), "too_few_words", ""),
        ({"max_words": 50}, words(51), "", "too_many_words"),
        ({"max_words": 0}, TEXTS["too long"], "too_many_words", ""),
        ({"min_word_length": 5}, PROSE, "", "short_words"),
        ({"min_word_length": 0}, TEXTS["short words"], "short_words", ""),
        ({"max_word_length": 4}, PROSE, "", "long_words"),
        ({"max_word_length": 0}, TEXTS["long words"], "long_words", ""),
        ({"max_symbols": 0.5}, TEXTS["hashes"], "hashes", "few_lettered_words"),
        ({"max_symbols": 0.01}, PROSE + " and so on ... and on ... and on ... and on ... and on ... and on ...", "", "ellipses"),
        ({"max_bullet_lines": 0}, TEXTS["bullets"], "bullet_lines", ""),
        ({"max_ellipsis_lines": 0.4}, TEXTS["lines that trail off"], "ellipsis_lines", ""),
        ({"max_ellipsis_lines": 0.39}, TEXTS["lines that trail off"], "ellipsis_lines", "ellipsis_lines"),
        ({"min_lettered_words": 0.95}, PROSE, "", "few_lettered_words"),
        ({"min_stop_words": 0}, TEXTS["without stop words"], "few_stop_words", ""),
        ({"min_stop_words": 8}, words(60), "", "few_stop_words"),
        ({"stop_words": ("ferry", "harbour")}, TEXTS["without stop words"], "few_stop_words", ""),
        ({"words": "chinese"}, TEXTS["mandarin"], "too_few_words", "short_words"),
        ({"language": "zh"}, "too short", "too_few_words", ""),
    ],
)  # fmt: skip
def test_every_key_changes_a_decision(change: dict[str, object], text: str, before: str, after: str) -> None:
    assert reason(GopherQuality(), text) == before
    assert reason(replace(GopherQuality(), **change), text) == after  # type: ignore[arg-type]


def test_thresholds_are_passed_strictly() -> None:
    assert reason(GopherQuality(min_words=50), words(50)) == ""
    assert reason(GopherQuality(max_words=50), words(50)) == ""
    half = "\n".join(f"{'- ' if n % 2 else ''}{sentence}" for n, sentence in enumerate(SENTENCES))
    assert reason(GopherQuality(max_bullet_lines=0.5), half) == ""
    assert reason(GopherQuality(max_bullet_lines=0.49), half) == "bullet_lines"


def test_the_detail_says_how_far_and_the_language_whom() -> None:
    found = GopherQuality()(Document("Only four words here.", "a:1", "a"))
    assert (found.reason, found.detail) == ("too_few_words", "4, at least 50")  # type: ignore[union-attr]
    assert reason(GopherQuality(language="en"), "short", language="zh") == ""
    assert reason(GopherQuality(language="en"), "short", language="en") == "too_few_words"


def test_a_step_travels_as_plain_values_and_leaves_the_document_alone() -> None:
    step = from_dict(GopherQuality, to_dict(GopherQuality()))
    document = Document(PROSE, "a:1", "a")
    assert step(document) is document


@pytest.mark.parametrize(
    "change",
    [
        {"min_words": -1},
        {"max_words": 10},
        {"min_word_length": 11},
        {"max_bullet_lines": 1.1},
        {"min_lettered_words": -0.1},
        {"max_symbols": float("nan")},
        {"min_stop_words": 9},
        {"words": "latin"},
    ],
)
def test_senseless_settings_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        GopherQuality(**change)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text("#….-• \n\tthe\x00\ud800中")))
def test_never_raises(text: str) -> None:
    for step in (GopherQuality(min_words=0), GopherQuality(), mandarin(), replace(mandarin(), min_words=0)):
        step(Document(text, "a:1", "a", {"language": "zh"}))
