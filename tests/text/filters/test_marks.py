"""The three sets of marks have the members that their sources have."""

from danlu.text.filters.marks import PUNCTUATION, SENTENCE_ENDS, TERMINAL


def test_sizes() -> None:
    """Counted in datatrove 0.10.1 (TERMINAL_PUNCTUATION, PUNCTUATION_SET) and spaCy 3.8.18 (default_punct_chars)."""
    assert (len(TERMINAL), len(PUNCTUATION), len(SENTENCE_ENDS)) == (159, 281, 128)


def test_members() -> None:
    assert set(".?!。？！｡।؟") <= TERMINAL
    assert not set(",;:…\"'”）)") & TERMINAL
    assert SENTENCE_ENDS < TERMINAL < PUNCTUATION
    assert set(",;:…\"'”）)#$%\x00\x1f\x7f\x9f") <= PUNCTUATION
    assert not set("a1中\n\t \xa0•·→") & PUNCTUATION
