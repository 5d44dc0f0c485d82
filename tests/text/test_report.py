"""The funnel: counts by step, reason and change, the same whether one worker counted or two were merged."""

import json

from danlu.text.document import Document, changed
from danlu.text.report import DETAILS_KEPT, PROBLEMS_KEPT, SAMPLE_CHARACTERS, SAMPLES_A_REASON, Funnel


def documents(*texts: str) -> list[Document]:
    return [Document(text, f"t:{n}", "t") for n, text in enumerate(texts)]


def count(funnel: Funnel, given: list[Document]) -> None:
    """Half are kept, a letter shorter; half are dropped."""
    for document in given:
        funnel.read(document, "input")
        if len(document.text) % 2:
            funnel.drop("odd", document, "odd_length", f"{len(document.text)} characters")
        else:
            funnel.kept("odd", document, changed(document, document.text[1:], {"letters": 1, "none": 0}))


def test_it_counts_what_went_in_and_out() -> None:
    funnel = Funnel()
    count(funnel, documents("ab", "abc", "你好", "abcd"))
    flow = funnel.steps["odd"]
    assert (flow.documents_in, flow.documents_out, flow.dropped) == (4, 3, {"odd_length": 1})
    assert (flow.bytes_in, flow.bytes_out) == (2 + 3 + 6 + 4, 1 + 3 + 3)
    assert flow.changes == {"letters": 3}
    assert funnel.sources == {"input": [4, 15]}
    assert funnel.details == ["t:1: odd_length, 3 characters"]


def test_merging_is_counting_on() -> None:
    given = documents(*("x" * n for n in range(40)))
    whole, first, second = Funnel(), Funnel(), Funnel()
    count(whole, given)
    count(first, given[:25])
    count(second, given[25:])
    for funnel, numbers in ((whole, range(300)), (first, range(120)), (second, range(120, 300))):
        for number in numbers:
            funnel.problem(f"line {number}")
    first.merge(Funnel.from_dict(json.loads(json.dumps(second.to_dict()))))
    assert first.to_dict() == whole.to_dict()
    assert (whole.problem_count, len(whole.problems)) == (300, PROBLEMS_KEPT)
    assert len(whole.samples["odd_length"]) == SAMPLES_A_REASON


def test_samples_and_details_are_bounded() -> None:
    funnel = Funnel()
    for document in documents(*["y" * 999] * (DETAILS_KEPT + 5)):
        funnel.drop("s", document, "r", "why")
    assert {len(sample) for sample in funnel.samples["r"]} == {SAMPLE_CHARACTERS}
    assert len(funnel.details) == DETAILS_KEPT


def test_the_commonest_reason_comes_first() -> None:
    funnel = Funnel()
    for reason in ("b", "a", "c", "c"):
        funnel.drop("s", Document("t", "t:1", "t"), reason)
    assert list(funnel.reasons().items()) == [("c", 2), ("a", 1), ("b", 1)]
