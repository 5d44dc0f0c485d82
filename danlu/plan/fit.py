"""A law through the losses of a row of models, and what it says of the next: L = E + A C^-α, or E + A N^-α + B D^-β.

Hoffmann et al. 2022, approach 3: the Huber loss of the logarithms' differences, from many starts. Theirs turns from
squares to distances at 0.001, with 400 runs; with five that would be a curve drawn exactly through three of them, so
here it turns at 0.01, beyond what seeds do to a loss and within what a run that went wrong does.

The interval is a parametric bootstrap: losses are drawn around the law, the law is fitted again, and what it then says
of the next run is given that run's own noise. How much noise there is comes from what the law leaves over; few runs
say little about that, so they are joined by `PRIOR_RUNS` that leave `PRIOR_NOISE` each (the scaled inverse chi-squared
distribution, Gelman et al. 2013, section 2.6), and each draw has a noise of its own. Without that, three runs and three
parameters would claim to be certain.

No scipy: Levenberg and Marquardt's method over all starts or all draws at once is shorter than a dependency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TURN = 0.01
PRIOR_NOISE, PRIOR_RUNS = 0.005, 3.0  # what seeds of small models differ by, about 0.01 of 2.2 bits a byte (LOG.md)
FLOORS = (0.001, 0.3, 0.6, 0.8, 0.9, 0.97)  # starts: E as a share of the lowest loss
POWERS = (0.03, 0.1, 0.2, 0.4, 0.8)
LEAST_POWER, MOST_POWER, LEAST_LOG = 0.005, 3.0, -20.0
ROUNDS, DONE = (300, 60), (1e-9, 1e-5)  # steps at most, and the relative gain that ends them: of a law, of a draw
LEAST_GAIN = 1e-28


@dataclass(frozen=True)
class Law:
    """L = floor + the sum over the inputs of scale x input^-power."""

    floor: float
    scales: tuple[float, ...]
    powers: tuple[float, ...]

    def __call__(self, *inputs: float) -> float:
        """The loss at one point."""
        terms = zip(self.scales, inputs, self.powers, strict=True)
        return self.floor + float(sum(scale * value**-power for scale, value, power in terms))

    def formula(self, names: Sequence[str]) -> str:
        """``L = 1.69 + 406 N^-0.34 + 411 D^-0.28``."""
        terms = zip(self.scales, names, self.powers, strict=True)
        return " + ".join([f"L = {self.floor:.4g}", *(f"{a:.4g} {name}^-{p:.3g}" for a, name, p in terms)])


@dataclass(frozen=True)
class Prediction:
    """The loss of a run that nobody has made, and the interval that it lies in with a chance of ``level``."""

    value: float
    low: float
    high: float
    level: float = 0.95


def fit(inputs: Array, losses: Array) -> Law:
    """The law through ``losses`` [n] at ``inputs`` [n, K]."""
    x, middle = _centred(inputs)
    theta = _best(_minimise(x, np.log(losses)[None], _starts(x, losses)))
    return _law(theta, middle)


def predict(
    inputs: Array, losses: Array, at: Array, *, draws: int = 500, seed: int = 0, level: float = 0.95
) -> tuple[Law, list[Prediction]]:
    """The law, and for each row of ``at`` [m, K] what a new run there would reach."""
    x, middle = _centred(inputs)
    y = np.log(losses)
    theta = _best(_minimise(x, y[None], _starts(x, losses)))
    there = np.log(at).T - middle[:, None]  # [K, m]
    random = np.random.default_rng(seed)
    fitted = _logs(theta[None], x)[0]
    left, spare = float(((y - fitted) ** 2).sum()), max(len(y) - len(theta), 0)
    freedom = PRIOR_RUNS + spare
    noise = np.sqrt((PRIOR_RUNS * PRIOR_NOISE**2 + left) / random.chisquare(freedom, draws))[:, None]
    drawn = fitted + noise * random.standard_normal((draws, len(y)))
    again, _ = _minimise(x, drawn, np.repeat(theta[None], draws, axis=0), draws=True)
    said = _logs(again, there) + noise * random.standard_normal((draws, 1))  # the same luck along the whole curve
    low, high = np.quantile(said, [(1 - level) / 2, (1 + level) / 2], axis=0)
    values = np.exp(_logs(theta[None], there)[0])
    bounds = zip(values.tolist(), np.exp(low).tolist(), np.exp(high).tolist(), strict=True)
    return _law(theta, middle), [Prediction(*numbers, level) for numbers in bounds]


def _centred(inputs: Array) -> tuple[Array, Array]:
    """Logarithms [K, n] about their means [K], without which A and α could hardly be told apart."""
    logs = np.log(np.asarray(inputs, float)).T
    middle = logs.mean(axis=1)
    return logs - middle[:, None], middle


def _starts(x: Array, losses: Array) -> Array:
    """[starts, 1 + 2 K]: log E, the logarithms of the terms in the middle, the logarithms of the powers."""
    rows = []
    for share in FLOORS:
        floor = share * losses.min()
        term = np.log((np.median(losses) - floor) / len(x) + 1e-12)
        for powers in np.stack(np.meshgrid(*[POWERS] * len(x)), -1).reshape(-1, len(x)):
            rows.append([np.log(floor), *[term] * len(x), *np.log(powers)])
    return np.array(rows)


def _terms(theta: Array, x: Array) -> Array:
    """The logarithms [R, 1 + K, n] of E and of each term."""
    inputs = len(x)
    terms = theta[:, 1 : 1 + inputs, None] - np.exp(theta[:, 1 + inputs :, None]) * x[None]
    return np.concatenate([np.broadcast_to(theta[:, :1, None], (len(theta), 1, x.shape[1])), terms], axis=1)


def _logs(theta: Array, x: Array) -> Array:
    """log L [R, n] of the laws ``theta`` [R, 1 + 2 K] at ``x`` [K, n]."""
    return np.asarray(np.logaddexp.reduce(_terms(theta, x), axis=1))


def _huber(residuals: Array) -> Array:
    """[R]"""
    size = np.abs(residuals)
    return np.where(size <= TURN, size**2 / 2, TURN * (size - TURN / 2)).sum(axis=-1)


def _best(found: tuple[Array, Array]) -> Array:
    return np.asarray(found[0][int(np.argmin(found[1]))])


def _minimise(x: Array, y: Array, theta: Array, *, draws: bool = False) -> tuple[Array, Array]:
    """Levenberg-Marquardt with Huber's weights, for every row of ``theta`` [R, P] against ``y`` [R or 1, n]."""
    inputs, size = len(x), theta.shape[1]
    theta, y = theta.copy(), np.broadcast_to(y, (len(theta), y.shape[1]))
    damping, value = np.full(len(theta), 1e-2), _huber(y - _logs(theta, x))
    moving = np.arange(len(theta))
    for _ in range(ROUNDS[draws]):
        now = theta[moving]
        terms = _terms(now, x)
        logs = np.logaddexp.reduce(terms, axis=1)
        residuals, share = y[moving] - logs, np.exp(terms - logs[:, None])
        slopes = np.concatenate([share, -share[:, 1:] * np.exp(now[:, 1 + inputs :, None]) * x[None]], axis=1)
        weighted = slopes * np.minimum(1.0, TURN / np.maximum(np.abs(residuals), 1e-300))[:, None]
        normal = weighted @ slopes.transpose(0, 2, 1)  # [R, P, P]
        diagonal = np.einsum("rii->ri", normal) * damping[moving, None] + 1e-14
        step = np.linalg.solve(normal + np.eye(size) * diagonal[:, :, None], (weighted @ residuals[:, :, None]))[..., 0]
        tried = now + np.clip(step, -2.0, 2.0)
        tried[:, 1 + inputs :] = np.clip(tried[:, 1 + inputs :], np.log(LEAST_POWER), np.log(MOST_POWER))
        tried[:, : 1 + inputs] = np.maximum(tried[:, : 1 + inputs], LEAST_LOG)
        reached = _huber(y[moving] - _logs(tried, x))
        better = reached < value[moving]
        gain = value[moving] - reached
        theta[moving[better]] = tried[better]
        value[moving[better]] = reached[better]
        damping[moving] = np.where(better, damping[moving] / 5, damping[moving] * 4)
        ended = (better & (gain <= DONE[draws] * reached + LEAST_GAIN)) | (damping[moving] > 1e9)
        moving = moving[~ended]
        if not len(moving):
            break
    return theta, value


def _law(theta: Array, middle: Array) -> Law:
    inputs = len(middle)
    powers = np.exp(theta[1 + inputs :])
    scales = np.exp(theta[1 : 1 + inputs] + powers * middle)
    return Law(float(np.exp(theta[0])), tuple(scales.tolist()), tuple(powers.tolist()))
