"""The split goes by what a text says, and neither side is left empty without need."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.document import Document
from danlu.text.split import position, split


def documents(texts: list[str]) -> list[Document]:
    return [Document(text, f"t:{n}", "t") for n, text in enumerate(texts)]


def sides(texts: list[str], share: float, seed: int = 0) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"train": set(), "validation": set()}
    for side, document in split(documents(texts), share, seed):
        found[side].add(document.text)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=30), st.floats(0, 0.99), st.integers(-(2**70), 2**70), st.randoms())
def test_order_moves_nothing(texts: list[str], share: float, seed: int, shuffler: random.Random) -> None:
    shuffled = texts.copy()
    shuffler.shuffle(shuffled)
    assert sides(texts, share, seed) == sides(shuffled, share, seed)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=30), st.floats(0, 0.99))
def test_nothing_is_lost_and_copies_stay_together(texts: list[str], share: float) -> None:
    out = list(split(documents(texts), share, 0))
    assert sorted(document.id for _, document in out) == sorted(document.id for document in documents(texts))
    found = sides(texts, share)
    assert not found["train"] & found["validation"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(), min_size=2, max_size=6, unique=True), st.floats(0.0001, 0.99))
def test_two_texts_fill_both_sides(numbers: list[int], share: float) -> None:
    found = sides([f"text {n}" for n in numbers], share)
    assert found["train"]
    assert found["validation"]


def test_adding_documents_moves_no_other() -> None:
    few, many = [f"text {n}" for n in range(300)], [f"text {n}" for n in range(3000)]
    assert sides(few, 0.1)["validation"] == sides(many, 0.1)["validation"] & set(few)


def test_the_share_is_kept_and_the_seed_chooses() -> None:
    texts = [f"text {n}" for n in range(5000)]
    assert 0.08 < len(sides(texts, 0.1)["validation"]) / 5000 < 0.12
    assert sides(texts, 0.1)["validation"] != sides(texts, 0.1, seed=1)["validation"]
    assert not sides(texts, 0)["validation"]


def test_case_and_white_space_do_not_separate() -> None:
    assert position("One  two\n", 3) == position("one two", 3)


def test_one_text_goes_to_training() -> None:
    low = next(f"text {n}" for n in range(1000) if position(f"text {n}", 0) < 0.02)
    assert sides(["text 0"], 0.000001) == {"train": {"text 0"}, "validation": set()}
    # Below the border it is validation; alone, a text is not moved away from its side.
    assert sides([low], 0.02) == {"train": set(), "validation": {low}}
