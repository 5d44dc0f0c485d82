import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.training.alphabet import SPACES, alphabet, check_size, cut_out

TEXTS = st.lists(st.text("aab一一二 \n\u3000\U0001f702"), min_size=1)


@given(TEXTS, st.floats(0.01, 1))
def test_the_commonest_characters_that_reach_the_coverage(texts: list[str], coverage: float) -> None:
    """By definition: kept in the order of frequency, enough of them, and one fewer would not do."""
    counts = Counter("".join(texts))
    counted = {c: n for c, n in counts.items() if c not in SPACES}
    if not counted:
        with pytest.raises(UserError, match="no text"):
            alphabet(texts, coverage)
        return
    kept, spaces = alphabet(texts, coverage)
    assert kept == sorted(kept)
    assert spaces == [c for c in SPACES if c in counts]
    total, least = sum(counted.values()), min(counted[c] for c in kept)
    assert all(n <= least for c, n in counted.items() if c not in kept)
    reached = sum(counted[c] for c in kept)
    assert reached >= coverage * total - 1e-4
    assert reached - least < coverage * total


@given(TEXTS)
def test_what_is_not_kept_becomes_a_line_feed(texts: list[str]) -> None:
    assert list(cut_out(texts, ["a", "一"])) == [re.sub(r"[^a一 \n\u3000]", "\n", text) for text in texts]


def test_what_the_trainers_need_for_themselves_is_not_kept() -> None:
    assert alphabet(["abcdefghijkl\x00", "mnopqrstuvw\ufdd0"], 1)[0] == list("abcdefghijklmnopqrstuvw")


def test_a_binary_corpus_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"the corpus looks binary: 50% of its characters are control characters"):
        alphabet(["ab\x01\ufffd"], 1)


def test_half_a_character_becomes_the_mark_of_what_cannot_be_read() -> None:
    assert alphabet(["a" * 20 + "\ud800"], 1)[0] == ["a", "\ufffd"]
    assert list(cut_out(["a\ud800"], ["a", "\ufffd"])) == ["a\ud800"]
    assert list(cut_out(["a\ud800b"], ["a", "\ufffd"])) == ["a\ufffd\n"]


def test_a_vocabulary_below_its_alphabet_is_one_sentence() -> None:
    check_size(10, 10, 4, 1.0, "x")
    with pytest.raises(UserError, match=r"vocab_size 9 is smaller than the alphabet: 4 characters make up 99.95%"):
        check_size(9, 10, 4, 0.9995, "x")
