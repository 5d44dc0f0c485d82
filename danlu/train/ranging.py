"""The learning-rate range test (Smith 2017, arXiv:1506.01186): raise the rate each step, and see where the loss breaks.

A loss that is smoothed falls where the rate is high enough to learn, and rises where it is too high to learn more. Two
numbers are read off it, as in fastai's (Howard and Gugger 2020): where it falls fastest, and a tenth of where it is
lowest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.train.hooks import Hook
from danlu.train.hooks.metrics import JsonLines
from danlu.train.state import Step

MEMORY = 0.9  # of the smoothed loss: about ten steps
BLOWN = 1.5  # times the lowest loss so far: far above what batches differ by
FEWEST = 10  # steps before it can be told that the loss has blown up
REACH = 4  # steps to each side over which the slope is taken
BELOW = 10.0  # how far below the lowest loss's rate is safe


@dataclass(frozen=True)
class Suggestion:
    """What a range test found; rates are peaks of the learning rate."""

    steepest: float
    """Where the smoothed loss falls fastest."""
    lowest: float
    """Where it is lowest."""
    blown: float | None
    """Where it had blown up, or None if it did not."""

    @property
    def rate(self) -> float:
        """The lower of two: the steepest descent's, and a tenth of the lowest loss's; to two digits."""
        return float(f"{min(self.steepest, self.lowest / BELOW):.2g}")


def smoothed(losses: Sequence[float]) -> list[float]:
    """The running mean of the past, of which a step's loss is a tenth, without its bias to the start."""
    means, mean = [], 0.0
    for number, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means.append(mean / (1 - MEMORY**number))
    return means


def suggest(rates: Sequence[float], losses: Sequence[float], blown: float | None = None) -> Suggestion | None:
    """What the losses of those rates say, or None where the loss never fell."""
    means = smoothed(losses)
    best = min(range(len(means)), key=lambda i: means[i], default=0)
    slopes = {}
    for i in range(REACH, min(best + 1, len(means) - REACH)):
        wide = math.log(rates[i + REACH] / rates[i - REACH])
        slopes[i] = (means[i + REACH] - means[i - REACH]) / wide
    steepest = min(slopes, key=lambda i: slopes[i], default=0)
    if not slopes or slopes[steepest] >= 0:
        return None
    return Suggestion(rates[steepest], rates[best], blown)


class Rising(Hook):
    """Notes rate and loss of each step as rows of kind ``range``, and ends the run when the loss has blown up."""

    def __init__(self, lines: JsonLines) -> None:
        self.lines = lines
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.blown: float | None = None

    def after_step(self, step: Step) -> None:
        """Note it; a step that was skipped had a loss that is not a number."""
        if step.skipped is not None or not math.isfinite(step.loss):
            self.blown = self.blown or step.lr
            return
        self.rates.append(step.lr)
        self.losses.append(step.loss)
        mean = smoothed(self.losses)
        self.lines.write(
            {"kind": "range", "step": step.number, "lr": step.lr, "loss": step.loss, "smoothed": round(mean[-1], 6)}
        )
        if len(mean) > FEWEST and mean[-1] > BLOWN * min(mean):
            self.blown = self.blown or step.lr

    def enough(self) -> str | None:
        """After the blow-up higher rates tell no more."""
        return None if self.blown is None else f"the loss has blown up at a learning rate of {self.blown:.2g}"

    def state_dict(self) -> dict[str, Any]:
        """What was noted."""
        return {"rates": self.rates, "losses": self.losses, "blown": self.blown}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.rates, self.losses, self.blown = list(state["rates"]), list(state["losses"]), state["blown"]
