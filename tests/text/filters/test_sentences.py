"""Sentences end where spaCy's sentencizer ends them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.filters.sentences import count, sentences
from tests.text.filters.texts import PROSE, SENTENCES

# How many sentences datatrove 0.10.1 (split_into_sentences, spaCy 3.8.18) found in texts written to be awkward.
GOLDEN = {
    "": 1,
    "One.": 1,
    "One. Two.": 2,
    "One.  Two.": 2,
    "Mr. Hall came. He left.": 2,
    "Is it? Yes! Good...  Fine.": 3,
    'He said "no." She left.': 2,
    "3.14 is pi. e.g. that.": 2,
    "a.b c.D x! ) y": 2,
    " One. ": 1,
    "One. (Two.) Three": 3,
    "?! ?! x": 2,
    "one\ttwo. \tthree": 2,
    "中文。世界。吗？": 1,
    "U.S. is big. A. B. c.": 2,
    "Wait... what? no": 2,
}
awkward = st.lists(
    st.sampled_from(["One", "e.g.", ".", "!", "?", '"', ")", " ", "  ", "\t", "3.14", "。", "x.Y"]), max_size=25
)


@pytest.mark.parametrize("text", GOLDEN)
def test_as_many_as_datatrove_finds(text: str) -> None:
    assert count(text, 99) == len(sentences(text)) == GOLDEN[text]


def test_prose() -> None:
    assert [sentence.strip() for sentence in sentences(" ".join(SENTENCES))] == list(SENTENCES)
    assert count(PROSE, 99) == 30


def test_counting_stops() -> None:
    assert count(" ".join(SENTENCES), 5) == 5


@settings(max_examples=300, deadline=None)
@given(st.one_of(awkward.map("".join), st.text(max_size=40)))
def test_sentences_joined_are_the_text(text: str) -> None:
    found = sentences(text)
    assert "".join(found) == text
    assert count(text, 99) == len(found)
