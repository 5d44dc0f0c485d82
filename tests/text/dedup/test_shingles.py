"""Tokens, shingles and sets are what a slow loop over characters and Python's integers make of a text."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.dedup import shingles as module
from danlu.text.dedup.shingles import BASE, UNSPACED, distinct, factors, letters, shingles, tokens

TEXTS = st.lists(st.text(st.sampled_from("abAB1 .\n\0é中文字ひカ한ไ\ud800\u0301𠀀"), max_size=30), max_size=6)


def by_hand(text: str) -> list[str]:
    """Words, or single characters of a script without spaces, in small letters."""
    found, word = list[str](), ""
    for character in [*text, " "]:
        alone = any(first <= ord(character) <= last for first, last in UNSPACED)
        if unicodedata.category(character)[0] not in "LMN" or alone:
            found += [word] if word else []
            word = ""
            if alone and unicodedata.category(character)[0] in "LMN":
                found.append(character.casefold())
        else:
            word += character.casefold() if len(character.casefold()) == 1 else character
    return found


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def token_hash(token: str) -> int:
    codes = [int(letters()[ord(character)]) for character in token]
    return mixed(sum(code * pow(BASE, place, 2**64) for place, code in enumerate(codes)) % 2**64)


def hashes_by_hand(text: str, width: int) -> list[int]:
    words = [token_hash(token) for token in by_hand(text)]
    odd = [int(factor) for factor in factors(width)]
    starts = range(max(len(words) - width + 1, min(len(words), 1)))
    return [mixed(sum(w * f for w, f in zip(words[s : s + width], odd, strict=False)) % 2**64) for s in starts]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_tokens_are_those_of_a_loop(texts: list[str]) -> None:
    hashes, ends = tokens(texts)
    wanted = [by_hand(text) for text in texts]
    assert np.diff(ends, prepend=0).tolist() == [len(words) for words in wanted]
    flat = [word for words in wanted for word in words]
    assert len(set(zip(flat, hashes.tolist(), strict=True))) == len(set(flat)) == len(set(hashes.tolist()))


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


def test_a_long_text_is_hashed_in_pieces_that_leave_no_trace() -> None:
    assert len(set(tokens(["word " * 40_000])[0].tolist())) == 1
    assert len(set(tokens(["字" * 200_000])[0].tolist())) == 1
    hashes, ends = tokens(["a" * (3 * module.PIECE), "word"])  # a token longer than a piece
    assert ends.tolist() == [1, 2]
    assert hashes[1] == tokens(["word"])[0][0]


def test_a_very_long_text_goes_in_parts_that_cut_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Some words of seven letters and 一些汉字 in a row. " * 40, "", "short one", "word " * 300]
    wanted = [part.tolist() for part in tokens(texts)]
    monkeypatch.setattr(module, "LONG", 100)
    assert [part.tolist() for part in tokens(texts)] == wanted
    monkeypatch.setattr(module, "REACH", 0)
    assert len(tokens(["字" * 1000])[0]) == 1000
    assert len(tokens(["a" * 1000])[0]) == 10  # nowhere to cut a word of that length


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
