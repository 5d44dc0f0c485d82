"""Intervals for what was counted."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.base.seed import generator

Array = npt.NDArray[Any]
Z95 = 1.959964


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which stays honest at 0, at 1 and for few trials."""
    if trials == 0:
        return 0.0, 1.0
    p, z2 = successes / trials, Z95**2
    middle = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def bootstrap(count: int, measure: Callable[[Array], float], seed: int, rounds: int = 500) -> tuple[float, float]:
    """The 95 % percentile interval (Efron 1979) of ``measure`` of records, by number, drawn again with replacement."""
    if count == 0:
        return 0.0, 1.0
    draw = generator(seed, "bootstrap")
    found = np.sort([measure(draw.integers(count, size=count)) for _ in range(rounds)])
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))
