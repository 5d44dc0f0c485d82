"""Several tasks with one trunk: each row belongs to a task, and a task's rows count by a weight.

The loss of a batch is the mean over its rows of (the row's own mean loss · the weight of its task), so a batch may be
cut anywhere. The weights are fixed; or learned as an uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115):
a task with noise s = log σ² counts exp(-s), half of that where it is a squared error, and s / 2 is added for each row,
which is the likelihood of the labels; or they follow GradNorm (`danlu.objectives.gradnorm`).

Heads whose task has no row in a batch get gradients of zero: every parameter has one in every step.

Legend: B rows, K tasks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from danlu.model.task_heads import NAME, of_types
from danlu.model.transformer import Transformer
from danlu.objectives.gradnorm import GradNorm
from danlu.objectives.labelled import TYPES, RowLoss, counted
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch

TASK = "task"  # among a batch's extra tensors: [B], the number of the row's task
BALANCE = "balance"  # the module that learned weights are in


class Uncertainty(nn.Module):
    """s = log σ² of each task, 0 at the start: each then counts 1."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(count))


class MultiTask:
    """``rows`` by name, in the order of their numbers; ``squared`` names those whose loss is a squared error."""

    def __init__(
        self,
        rows: Mapping[str, RowLoss],
        weights: Mapping[str, float],
        *,
        squared: frozenset[str] = frozenset(),
        balance: GradNorm | None = None,
    ) -> None:
        self.rows, self.fixed, self.squared, self.balance = dict(rows), dict(weights), squared, balance

    def weight(self, batch: Batch) -> float:
        """Rows."""
        return float(counted(batch).sum(dtype=torch.float64))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The weighted sum over rows; metrics: each task's share of the loss, and its weight."""
        assert isinstance(model, Transformer)
        ledger = ledger_of(model, batch.mask)
        with of_types(model, batch.extra.get(TYPES)):
            hidden = model.features(batch.ids, batch.segments, ledger=ledger)
        counts, sums = list[float](), list[Tensor]()
        for number, rows in enumerate(self.rows.values()):
            mine = batch.extra[TASK] == number
            part = of_task(batch, mine)
            counts.append(float(counted(part).sum()) if len(part) else 0.0)
            if not len(part):
                sums.append(hidden.sum() * 0.0)
                continue
            losses, _ = rows.losses(model, hidden[mine], part)
            sums.append((losses / rows.weights(part).clamp_min(1e-9) * counted(part)).sum())
        total, weights = self._weighed(model, sums, counts)
        if self.balance is not None and torch.is_grad_enabled():
            self.balance.look(model, sums, counts)
        for parameter in getattr(model, NAME).parameters():
            total = total + parameter.sum() * 0.0
        metrics = {f"loss/{name}": value.detach() for name, value in zip(self.rows, sums, strict=True)}
        rows_here = sum(counts)
        metrics |= {f"weight/{name}": w.detach() * rows_here for name, w in zip(self.rows, weights, strict=True)}
        return settled((total, metrics), model, ledger)

    def _weighed(self, model: Transformer, sums: list[Tensor], counts: list[float]) -> tuple[Tensor, list[Tensor]]:
        """The loss sum, and what a row of each task counts."""
        learned = getattr(model, BALANCE, None)
        if learned is None:
            fixed = self.fixed if self.balance is None else self.balance.weights
            weights = [sums[0].new_tensor(fixed[name]) for name in self.rows]
            return torch.stack([w * s for w, s in zip(weights, sums, strict=True)]).sum(), weights
        half = torch.tensor([0.5 if name in self.squared else 1.0 for name in self.rows], device=sums[0].device)
        noise = learned.log_variance
        weights = list(half * (-noise).exp())
        added = (noise / 2 * torch.tensor(counts, device=noise.device)).sum()
        return torch.stack([w * s for w, s in zip(weights, sums, strict=True)]).sum() + added, weights


def of_task(batch: Batch, mine: Tensor) -> Batch:
    """The rows of a batch that ``mine`` [B] marks."""
    extra = {name: value[mine] for name, value in batch.extra.items()}
    return Batch(batch.ids[mine], batch.mask[mine], batch.segments[mine], extra)
