"""Steps and the funnel: every document is handed on or counted under its reason."""

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text import pipeline
from danlu.text.dedup.exact import ExactDuplicates
from danlu.text.document import Document, Dropped, Step
from danlu.text.filters.length import Length
from danlu.text.normalize import normalize
from danlu.text.report import PROBLEMS_KEPT, SAMPLE_CHARACTERS, SAMPLES_A_REASON, Funnel


def documents(*texts: str) -> list[Document]:
    return [Document(text, f"t:{n}", "t") for n, text in enumerate(texts)]


def steps() -> dict[str, Step]:
    return {"normalize": normalize, "length": Length(3, 10), "exact": ExactDuplicates()}


def test_length_counts_characters_and_includes_its_bounds() -> None:
    step = Length(3, 5)
    verdicts = [step(d) for d in documents("ab", "三个字", "abcde", "abcdef")]
    assert verdicts[0] == Dropped("too_short")
    assert isinstance(verdicts[1], Document)
    assert isinstance(verdicts[2], Document)
    assert verdicts[3] == Dropped("too_long")


def test_the_first_of_two_copies_stays() -> None:
    step = ExactDuplicates()
    first, copy, other = documents("One Two", "one\n  two ", "one three")
    assert step(first) is first
    assert step(copy) == Dropped("duplicate")
    assert step(other) is other


def test_the_funnel_names_every_reason() -> None:
    funnel = Funnel()
    kept = list(pipeline.run(documents("hello ", "Hello", "x", " ", "y" * 11, "你好吗"), steps(), funnel))
    assert [d.text for d in kept] == ["hello", "你好吗"]
    assert funnel.reasons() == {"duplicate": 1, "empty": 1, "too_long": 1, "too_short": 1}
    first, second, third = funnel.to_dict()["steps"]
    assert first["step"] == "normalize"
    assert (first["documents_in"], first["documents_out"], first["dropped"]) == (6, 5, {"empty": 1})
    assert (first["bytes_in"], first["bytes_out"]) == (6 + 5 + 1 + 1 + 11 + 9, 5 + 5 + 1 + 11 + 9)
    assert second["dropped"] == {"too_short": 1, "too_long": 1}
    assert (third["documents_in"], third["documents_out"], third["bytes_out"]) == (3, 2, 5 + 9)
    assert funnel.samples["too_long"] == ["y" * 11]


def test_a_step_that_nothing_reached_is_still_reported() -> None:
    funnel = Funnel()
    assert list(pipeline.run([], steps(), funnel)) == []
    assert [step["step"] for step in funnel.to_dict()["steps"]] == ["normalize", "length", "exact"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=20))
def test_in_is_out_plus_dropped(texts: list[str]) -> None:
    funnel = Funnel()
    kept = list(pipeline.run(documents(*texts), steps(), funnel))
    flows = list(funnel.steps.values())
    for before, after in itertools.pairwise(flows):
        assert before.documents_out == after.documents_in
        assert before.bytes_out == after.bytes_in
    assert all(f.documents_in == f.documents_out + sum(f.dropped.values()) for f in flows)
    assert flows[0].documents_in == len(texts)
    assert flows[-1].documents_out == len(kept)


def test_samples_and_problems_are_bounded() -> None:
    funnel = Funnel()
    for number in range(SAMPLES_A_REASON + 3):
        funnel.drop("length", Document("z" * 1000, f"t:{number}", "t"), "too_long")
    for number in range(PROBLEMS_KEPT + 3):
        funnel.problem(f"line {number}")
    assert [len(text) for text in funnel.samples["too_long"]] == [SAMPLE_CHARACTERS] * SAMPLES_A_REASON
    assert (len(funnel.problems), funnel.problem_count) == (PROBLEMS_KEPT, PROBLEMS_KEPT + 3)
    json.dumps(funnel.to_dict())
