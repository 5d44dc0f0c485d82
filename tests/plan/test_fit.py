"""The fit finds a planted law exactly, bears a run that went wrong, and its intervals hold what they say."""

import numpy as np
import pytest

from danlu.plan.fit import Array, fit, predict

SIZES = np.array([1.4e6, 2.9e6, 5.3e6, 8.9e6])
COMPUTE = 6 * SIZES * 20 * SIZES


def planted(compute: Array) -> Array:
    return np.asarray(1.7 + 60 * compute**-0.12)


def test_a_planted_law_of_compute_is_found() -> None:
    found = fit(COMPUTE[:, None], planted(COMPUTE))
    assert found.floor == pytest.approx(1.7, rel=1e-6)
    assert found.scales == pytest.approx((60,), rel=1e-5)
    assert found.powers == pytest.approx((0.12,), rel=1e-6)
    assert found(1e16) == pytest.approx(float(planted(np.array(1e16))), rel=1e-9)
    assert found.formula(["C"]) == "L = 1.7 + 60 C^-0.12"


def test_hoffmanns_law_of_parameters_and_tokens_is_found() -> None:
    """E, A, B, alpha and beta of Hoffmann et al. 2022, equation 10."""
    n, d = np.repeat(SIZES, 3), np.repeat(SIZES, 3) * np.tile([5, 10, 20], 4)
    found = fit(np.stack([n, d], 1), 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28)
    assert (found.floor, *found.scales, *found.powers) == pytest.approx((1.69, 406.4, 410.7, 0.34, 0.28), rel=1e-5)


def test_a_law_without_a_floor_is_found() -> None:
    found = fit(COMPUTE[:, None], 30 * COMPUTE**-0.07)
    assert found(1e16) == pytest.approx(30 * 1e16**-0.07, rel=1e-4)


def test_one_run_that_went_wrong_hardly_moves_the_law() -> None:
    compute = np.geomspace(1e13, 1e16, 9)
    losses = planted(compute)
    losses[4] *= 1.3
    found = fit(compute[:, None], losses)
    squares = np.polyfit(np.log(compute), np.log(losses), 2)
    true = float(planted(np.array(4e16)))
    error = abs(found(4e16) / true - 1)
    assert error < 0.01
    assert error < abs(float(np.exp(np.polyval(squares, np.log(4e16)))) / true - 1) / 3


def test_the_interval_holds_a_new_run_as_often_as_it_says() -> None:
    """Over ladders of two seeds each, whose noise is half or twice what is expected beforehand."""
    ahead, inside, wide = np.array([[3e16]]), [], []
    compute = np.repeat(COMPUTE, 2)
    for trial in range(40):
        random, noise = np.random.default_rng(trial), (0.0025, 0.01)[trial % 2]
        losses = planted(compute) * np.exp(noise * random.standard_normal(len(compute)))
        new = float(planted(ahead)[0, 0] * np.exp(noise * random.standard_normal()))
        _, [said] = predict(compute[:, None], losses, ahead, draws=80, seed=trial)
        inside.append(said.low <= new <= said.high)
        wide.append((said.high / said.low - 1) / noise)
    assert np.mean(inside) >= 0.875  # 95 % of 40 is 38; fewer than 35 have a chance of 5 %
    assert np.median(wide) < 25  # and it is no interval that holds anything


def test_three_runs_on_a_law_do_not_make_it_certain() -> None:
    _, [said] = predict(COMPUTE[:3, None], planted(COMPUTE[:3]), np.array([[3e16]]))
    assert said.high / said.low > 1.01
    assert said.low < said.value < said.high


def test_noise_widens_the_interval_and_the_same_seed_repeats_it() -> None:
    def width(noise: float, seed: int = 0) -> float:
        losses = planted(COMPUTE) * np.exp(noise * np.array([1, -1, -1, 1]))
        _, [said] = predict(COMPUTE[:, None], losses, np.array([[3e16]]), draws=100, seed=seed)
        return said.high - said.low

    assert width(0.02) > width(0.0)
    assert width(0.01) == width(0.01)
    assert width(0.01) != width(0.01, seed=1)
