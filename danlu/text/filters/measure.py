"""How well scores tell two classes apart, with intervals: small held-out sets promise more than they hold.

``scores`` are numbers, higher for good; ``good`` says which texts are.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Z95 = 1.959964
DRAWS = 2000
BINS = 10


def auc(scores: Floats, good: Flags) -> float:
    """The share of pairs (good, bad) in which the good one scores higher, ties half (Mann and Whitney 1947)."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    n = int(good.sum())
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))


def auc_interval(area: float, good: int, bad: int) -> tuple[float, float]:
    """The 95 % interval of an AUC: Newcombe's method 5 (Statistics in Medicine 25, 2006), honest at 1 too.

    The bounds are the areas from which the one found lies 1.96 of *their* standard errors away, as in Wilson's
    interval of a proportion; the variance is that of Hanley and McNeil (1982) with the two class sizes averaged.
    """
    half = (good + bad) / 2 - 1

    def apart(a: float) -> float:
        variance = a * (1 - a) * (1 + half * ((1 - a) / (2 - a) + a / (1 + a))) / (good * bad)
        return abs(area - a) - Z95 * math.sqrt(max(variance, 0.0))

    def bound(outer: float) -> float:
        near, far = area, outer
        for _ in range(60):
            middle = (near + far) / 2
            near, far = (middle, far) if apart(middle) < 0 else (near, middle)
        return (near + far) / 2

    return bound(0.0), bound(1.0)


def f1(called: Flags, good: Flags) -> float:
    """The harmonic mean of precision and recall of calling a text good."""
    return _f1(np.array(_counts(called, good))).item()


def f1_interval(called: Flags, good: Flags, seed: int = 0) -> tuple[float, float]:
    """Its 95 % interval, by drawing the shares of right and wrong calls from what the counts leave likely.

    Jeffreys' prior (half a text of each kind), after Goutte and Gaussier (2005): drawing the texts themselves again
    would promise an F1 of 1 wherever no mistake was seen.
    """
    counts, found = np.array(_counts(called, good)), f1(called, good)
    shares = np.random.default_rng(seed).dirichlet(counts + 0.5, DRAWS)
    low, high = np.percentile(_f1(shares.T), (2.5, 97.5))
    return min(float(low), found), max(float(high), found)


def _counts(called: Flags, good: Flags) -> tuple[int, int, int, int]:
    """Right and wrong calls of good, then of bad."""
    return (
        int((called & good).sum()),
        int((called & ~good).sum()),
        int((~called & good).sum()),
        int((~called & ~good).sum()),
    )


def _f1(parts: NDArray[Any]) -> Floats:
    """F1 of counts or shares ``[4, ...]``; 0 where nothing is good and nothing was called so."""
    hit, false, missed, _ = parts
    return np.asarray(2 * hit / np.maximum(2 * hit + false + missed, 1e-12))


def balanced(good: Flags) -> Floats:
    """A weight for each text, so that both classes weigh a half together."""
    share = good.mean()
    return np.where(good, 0.5 / share, 0.5 / (1 - share)) / len(good)


def platt(logits: Floats, good: Flags) -> tuple[float, float]:
    """``(slope, offset)`` that make 1 / (1 + exp(-slope * logit - offset)) the share of good texts (Platt 1999).

    Both classes weigh the same, and the targets are Platt's: a little short of 0 and 1. By Newton's method.
    """
    ones, zeros = int(good.sum()), int((~good).sum())
    target = np.where(good, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    weight, scale = balanced(good), float(np.abs(logits).mean()) or 1.0
    inputs = np.stack([logits / scale, np.ones_like(logits)])  # [2, n]
    solution = np.zeros(2)
    for _ in range(100):
        p = sigmoid(solution @ inputs)
        gradient = inputs @ (weight * (p - target))
        curvature = (inputs * (weight * p * (1 - p))) @ inputs.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step / max(float(np.abs(step).max()), 1.0)  # never more than 1 at a time
        if np.abs(step).max() < 1e-9:
            break
    return float(solution[0] / scale), float(solution[1])


def sigmoid(logits: NDArray[Any]) -> Floats:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float64)


def calibration_error(probabilities: Floats, good: Flags) -> float:
    """How far, on average, the probability is from the share of good texts among those that got it (ten bins)."""
    weight = balanced(good)
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    promised, kept = (np.bincount(place, weight * what, BINS) for what in (probabilities, good))
    return float(np.abs(promised - kept).sum())
