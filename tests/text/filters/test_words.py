"""The shared count of words is what cutting every piece and counting would give."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import MissingExtra
from danlu.text.filters import words as module
from danlu.text.filters.english import cut
from danlu.text.filters.marks import PUNCTUATION
from danlu.text.filters.words import Words, lines, repeated, words
from tests.text.filters.judged import needs_jieba
from tests.text.filters.texts import MANDARIN, PROSE, TEXTS

mixed = st.lists(
    st.one_of(
        st.text(max_size=8), st.sampled_from(["don't", "(e.g.,", "12.5%", "……", "中文，", "\x00", "½", "x²", "!?"])
    ),
    max_size=30,
).map(" ".join)


def check(text: str) -> None:
    every = [word for piece in text.split() for word in cut(piece)]
    solid = [word for word in every if any(character not in PUNCTUATION for character in word)]
    found = Words(text, "english")
    assert found.count == len(every)
    assert found.solid == len(solid)
    assert found.solid_characters == sum(map(len, solid))
    assert found.lettered == sum(any(map(str.isalpha, word)) for word in every)
    assert found.lengths.tolist() == list(map(len, every))
    for wanted in ({"the", "of", "and"}, {"n't", "do", "("}, {"id", "i", "d"}, {"½"}):
        assert found.distinct(frozenset(wanted), 99) == len(wanted & set(every))


@settings(max_examples=300, deadline=None)
@given(mixed)
def test_counts_are_those_of_the_words(text: str) -> None:
    check(text)


@pytest.mark.parametrize("name", TEXTS)
def test_counts_on_written_texts(name: str) -> None:
    check(TEXTS[name])


def test_a_vocabulary_that_is_full_starts_anew_and_old_texts_keep_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 50)
    monkeypatch.setattr(module, "REMEMBERED", 6)
    module._vocabulary.cache_clear()
    first = Words(PROSE, "english")
    second = Words(TEXTS["contractions"], "english")
    assert first.lengths.tolist() == [len(word) for piece in PROSE.split() for word in cut(piece)]
    assert second.count == len(second.lengths)
    assert len(module._vocabulary(True)) < 200
    check(TEXTS["source code"])
    module._vocabulary.cache_clear()


def test_the_same_text_is_counted_once() -> None:
    words.cache_clear()
    assert words(PROSE) is words(PROSE)
    assert words(PROSE, "chinese") is not words(PROSE)
    assert lines(PROSE) is lines(PROSE)


def test_chinese_without_a_library() -> None:
    found = Words("他在2024年的北京，看了iPhone 15.5%。", "chinese")
    assert found.pieces == ["他", "在", "2024", "年", "的", "北京", "，", "看", "了", "iPhone", "15.5%", "。"]
    assert found.count == 12
    assert found.solid == 10
    assert found.lengths.dtype == np.int64
    assert found.distinct(frozenset("的在是"), 3) == 2


@needs_jieba
def test_chinese_with_jieba() -> None:
    found = Words(MANDARIN, "jieba")
    assert found.pieces == [word for word in module._jieba().cut(MANDARIN) if word.strip()]
    assert found.count == len(found.pieces)


def test_without_jieba_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    module._jieba.cache_clear()
    with pytest.raises(MissingExtra, match=r"danlu\[chinese\]"):
        Words("中文", "jieba")
    module._jieba.cache_clear()


def test_white_space_is_pythons() -> None:
    """What `str.split` splits at is what spaCy calls a space; zero-width spaces are letters to both."""
    assert Words("a\u3000b\x1cc\x85d\u200be", "english").pieces == ["a", "b", "c", "d\u200be"]


def test_repeated() -> None:
    assert repeated(["a", "bb", "a", "bb", "bb"]) == (5, 3, 5)
    assert repeated([]) == (0, 0, 0)
    assert repeated(iter(["x", "y"])) == (2, 0, 0)
