"""What the loop asks of an objective.

It returns a SUM, and says by what weight that sum is to be divided. The loop adds both up over micro-batches
and processes and divides once, so a batch gives the same update however it is cut: the mean of means, which
other trainers take, does not.
"""

from typing import Protocol

from torch import Tensor, nn

from danlu.tokens.batches import Batch

Metrics = dict[str, Tensor]


class Objective(Protocol):
    """``weight(batch)`` and ``objective(model, batch) -> (loss sum, metric sums)``."""

    def weight(self, batch: Batch) -> float:
        """By what the batch's loss sum is divided: trained tokens, or pairs."""
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The loss summed over the batch, and other sums over the same weight, detached."""
        ...
