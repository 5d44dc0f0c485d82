"""Bounds, hashes and sorting count what the definitions, written out plainly below, count."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.filters import ngrams
from danlu.text.filters.english import cut
from danlu.text.filters.ngrams import Copies, Runs, top_share
from danlu.text.filters.words import Words
from tests.text.filters.texts import TEXTS

repetitive = st.lists(
    st.sampled_from(["a", "b", "ab", "c", "the end", "12", "1 2", "Mr. X", "中文", "x" * 30]), max_size=90
)


def plain_top(words: list[str], n: int) -> int:
    """Characters of the most frequent run, spaces included, each time it occurs; of several the first."""
    runs = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not runs:
        return 0
    run, times = Counter(runs).most_common(1)[0]
    return len(run) * times


def plain_copies(words: list[str], n: int) -> int:
    """Characters of runs that were remembered; a run that is not is remembered, one that is, is stepped over."""
    seen: set[str] = set()
    found = at = 0
    while at + n <= len(words):
        run = "".join(words[at : at + n])
        if run in seen:
            found += len(run)
            at += n
        else:
            seen.add(run)
            at += 1
    return found


def check(text: str) -> None:
    words = [word for piece in text.split() for word in cut(piece)]
    runs, size = Runs(Words(text, "english")), max(len(text), 1)
    frequency = len(words)
    for n in (2, 3, 4):
        want = plain_top(words, n) / size
        assert top_share(runs, n, 0.0, size, frequency)[0] == want
        for most in (0.05, 0.2, 0.5):
            share, _ = top_share(runs, n, most, size, frequency)
            assert (share > most) == (want > most)
    copies = Copies(runs, size)
    for n in (1, 2, 5, 10):
        want = plain_copies(words, n) / size
        assert copies.share(n, 1.0) == want
        for most in (0.0, 0.1, 0.3):
            assert (copies.share(n, most) > most) == (want > most)
            assert not (copies.bound(n, most) and want > most)


@settings(max_examples=150, deadline=None)
@given(repetitive.map(" ".join))
def test_as_the_definitions_say(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "name", ["five words", "ten words", "lines again", "contractions", "table", "mandarin", "empty"]
)
def test_on_written_texts(name: str) -> None:
    check(TEXTS[name])


def test_the_bound_spares_most_texts_the_count() -> None:
    """Prose without copies is settled by sorting once; a text with many is not."""
    for name, settled in (("prose", True), ("lines", True), ("one line", True), ("five words", False)):
        text = TEXTS[name]
        assert Copies(Runs(Words(text, "english")), len(text)).bound(5, 0.10) == settled


def places_of_copies(words: list[str], n: int) -> set[int]:
    first: dict[str, int] = {}
    runs = ["".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    return {i for i, run in enumerate(runs) if first.setdefault(run, i) != i}


@pytest.mark.parametrize("name", ["five words", "ten words", "paragraphs again", "source code"])
def test_longer_copies_lie_inside_shorter_ones(name: str) -> None:
    """What lets one bound settle six tests."""
    words = [word for piece in TEXTS[name].split() for word in cut(piece)]
    assert places_of_copies(words, 10) <= places_of_copies(words, 6) <= places_of_copies(words, 5)


def test_windows_written_without_spaces_are_compared_as_datatrove_compares_them() -> None:
    """``1 23`` and ``12 3`` are the same run to datatrove, which joins the words."""
    runs = Runs(Words("1 23 x 12 3 x 1 24", "english"))
    hashes = runs.joined(2).tolist()
    assert hashes[0] == hashes[3]
    assert hashes[0] != hashes[6]
    spaced = runs.spaced(2).tolist()
    assert spaced[0] != spaced[3]


def test_texts_longer_than_the_table_of_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXTS["ten words"]
    want = Copies(Runs(Words(text, "english")), len(text)).share(10, 1.0)
    monkeypatch.setattr(ngrams, "TABLE", 100)
    ngrams._table.cache_clear()
    assert Copies(Runs(Words(text, "english")), len(text)).share(10, 1.0) == want
    ngrams._table.cache_clear()
