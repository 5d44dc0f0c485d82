"""What the loop asks of an objective.

It returns a SUM, and says by what weight that sum is to be divided. The loop adds both up over micro-batches
and processes and divides once, so a batch gives the same update however it is cut: the mean of means, which
other trainers take, does not.

An objective that needs gradients to know what comes next (`danlu.objectives.adversarial`) hands out its losses one
after another. Whoever asks differentiates each before asking for the next, so there is still one place that does.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Several(Protocol):
    """An objective whose gradient is that of several losses, a later one made with the gradients of those before."""

    def passes(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor, Metrics]]:
        """The losses of a batch; between two of them the gradients of the first have to be made."""
        ...


def passes(objective: Objective, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor, Metrics]]:
    """The losses, with their metrics, whose sum is the batch's; each is to be differentiated before the next."""
    if isinstance(objective, Several):
        yield from objective.passes(model, batch)
    else:
        yield objective(model, batch)
