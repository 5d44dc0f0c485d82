"""Counts that stay bounded keep their promises, and halves add up to the whole."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.sketch import Lengths, Sample, Tally, printable

KEYS = st.lists(st.integers(0, 60).map(lambda n: f"k{int(n**0.5 * 4)}"), max_size=200)


@settings(max_examples=100, deadline=None)
@given(keys=KEYS, cut=st.integers(0, 200), capacity=st.integers(1, 40))
def test_a_count_is_never_too_high_and_too_low_by_the_error_at_most(keys: list[str], cut: int, capacity: int) -> None:
    one, two = Tally(capacity), Tally(capacity)
    for key in keys[:cut]:
        one.add(key, 10)
    two.add_all((key, 10) for key in keys[cut:])
    one.merge(two)
    exact = Counter(keys)
    assert len(one.counts) <= 2 * capacity
    assert one.error <= len(keys) / capacity
    for key, number in exact.items():
        counted = one.counts.get(key, [0, 0])[0]
        assert number - one.error <= counted <= number
    if len(exact) <= capacity:
        assert one.to_dict() == {"counts": {k: [n, 10 * n] for k, n in _ranked(exact)}, "error": 0}
    assert Tally.from_dict(one.to_dict(), capacity).to_dict() == one.to_dict()


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def test_the_error_stays_bounded_when_the_commonest_never_change() -> None:
    """What survives pays as well: or else two great counts would let the error grow by every newcomer's."""
    tally, added = Tally(2), 0
    for key, times in [("a", 1000), ("b", 1000)] + [
        (f"{k}{n}", t) for n in range(300) for k, t in zip("cde", (10, 1, 1))
    ]:
        for _ in range(times):
            tally.add(key, 1)
        added += times
    assert tally.error <= added / 2
    assert 1000 - tally.error <= tally.counts.get("a", [0])[0] <= 1000


def test_keys_of_any_kind_and_length() -> None:
    tally = Tally()
    for key in (None, 7, "x" * 999, "x" * 998, "\ud800"):
        tally.add(key, 1)
    assert tally.to_dict()["counts"] == {"x" * 200: [2, 2], "7": [1, 1], "?": [1, 1], "None": [1, 1]}


def test_lengths_are_counted_in_bins_that_double() -> None:
    lengths, other = Lengths(), Lengths()
    lengths.add_all((0, 1, 2, 3, 4, 1023))
    lengths.add_all([1024])
    lengths.add_all([])
    other.add_all([5_000])
    assert lengths.bins == [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 1]
    lengths.merge(other)
    other.merge(lengths)
    assert lengths.bins == [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1]
    assert other.bins[13] == 2


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40),
    parts=st.integers(1, 5),
    size=st.integers(0, 7),
)
def test_a_sample_is_the_lowest_whoever_draws(numbers: list[int], parts: int, size: int) -> None:
    samples = [Sample(size) for _ in range(parts)]
    for place, number in enumerate(numbers):
        samples[place % parts].offer(number, f"d{number}", lambda number=number: {"text": str(number)})  # type: ignore[misc]
    together = Sample(size)
    for sample in reversed(samples):
        together.merge(sample)
    assert [item[0] for item in together.items] == sorted(numbers)[:size]
    assert all(shown == {"text": str(number)} for number, _, shown in together.items)


def test_what_is_not_taken_is_not_made() -> None:
    sample = Sample(1)
    assert sample.wants(9)
    sample.offer(1, "a", dict)
    assert [sample.wants(number) for number in (0, 1, 2)] == [True, True, False]
    assert not Sample(0).wants(0)
    sample.offer(2, "b", lambda: pytest.fail("made for nothing"))
    assert len(sample.items) == 1


def test_every_document_is_as_likely_to_be_drawn() -> None:
    """Of 50 documents each is among 5 drawn a tenth of the time, over 400 draws by other hashes."""
    chances, drawn = np.random.default_rng(0), Counter[int]()
    for _ in range(400):
        sample = Sample(5)
        for document, number in enumerate(chances.integers(0, 2**62, 50).tolist()):
            sample.offer(number, str(document), dict)
        drawn.update(int(name) for _, name, _ in sample.items)
    assert min(drawn.values()) > 15
    assert max(drawn.values()) < 70


def test_text_is_cut_and_fit_to_be_written() -> None:
    assert printable("天地玄黄", 2) == "天地"
    assert printable("a\ud800b", 9) == "a?b"
