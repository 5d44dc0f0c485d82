"""What objectives with labels have in common: a row gives a loss sum and a weight, whatever its kind of label.

Single tasks add up rows as they are; `danlu.objectives.multitask` first divides each by its weight. ``extra`` of a
batch may have ``weight`` [B], what a row counts: a label that was guessed counts less than one that is known.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from danlu.model.task_heads import of_types
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch

WEIGHT, TYPES = "weight", "types"


class RowLoss(Protocol):
    """Weights and losses by row. hidden: [B, T, D]."""

    def weights(self, batch: Batch) -> Tensor:
        """By what each row's loss is to be divided. [B]."""
        ...

    def losses(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """Each row's loss sum [B], and metrics by row [B], to be divided as the loss is."""
        ...


def counted(batch: Batch) -> Tensor:
    """What each row counts. [B]."""
    return batch.extra[WEIGHT].float() if WEIGHT in batch.extra else torch.ones(len(batch), device=batch.ids.device)


class Labelled:
    """The objective of one kind of label."""

    def __init__(self, rows: RowLoss) -> None:
        self.rows = rows

    def weight(self, batch: Batch) -> float:
        """What the rows count together."""
        return float(self.rows.weights(batch).sum(dtype=torch.float64))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The loss sum over rows, and the metrics' sums."""
        assert isinstance(model, Transformer)
        ledger = ledger_of(model, batch.mask)
        with of_types(model, batch.extra.get(TYPES)):
            hidden = model.features(batch.ids, batch.segments, ledger=ledger)
        losses, metrics = self.rows.losses(model, hidden, batch)
        return settled((losses.sum(), {name: value.detach().sum() for name, value in metrics.items()}), model, ledger)
