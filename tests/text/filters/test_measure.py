"""Measures of a classifier: against counting, against published intervals, and by what an interval promises."""

import itertools

import numpy as np
import pytest

from danlu.text.filters import measure


def test_auc_counts_pairs() -> None:
    draw = np.random.default_rng(0)
    scores, good = np.round(draw.normal(size=60), 1), draw.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(scores[good], scores[~good])]
    assert measure.auc(scores, good) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert measure.auc(np.arange(4.0), np.array([False, False, True, True])) == 1


def test_auc_interval_covers_the_truth() -> None:
    """Of 95 % intervals on 400 draws of 30 + 40 normal scores, 93 to 98 % must hold the true area."""
    draw, inside, truth = np.random.default_rng(1), 0, 0.9213503964748575  # Phi(2 / sqrt 2)
    good = np.arange(70) < 30
    for _ in range(400):
        area = measure.auc(draw.normal(size=70) + 2 * good, good)
        low, high = measure.auc_interval(area, 30, 40)
        assert 0 <= low <= area <= high <= 1
        inside += low <= truth <= high
    assert 0.93 <= inside / 400 <= 0.98


def test_auc_interval_stays_honest_at_one() -> None:
    low, high = measure.auc_interval(1.0, 20, 20)
    assert 0.8 < low < 0.95
    assert high == pytest.approx(1)


def test_f1_and_its_interval() -> None:
    called = np.array([True] * 8 + [False] * 4 + [True] * 2 + [False] * 6)
    good = np.array([True] * 12 + [False] * 8)
    assert measure.f1(called, good) == pytest.approx(2 * 8 / (2 * 8 + 2 + 4))
    low, high = measure.f1_interval(called, good)
    assert low < measure.f1(called, good) < high
    assert (low, high) == measure.f1_interval(called, good)
    narrow = measure.f1_interval(np.tile(called, 100), np.tile(good, 100))
    assert narrow[1] - narrow[0] < (high - low) / 5
    assert measure.f1(np.zeros(3, bool), np.zeros(3, bool)) == 0
    low, high = measure.f1_interval(good, good)
    assert 0.8 < low < 0.97  # twenty right calls are no proof
    assert high == 1


def test_f1_interval_covers_the_truth() -> None:
    draw, inside = np.random.default_rng(3), 0
    for _ in range(300):
        good = draw.random(120) < 0.5
        called = good ^ (draw.random(120) < 0.1)  # precision and recall are 0.9, so F1 is
        low, high = measure.f1_interval(called, good)
        inside += low <= 0.9 <= high
    assert 0.92 <= inside / 300 <= 0.985


def test_platt_finds_the_logistic_that_made_the_labels() -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(size=40_000)
    good = draw.random(40_000) < 1 / (1 + np.exp(-(3 * logits - 1)))
    slope, offset = measure.platt(logits, good)
    # Both kinds weigh the same here, which moves the offset by the log-odds of the bad.
    odds = np.log((1 - good.mean()) / good.mean())
    assert slope == pytest.approx(3, rel=0.05)
    assert offset == pytest.approx(-1 + odds, abs=0.1)
    chances = measure.sigmoid(slope * logits + offset)
    assert measure.calibration_error(chances, good) < 0.02
    assert measure.calibration_error(1 - chances, good) > 0.3


@pytest.mark.parametrize(
    "logits", [np.zeros(6), np.array([1e9, -1e9, 0, 0, 1, 2.0]), np.array([3.0, 3, 3, -3, -3, -3])]
)
def test_platt_is_finite_whatever_it_gets(logits: np.ndarray) -> None:
    good = np.array([True, True, True, False, False, False])
    assert np.isfinite(measure.platt(logits, good)).all()


def test_sigmoid_does_not_overflow() -> None:
    assert measure.sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0, 0.5, 1]
