"""The small parts of the loop: the schedule, the guard, the loss scaler."""

import math
import statistics

import pytest

from danlu.base.errors import UserError
from danlu.train.guard import Guard
from danlu.train.precision import LossScaler
from danlu.train.schedule import share, share_by_clock
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


def test_linear() -> None:
    settings = ScheduleSettings(name="linear", warmup=0.1, floor=0.2)
    curve = [share(settings, step, 100) for step in range(101)]
    assert curve[:10] == [pytest.approx((step + 1) / 11) for step in range(10)]
    assert curve[10] == 1.0
    assert curve[55] == pytest.approx(0.2 + 0.8 * 0.5)
    assert curve[100] == pytest.approx(0.2)


def test_inverse_square_root() -> None:
    """Vaswani et al. 2017, equation 3: step^-½ against the warm-up's, here 1 at the end of it."""
    settings = ScheduleSettings(name="inverse_sqrt", warmup=0.1, floor=0.4)
    curve = [share(settings, step, 100) for step in range(100)]
    assert curve[10] == 1.0
    assert curve[40] == pytest.approx(0.5)
    assert curve[90] == 0.4  # (10/90)^½ is a third, and below the floor
    with pytest.raises(UserError, match="falls from where the warm-up ends"):
        ScheduleSettings(name="inverse_sqrt", warmup=0.0)


def test_constant() -> None:
    settings = ScheduleSettings(name="constant", warmup=0.1)
    assert [share(settings, step, 100) for step in (9, 10, 50, 99)] == [pytest.approx(10 / 11), 1.0, 1.0, 1.0]
    with pytest.raises(UserError, match=r"schedule\.floor: constant never falls"):
        ScheduleSettings(name="constant", floor=0.1)


def test_decay_is_read_by_stable_alone() -> None:
    """Other schedules may stand beside any decay: a stage's default has one."""
    for name in ("cosine", "linear", "inverse_sqrt", "constant"):
        one, other = (ScheduleSettings(name=name, decay=decay) for decay in (0.0, 0.95))  # type: ignore[arg-type]
        assert [share(one, step, 50) for step in range(50)] == [share(other, step, 50) for step in range(50)]
    assert share(ScheduleSettings(decay=0.9), 30, 50) < share(ScheduleSettings(decay=0.1), 30, 50)


@pytest.mark.parametrize("name", ["cosine", "stable", "linear"])
def test_by_the_clock_the_floor_comes_at_the_end(name: str) -> None:
    settings = ScheduleSettings(name=name, warmup=0.1, decay=0.5, floor=0.25)  # type: ignore[arg-type]
    assert share_by_clock(settings, 60.0, 60.0) == pytest.approx(0.25, abs=1e-5)
    assert share_by_clock(settings, 61.0, 60.0) == share_by_clock(settings, 60.0, 60.0)
    assert share_by_clock(settings, 3.0, 60.0) == pytest.approx(0.5, abs=1e-5)
    assert share_by_clock(settings, 6.0, 60.0) == pytest.approx(1.0, abs=1e-5)
    steps = [share(settings, step, 6000) for step in range(6000)]
    clock = [share_by_clock(settings, step / 100, 60.0) for step in range(6000)]
    assert max(abs(a - b) for a, b in zip(steps, clock, strict=True)) < 2e-3  # the same curve


@pytest.mark.parametrize("values", [{"warmup": -0.1}, {"warmup": 0.7, "decay": 0.7}, {"floor": 2.0}])
def test_shares_are_shares(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match="share"):
        ScheduleSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": 1, "micro_batches": 0},
        {"steps": 1, "evaluate_every": -1},
        {"steps": 1, "seconds": 1},
        {"steps": 0, "seconds": -1},
    ],
)
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


def test_a_hard_batch_among_easy_ones_is_no_spike() -> None:
    """Losses of few labels near the end of a run: most are small, and one hard text is what there is to learn."""
    guard, easy = Guard(GuardSettings(window=16, start=8)), (0.004, 0.02, 0.009, 0.05)
    for step in range(12):
        assert guard.verdict(easy[step % 4], 10 * easy[step % 4]) is None
    assert statistics.fmean(guard.losses) + 6 * statistics.stdev(guard.losses) < 0.4
    assert guard.verdict(0.4, 4.0) is None
    assert "loss 90 is above" in (guard.verdict(90.0, 4.0) or "")
    for value in (-0.004, 0.02, -0.009, 0.05) * 4:  # what falls below 0 has no logarithm
        assert guard.verdict(value, 1.0) is None
    assert "loss 0.4 is above" in (guard.verdict(0.4, 1.0) or "")


def test_before_the_start_only_what_is_not_a_number_is_skipped() -> None:
    guard = Guard(GuardSettings(window=16, start=8))
    assert guard.verdict(3.0, 1.0) is None
    assert guard.verdict(300.0, 1.0) is None
    assert guard.verdict(math.inf, 1.0) == "loss is inf"
    assert guard.verdict(3.0, math.nan) == "gradient norm is nan"
    assert not any(math.isnan(value) or math.isinf(value) for value in [*guard.losses, *guard.norms])


def test_the_norm_can_be_left_to_itself() -> None:
    guard = Guard(GuardSettings(window=16, start=8, norm=False))
    for step in range(10):
        assert guard.verdict(3.0 + 0.1 * (step % 3), 1.0 + 0.1 * (step % 2)) is None
    assert guard.verdict(3.0, 40.0) is None
    assert guard.verdict(9.0, None) is not None
    assert guard.verdict(3.0, math.inf) == "gradient norm is inf"


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
