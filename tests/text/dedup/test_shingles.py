"""Tokens, shingles and sets are what a slow loop over characters and Python's integers make of a text."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.dedup.shingles import distinct, factors, shingles, tokens
from danlu.text.units import units

TEXTS = st.lists(st.text(st.sampled_from("abAB1 .\n\0é中文字ひカ한ไ\ud800\u0301𠀀"), max_size=30), max_size=6)


def by_hand(text: str) -> list[str]:
    """The text cut where each unit begins."""
    starts = [*units(text).starts.tolist(), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(starts)]


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def hashes_by_hand(text: str, width: int) -> list[int]:
    words = [int(units(token).hashes[0]) for token in by_hand(text)]
    odd = [int(factor) for factor in factors(width)]
    starts = range(max(len(words) - width + 1, min(len(words), 1)))
    return [mixed(sum(w * f for w, f in zip(words[s : s + width], odd, strict=False)) % 2**64) for s in starts]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_tokens_are_the_units_of_each_text_alone(texts: list[str]) -> None:
    hashes, ends = tokens(texts)
    assert [part.tolist() for part in np.split(hashes, ends[:-1])][: len(texts)] == [
        units(text).hashes.tolist() for text in texts
    ]


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 6))
def test_shingles_are_those_of_a_loop_whatever_stands_around_a_text(texts: list[str], width: int) -> None:
    hashes, ends = shingles(texts, width)
    assert [part.tolist() for part in np.split(hashes, ends[:-1])][: len(texts)] == [
        hashes_by_hand(text, width) for text in texts
    ]


def test_case_marks_and_spaces_do_not_count() -> None:
    one, two = (
        shingles([text], 5)[0].tolist() for text in ("One, two;  THREE\nfour - five!", "one two three four five")
    )
    assert one == two


def test_chinese_goes_by_characters_and_english_by_words() -> None:
    assert len(tokens(["天下大势，分久必合"])[0]) == 8
    assert len(tokens(["the general trend under heaven"])[0]) == 5
    assert len(tokens(["用 PyTorch 训练 models"])[0]) == 5


def test_a_long_text_leaves_no_trace_of_its_pieces() -> None:
    assert len(set(tokens(["word " * 40_000])[0].tolist())) == 1
    assert len(set(tokens(["字" * 200_000])[0].tolist())) == 1
    hashes, ends = tokens(["a" * 10_000, "word"])
    assert ends.tolist() == [1, 2]
    assert hashes[1] == tokens(["word"])[0][0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), max_size=5))
def test_distinct_gives_ordered_sets(rows: list[list[int]]) -> None:
    ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
    values, last = distinct(np.array([v for row in rows for v in row], np.uint64), ends)
    assert [part.tolist() for part in np.split(values, last[:-1])][: len(rows)] == [
        sorted({value >> 32 for value in row}) for row in rows
    ]


@pytest.mark.parametrize("texts", [[], [""], ["", "!?", "\0"], ["\ud800 \udfff"]])
def test_nothing_to_hash(texts: list[str]) -> None:
    hashes, ends = shingles(texts, 5)
    assert len(hashes) == 0
    assert ends.tolist() == [0] * len(texts)
