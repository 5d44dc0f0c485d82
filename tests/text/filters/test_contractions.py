"""The table of exceptions has the size and the oddities of spaCy's."""

from danlu.text.filters.contractions import LONGEST, exceptions


def test_as_many_as_spacy_has() -> None:
    """spaCy 3.8.18 has 1,347 special cases for English; four of them are white space, which never is in a piece."""
    assert len(exceptions()) == 1343


def test_joined_words_are_the_piece() -> None:
    assert all("".join(words) == piece for piece, words in exceptions().items())
    assert max(map(len, exceptions())) == LONGEST


def test_examples() -> None:
    known = exceptions()
    assert known["don't"] == ("do", "n't")
    assert known["don’t"] == ("do", "n’t")
    assert known["wed"] == ("we", "d")  # read as "we'd": spaCy's choice, and so part of its counts
    assert known["Couldn't've"] == ("Could", "n't", "'ve")
    assert "its" not in known
    assert "were" not in known
