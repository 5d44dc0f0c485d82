"""C4's rules decide, and change texts, as datatrove's do."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters import c4
from danlu.text.filters.c4 import C4Paragraphs, C4Quality, fineweb
from tests.text.filters.judged import expected, left, reason
from tests.text.filters.texts import LINES, PARAGRAPHS, PROSE, SENTENCES, TEXTS

STEPS = {
    "c4": C4Quality(),
    "c4 (as in fineweb)": fineweb(),
    "c4 by sentence": C4Quality(by_sentence=True),
    "mc4 paragraphs": C4Paragraphs(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", TEXTS)
def test_decides_as_datatrove(step: str, name: str) -> None:
    assert reason(STEPS[step], TEXTS[name]) == expected(step, c4)[name]


def test_what_is_taken_out() -> None:
    """Line by line what datatrove 0.10.1 leaves of the same texts."""
    assert left(fineweb(), TEXTS["javascript"]) == left(fineweb(), TEXTS["policies"]) == LINES
    assert left(fineweb(), TEXTS["a long word"]) == LINES
    assert left(fineweb(), TEXTS["citations"]) == LINES
    assert left(fineweb(), TEXTS["code in a short line"]) == "\n".join(PARAGRAPHS)  # blank lines have too few words
    assert left(C4Quality(), LINES + "\nThis line has no end\nNor this one...") == LINES
    assert left(C4Quality(by_sentence=True), PROSE) == " ".join(SENTENCES)
    assert left(fineweb(), TEXTS["only citations"]) == ""  # each line was long enough before they were taken out


def test_counts_say_what_was_taken_out() -> None:
    found = C4Quality()(Document(TEXTS["citations"] + "\nToo short.", "a:1", "a"))
    assert isinstance(found, Document)
    assert found.meta["changes"] == {"c4_lines": 1, "citations": 30}
    same = Document(LINES, "a:1", "a")
    assert C4Quality()(same) is same


def test_the_first_line_that_counts_decides() -> None:
    """A line that is taken out for its length, its end or JavaScript cannot drop the text."""
    assert reason(C4Quality(), LINES + "\nlorem ipsum dolor sit") == ""
    assert reason(fineweb(), LINES + "\nlorem ipsum") == ""
    assert reason(fineweb(), LINES + "\nuse javascript { to see this.") == ""
    assert reason(fineweb(), LINES + "\nlorem ipsum in javascript here.") == "lorem_ipsum"
    assert reason(fineweb(), LINES + "\nour privacy policy has a { in it.") == "curly_bracket"


@pytest.mark.parametrize(
    ("change", "text", "before", "after"),
    [
        ({"min_sentences": 4}, TEXTS["four sentences"], "too_few_sentences", ""),
        ({"min_sentences": 0}, "", "too_few_sentences", ""),
        ({"min_words": 30}, LINES, "", "too_few_sentences"),
        ({"max_word_length": 3}, LINES, "", "too_few_sentences"),
        ({"end_punctuation": False}, TEXTS["no full stops"], "too_few_sentences", ""),
        ({"citations": False}, TEXTS["cited placeholder"], "lorem_ipsum", ""),
        ({"lorem_ipsum": False}, TEXTS["placeholder"], "lorem_ipsum", ""),
        ({"javascript": False}, LINES + "\nuse javascript { to see this.", "", "curly_bracket"),
        ({"curly_brackets": False}, TEXTS["code"], "curly_bracket", ""),
        ({"by_sentence": True}, TEXTS["figures"], "too_few_sentences", ""),
        ({"language": "zh"}, "too short", "too_few_sentences", ""),
    ],
)
def test_every_key_changes_a_decision(change: dict[str, object], text: str, before: str, after: str) -> None:
    assert reason(C4Quality(), text) == before
    assert reason(replace(C4Quality(), **change), text) == after  # type: ignore[arg-type]


def test_off_means_off() -> None:
    assert left(C4Quality(min_words=0), LINES + "\nYes.") == LINES + "\nYes."
    assert left(C4Quality(max_word_length=0), TEXTS["a long word"]) == TEXTS["a long word"]
    assert left(C4Quality(policy=False), TEXTS["policies"]) == TEXTS["policies"]
    assert left(C4Quality(javascript=False), TEXTS["javascript"]) == TEXTS["javascript"]


def test_a_citation_may_hide_a_phrase() -> None:
    """The phrase is looked for after citations are gone, though whole texts are searched first."""
    assert reason(fineweb(), LINES + "\nThis is Lorem[1] ipsum again.") == "lorem_ipsum"
    assert left(fineweb(), LINES + "\nThis is java[edit]script again.") == LINES


def test_paragraphs_are_long_lines() -> None:
    assert reason(C4Paragraphs(), "\n".join(["x" * 200] * 3)) == ""
    assert reason(C4Paragraphs(), "\n".join(["x" * 200, "x" * 200, "x" * 199])) == "too_few_paragraphs"
    assert reason(C4Paragraphs(minimum=2), "\n".join(["x" * 200] * 2)) == ""
    assert reason(C4Paragraphs(characters=20), LINES) == ""
    assert reason(C4Paragraphs(language="zh"), "x", language="en") == ""


@pytest.mark.parametrize("change", [{"min_sentences": -1}, {"min_words": -1}, {"max_word_length": -1}])
def test_senseless_settings_are_named(change: dict[str, int]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        C4Quality(**change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="recipe: minimum"):
        C4Paragraphs(minimum=0)


def test_it_travels_as_plain_values() -> None:
    assert from_dict(C4Quality, to_dict(C4Quality())) == C4Quality()


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text("ab. \n[1]{\x00\ud800中")))
def test_never_raises(text: str) -> None:
    for step in (*STEPS.values(), C4Quality(min_sentences=0)):
        step(Document(text, "a:1", "a"))
