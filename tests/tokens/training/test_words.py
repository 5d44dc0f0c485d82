"""The words found in bulk are those that `tokenizers` finds by the law."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from danlu.base.errors import UserError
from danlu.tokens.training.words import Words, cut, kinds, pattern

# Chinese that is a letter, a number, a symbol; contractions and what folds to them; every kind of space and mark.
TELLING = "中文〇々⺀〡ab sSſdDlLvVeEt'’１2²½ \t\n\r\u3000\u00a0!?。，̈กิ\U00020000\U0001f600\x00\ufffd\u2028\x1c|İßﬅﬆŉ"
TEXTS = st.lists(st.text(max_size=10) | st.text(TELLING, max_size=14), max_size=4)


def words(found: Words) -> list[str]:
    text = found.points.tobytes().decode("utf-32-le")
    return [text[begin : begin + size] for begin, size in zip(found.starts.tolist(), found.sizes.tolist())]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, digits=st.integers(1, 3))
def test_words_are_those_of_the_law(texts: list[str], digits: int) -> None:
    law = pre_tokenizers.Split(tokenizers.Regex(pattern(digits)), behavior="isolated")
    assert words(cut(texts, digits)) == [word for text in texts for word, _ in law.pre_tokenize_str(text)]


def test_every_character_has_the_kind_that_the_engine_sees() -> None:
    """One character of each kind, and none that the law would take otherwise beside another."""
    assert [chr(k) for k in kinds()[list(map(ord, "中〇⺀éK8\r\n \t'\x00\ufffd。ſ"))]] == list("HhqLLNRRSW'CCPs")


def test_odd_characters_are_counted() -> None:
    assert cut(["a\x00b\ufffd", "\x7f中"]).odd == 3


def test_half_a_character_is_one_sentence() -> None:
    with pytest.raises(UserError, match="half a character"):
        cut(["a\ud800"])
