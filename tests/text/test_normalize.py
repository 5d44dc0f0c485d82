"""One spelling for each text, reached in one application."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.document import Document, Dropped
from danlu.text.normalize import INVISIBLE, clean, normalize

# Ordinary letters with the characters that this step is about mixed in often.
awkward = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(" \t\n\r\x0b\x0c\x85\u2028\u00ad\u200b\u200d\ufeff\u0301\u3000\x00\ud800e·中"),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(awkward)
def test_twice_is_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@settings(max_examples=300, deadline=None)
@given(awkward)
def test_what_it_promises(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not INVISIBLE.search(cleaned)
    assert "\n\n\n\n" not in cleaned
    assert all(line == line.rstrip() for line in cleaned.split("\n"))
    cleaned.encode("utf-8")  # no half surrogate is left


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),  # the mark meets its letter only after the removal
        ("x²，ｆｕｌｌ", "x²，ｆｕｌｌ"),  # NFKC would change all of it
        ("if x:\n    y  =  1   \n", "if x:\n    y  =  1"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("\ufeffco\u00adop\x00", "coop"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_examples(given_text: str, expected: str) -> None:
    assert clean(given_text) == expected


def test_as_a_step() -> None:
    same = Document("already clean", "a:1", "a")
    assert normalize(same) is same
    assert normalize(Document(" \n\u200b\t", "a:2", "a")) == Dropped("empty")
    changed = normalize(Document("x \r\n", "a:3", "a", {"k": 1}))
    assert changed == Document("x", "a:3", "a", {"k": 1})
