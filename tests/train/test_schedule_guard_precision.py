"""The small parts of the loop: the schedule, the guard, the loss scaler."""

import math

import pytest

from danlu.base.errors import UserError
from danlu.train.guard import Guard
from danlu.train.precision import LossScaler
from danlu.train.schedule import share
from danlu.train.settings import GuardSettings, ScheduleSettings, TrainSettings


def test_cosine() -> None:
    settings = ScheduleSettings(name="cosine", warmup=0.1, decay=0.0, floor=0.1)
    curve = [share(settings, step, 100) for step in range(100)]
    assert curve[0] == pytest.approx(1 / 11)
    assert curve[10] == 1.0
    assert curve[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert curve == sorted(curve[:11]) + sorted(curve[11:], reverse=True)
    assert 0.1 < curve[-1] < 0.11


def test_stable_then_down() -> None:
    settings = ScheduleSettings(name="stable", warmup=0.1, decay=0.2)
    curve = [share(settings, step, 100) for step in range(100)]
    assert curve[10:79] == [1.0] * 69
    assert curve[90] == pytest.approx(10 / 21)
    assert curve[-1] == pytest.approx(1 / 21)
    assert share(ScheduleSettings(warmup=0.0, decay=0.0), 99, 100) == 1.0


@pytest.mark.parametrize("values", [{"warmup": -0.1}, {"warmup": 0.7, "decay": 0.7}, {"floor": 2.0}])
def test_shares_are_shares(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match="share"):
        ScheduleSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{"steps": 0}, {"steps": 1, "micro_batches": 0}, {"steps": 1, "evaluate_every": -1}])
def test_counts_are_counts(values: dict[str, int]) -> None:
    with pytest.raises(UserError, match="must"):
        TrainSettings(**values)  # type: ignore[arg-type]


def test_a_spike_is_told_from_noise() -> None:
    guard = Guard(GuardSettings(window=16, start=8))
    for step in range(10):
        assert guard.verdict(3.0 + 0.1 * (step % 3), 1.0 + 0.1 * (step % 2)) is None
    assert "loss 9 is above" in (guard.verdict(9.0, 1.0) or "")
    assert "gradient norm 40 is above" in (guard.verdict(3.0, 40.0) or "")
    assert guard.skipped_in_a_row == 2
    assert guard.verdict(3.1, 1.1) is None
    assert guard.skipped_in_a_row == 0


def test_before_the_start_only_what_is_not_a_number_is_skipped() -> None:
    guard = Guard(GuardSettings(window=16, start=8))
    assert guard.verdict(3.0, 1.0) is None
    assert guard.verdict(300.0, 1.0) is None
    assert guard.verdict(math.inf, 1.0) == "loss is inf"
    assert guard.verdict(3.0, math.nan) == "gradient norm is nan"
    assert not any(math.isnan(value) or math.isinf(value) for value in [*guard.losses, *guard.norms])


def test_the_window_survives_a_stop() -> None:
    one, two = Guard(GuardSettings(window=4, start=2)), Guard(GuardSettings(window=4, start=2))
    for loss in (1.0, 1.1, 1.2, math.nan):
        one.verdict(loss, 1.0)
    two.load_state_dict(one.state_dict())
    assert two.state_dict() == one.state_dict()
    assert one.verdict(5.0, 1.0) == two.verdict(5.0, 1.0)


def test_the_scaler_learns() -> None:
    scaler = LossScaler.of("fp16")
    before = scaler.scale
    scaler.update(False)
    assert scaler.scale == before / 2
    for _ in range(scaler.patience):
        scaler.update(True)
    assert scaler.scale == before
    other = LossScaler()
    other.load_state_dict(scaler.state_dict())
    assert other == scaler
    still = LossScaler.of("bf16")
    still.update(False)
    assert still.scale == 1.0
