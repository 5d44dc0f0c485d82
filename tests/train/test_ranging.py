"""The range test: a rate that rises by one factor, an end at the blow-up, and what is read off the curve."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.train.hooks.metrics import JsonLines
from danlu.train.ranging import Rising, smoothed, suggest
from danlu.train.schedule import share
from danlu.train.settings import GuardSettings, OptimizerSettings, ScheduleSettings, TrainSettings
from tests.train.conftest import loop


def test_the_rate_rises_by_the_same_factor() -> None:
    settings = ScheduleSettings(name="rising", floor=1e-4)
    shares = [share(settings, step, 41) for step in range(41)]
    assert shares[0] == pytest.approx(1e-4)
    assert shares[-1] == 1.0
    factors = [b / a for a, b in pairwise(shares)]
    assert factors == pytest.approx([10 ** (4 / 40)] * 40)
    for wrong in ({"floor": 0.0}, {"floor": 0.1, "warmup": 0.1}):
        with pytest.raises(UserError, match="rising is a warm-up of its own"):
            ScheduleSettings(name="rising", **wrong)


def test_a_smoothed_loss_is_not_drawn_to_zero() -> None:
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    assert smoothed([3.0, 1.0])[1] == pytest.approx((0.9 * 3 + 1) / 1.9)


def test_it_is_read_off_a_known_curve() -> None:
    """Falls by a logistic curve in the logarithm, fastest at 1e-3, and rises from 3e-2 on."""
    rates = [10 ** (-6 + 5 * i / 199) for i in range(200)]
    losses = [3 - 1 / (1 + (1e-3 / rate) ** 2) + 50 * max(rate - 3e-2, 0.0) for rate in rates]
    found = suggest(rates, losses)
    assert found is not None
    assert 8e-4 < found.steepest < 2e-3  # the smoothed curve is some ten steps, 1.8 times, behind
    assert 2e-2 < found.lowest < 6e-2
    assert found.rate == float(f"{found.steepest:.2g}")
    assert suggest(rates, [1 + rate for rate in rates]) is None
    assert suggest([], []) is None


def test_a_run_ends_when_the_loss_has_blown_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    lines = JsonLines(folder / "lines.jsonl")
    rising = Rising(lines)
    settings = TrainSettings(
        steps=120,
        optimizer=OptimizerSettings(lr=30.0),
        schedule=ScheduleSettings(name="rising", floor=1e-7),
        guard=GuardSettings(sigmas=1e9),
    )
    totals = loop(folder / "checkpoints", settings, hooks=[rising]).run()
    assert totals.step < 120
    assert rising.blown is not None
    assert "the loss has blown up at a learning rate of" in capsys.readouterr().err
    found = suggest(rising.rates, rising.losses, rising.blown)
    assert found is not None
    assert 1e-4 < found.rate < 3e-2  # `tests/train/test_loop.py` learns with 1e-2
    assert found.rate < rising.blown / 5
    rows = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert [row["lr"] for row in rows] == rising.rates
    assert all(math.isfinite(row["smoothed"]) for row in rows)
