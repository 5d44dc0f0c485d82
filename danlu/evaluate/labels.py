"""How well labels are guessed: accuracy, F1 by label and over all, numbers' correlation, and vectors' retrieval.

With intervals: Wilson's for what is a share of records, the bootstrap (Efron 1979) for what is not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.evaluate.stats import bootstrap, wilson

Array = npt.NDArray[Any]


def f1(right: Array, guessed: Array, wanted: Array) -> Array:
    """2·right / (guessed + wanted), 0 where there is neither; counts in any shape."""
    both = guessed + wanted
    return np.divide(2 * right, both, out=np.zeros(np.shape(both)), where=both > 0)


def label_measures(wanted: Array, guessed: Array, labels: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """wanted, guessed: [N, L] of 0 and 1, one a row or any number. Macro-F1 is the mean over labels that occur."""
    right = wanted * guessed
    exact = int((wanted == guessed).all(1).sum())

    def macro(rows: Array) -> float:
        each = f1(right[rows].sum(0), guessed[rows].sum(0), wanted[rows].sum(0))
        there = (guessed[rows].sum(0) + wanted[rows].sum(0)) > 0
        return float(each[there].mean()) if there.any() else 0.0

    sums = right.sum(0), guessed.sum(0), wanted.sum(0)
    by_label = {
        label: {
            "precision": float(sums[0][i] / max(sums[1][i], 1)),
            "recall": float(sums[0][i] / max(sums[2][i], 1)),
            "f1": float(f1(*(part[i] for part in sums))),
            "records": int(sums[2][i]),
        }
        for i, label in enumerate(labels)
    }
    return {
        "records": len(wanted),
        "accuracy": exact / max(len(wanted), 1),
        "accuracy_interval": list(wilson(exact, len(wanted))),
        "macro_f1": macro(np.arange(len(wanted))),
        "macro_f1_interval": list(bootstrap(len(wanted), macro, seed)),
        "micro_f1": float(f1(*(part.sum() for part in sums))),
        "labels": by_label,
    }


def number_measures(wanted: Array, guessed: Array, seed: int = 0) -> dict[str, Any]:
    """Root mean squared and mean absolute error, Pearson's and Spearman's correlation. wanted, guessed: [N]."""
    error = guessed - wanted
    return {
        "records": len(wanted),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.abs(error).mean()),
        "pearson": correlation(wanted, guessed),
        "spearman": correlation(ranks(wanted), ranks(guessed)),
        "spearman_interval": list(
            bootstrap(len(wanted), lambda rows: correlation(ranks(wanted[rows]), ranks(guessed[rows])), seed)
        ),
    }


def correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one of the two never changes."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def ranks(values: Array) -> Array:
    """The rank of each value, equal ones sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def retrieval_measures(queries: Array, texts: Array, wanted: Array) -> dict[str, Any]:
    """Is the wanted text the closest? queries: [N, D]; texts: [M, D], lengths 1; wanted: [N], numbers of texts."""
    scores = queries @ texts.T
    own = np.take_along_axis(scores, wanted[:, None], 1)
    place = 1 + (scores > own).sum(1)  # [N]
    first = int((place == 1).sum())
    return {
        "records": len(queries),
        "texts": len(texts),
        "accuracy": first / max(len(queries), 1),
        "accuracy_interval": list(wilson(first, len(queries))),
        "reciprocal_rank": float((1 / place).mean()),
    }
