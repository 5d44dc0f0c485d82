"""ROUGE-L: the values of its paper, those of a table filled cell by cell, and an index that misses nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.text.likeness import Likeness, Match, longest_common, rouge_l

SHORT = st.lists(st.integers(0, 5), max_size=12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # Lin 2004, section 3.1, β = 1
        ("police killed the gunman", "the gunman kill police", 2 / 4),  # the same
        ("The cat sat on the mat.", "the cat lay on a mat", 8 / 12),  # the, cat, on, mat of 6 and 6
        ("a b c", "a b c d e f", 2 * 3 / 9),
        ("今天天气很好。", "今天天气不好", 10 / 12),  # by character, without the mark
        ("用 Python 排序", "用 python 3 排序", 8 / 9),  # 用, python, 排, 序 of 4 and 5
        ("Don't go", "don t GO!", 1.0),
        ("tea", "coffee", 0.0),
        ("", "tea", 0.0),
        ("?!", "?!", 0.0),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(one: str, other: str, expected: float) -> None:
    assert rouge_l(one, other) == pytest.approx(expected, abs=1e-12)
    assert rouge_l(other, one) == rouge_l(one, other)


@given(SHORT, SHORT)
def test_the_bits_agree_with_the_table(one: list[int], other: list[int]) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert longest_common(one, other) == table[-1][-1]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
def test_the_index_finds_what_comparing_with_all_finds(threshold: float) -> None:
    draw = random.Random(0)
    words = [f"w{n}" for n in range(60)]
    texts: list[str] = []
    index = Likeness(threshold)
    found = 0
    for _ in range(90):
        if texts and draw.random() < 0.6:  # a text of before with some words changed
            text = " ".join(w if draw.random() < 0.85 else draw.choice(words) for w in draw.choice(texts).split())
        else:
            text = " ".join(draw.choices(words, k=draw.randint(1, 25)))
        scores = [rouge_l(text, other) for other in texts]
        best = max(scores, default=0.0)
        expected = Match(scores.index(best), best) if best >= threshold else None
        assert index.nearest(text) == expected
        found += expected is not None
        assert index.add(text) == len(texts)
        texts.append(text)
    assert found > 3
    assert len(index) == 90


def test_a_text_without_words_is_like_nothing() -> None:
    index = Likeness(0.7)
    assert index.nearest("tea") is None
    index.add("...")
    index.add("tea")
    assert index.nearest("...") is None
    assert index.nearest("Tea!") == Match(1, 1.0)
