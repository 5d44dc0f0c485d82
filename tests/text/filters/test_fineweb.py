"""FineWeb's own rules decide as datatrove's do; code and paper differ in one threshold."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters import fineweb
from danlu.text.filters.fineweb import FineWebQuality, mandarin, paper
from tests.text.filters.judged import expected, needs_jieba, reason, renamed
from tests.text.filters.texts import LINES, MANDARIN_TEXTS, PROSE, SENTENCES, TEXTS

ENGLISH = expected("fineweb", fineweb)
PAPER = expected("fineweb (paper)", fineweb)
MANDARIN = expected("fineweb", fineweb, mandarin=True)


@pytest.mark.parametrize("name", TEXTS)
def test_decides_as_datatrove(name: str) -> None:
    assert reason(FineWebQuality(), TEXTS[name]) == ENGLISH[name]
    assert reason(paper(), TEXTS[name]) == PAPER[name]


@needs_jieba
@pytest.mark.parametrize("name", MANDARIN_TEXTS)
def test_decides_as_datatrove_with_fineweb_2_and_jieba(name: str) -> None:
    assert reason(mandarin("jieba"), MANDARIN_TEXTS[name], language="zh") == MANDARIN[name]


def test_mandarin_without_jieba_agrees_on_these_texts() -> None:
    assert {name: reason(mandarin(), text, language="zh") for name, text in MANDARIN_TEXTS.items()} == MANDARIN


def test_every_reason_of_datatrove_is_met_by_some_text() -> None:
    assert {*ENGLISH.values()} - {""} == {*renamed(fineweb).values()}


def test_the_trap_between_code_and_paper() -> None:
    """One line of thirty twice: 3 % of the characters, which the code drops and the paper keeps."""
    assert reason(FineWebQuality(), TEXTS["line again"]) == "repeated_line_characters"
    assert reason(paper(), TEXTS["line again"]) == ""
    assert replace(paper(), max_repeated_line_characters=0.01) == FineWebQuality()


@pytest.mark.parametrize(
    ("change", "text", "before", "after"),
    [
        ({"min_finished_lines": 0.05}, TEXTS["few lines finished"], "unfinished_lines", ""),
        ({"min_finished_lines": 0}, TEXTS["no full stops"], "unfinished_lines", ""),
        ({"spare_unpunctuated": True}, TEXTS["no full stops"], "unfinished_lines", ""),
        ({"spare_unpunctuated": True}, TEXTS["few lines finished"], "unfinished_lines", "unfinished_lines"),
        ({"max_short_lines": 1}, TEXTS["short lines"], "short_lines", ""),
        ({"short_line": 10}, TEXTS["short lines"], "short_lines", ""),
        ({"max_repeated_line_characters": 0}, TEXTS["lines again"], "repeated_line_characters", ""),
        ({"max_line_feeds": 0.8}, TEXTS["spread out"], "list_like", ""),
        ({"words": "chinese"}, TEXTS["mandarin"], "list_like", ""),
        ({"language": "zh"}, "", "empty", ""),
    ],
)
def test_every_key_changes_a_decision(change: dict[str, object], text: str, before: str, after: str) -> None:
    assert reason(FineWebQuality(), text) == before
    assert reason(replace(FineWebQuality(), **change), text) == after  # type: ignore[arg-type]


def test_thresholds_are_passed_strictly() -> None:
    half = "\n".join(sentence[:-1] if n % 2 else sentence for n, sentence in enumerate(SENTENCES))
    assert reason(FineWebQuality(min_finished_lines=0.5), half) == ""
    assert reason(FineWebQuality(min_finished_lines=0.51), half) == "unfinished_lines"
    assert reason(FineWebQuality(short_line=len(SENTENCES[0]), max_short_lines=1), LINES) == ""
    twice = f"{SENTENCES[0]}\n{SENTENCES[1]}\n{SENTENCES[0]}"
    share = len(SENTENCES[0]) / (len(twice) - 2)
    assert reason(FineWebQuality(max_repeated_line_characters=share), twice) == ""
    assert reason(FineWebQuality(max_repeated_line_characters=share - 1e-9), twice) == "repeated_line_characters"
    four = "Wonderful outstanding circumstances surround us.\n"  # six words and one line feed
    assert reason(FineWebQuality(max_line_feeds=1 / 6), four) == ""
    assert reason(FineWebQuality(max_line_feeds=1 / 6 - 1e-9), four) == "list_like"


@pytest.mark.parametrize(
    "change",
    [{"min_finished_lines": 2}, {"max_short_lines": -1}, {"short_line": -1}, {"max_line_feeds": -1}, {"words": ""}],
)
def test_senseless_settings_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        FineWebQuality(**change)  # type: ignore[arg-type]


def test_a_step_travels_as_plain_values_and_leaves_the_document_alone() -> None:
    document = Document(PROSE, "a:1", "a")
    assert from_dict(FineWebQuality, to_dict(FineWebQuality()))(document) is document


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text("ab. \n\u200b\x00\ud800中")))
def test_never_raises(text: str) -> None:
    for step in (FineWebQuality(), mandarin(), FineWebQuality(min_finished_lines=0, max_line_feeds=0.01)):
        step(Document(text, "a:1", "a", {"language": "zh"}))
