"""The rows of new tokens, in the embedding and in an output layer of its own: they learn, the old ones do not.

An adapter that was trained after a vocabulary was extended means nothing without them, so it carries them
(`danlu.model.adapters.files`), trained or not.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.linear import Linear
from danlu.model.transformer import Transformer


class _Whole(torch.autograd.Function):
    """The table itself; of its gradient, the last rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
        ctx.first = table.shape[0] - rows.shape[0]
        return table.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0][ctx.first :], None


class TrainableRows(nn.Module):
    """An embedding or output layer [V, D] of which the rows from ``first`` on are a parameter over the same memory.

    The optimizer and the checkpoints see those rows alone. Joining an old and a new part in each pass would be
    simpler, and would copy the whole table for every token that is generated.
    """

    def __init__(self, table: nn.Embedding | Linear, first: int) -> None:
        super().__init__()
        self.table, self.first = table.requires_grad_(False), first
        self.rows = nn.Parameter(table.weight.detach()[first:])

    @property
    def weight(self) -> Tensor:
        """The whole table, [V, D]."""
        return _Whole.apply(self.rows, self.table.weight) if torch.is_grad_enabled() else self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [...] -> [..., D]."""
        return nn.functional.embedding(ids, self.weight)

    def _share(self) -> None:
        self.rows.data = self.table.weight.data[self.first :]

    def _apply(self, fn: Any, recurse: bool = True) -> "TrainableRows":
        """`to` and its like make each parameter anew; the rows must stay part of the table."""
        super()._apply(fn, recurse)
        self._share()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """So must they in a copy."""
        super().__setstate__(state)
        self._share()


def tables_of(model: Transformer) -> dict[str, nn.Embedding | Linear]:
    """The modules with a row for each id: one if the output layer is the embedding."""
    return {"embed": model.embed} if model.config.tied else {"embed": model.embed, "head": model.head}


def open_rows(model: Transformer, first: int) -> None:
    """Let the rows from ``first`` on learn."""
    for name, table in tables_of(model).items():
        setattr(model, name, TrainableRows(table, first))


@torch.no_grad()
def grow_rows(model: Transformer, rows: int) -> None:
    """Tables of ``rows`` rows, the new ones zero until they are filled."""
    for table in tables_of(model).values():
        old = table.weight
        new = torch.zeros(rows, old.shape[1], device=old.device)
        new[: old.shape[0]] = old
        table.weight = nn.Parameter(new)
    model.embed.num_embeddings = rows
    if not model.config.tied:
        model.head.out_features = rows
    model.config = dataclasses.replace(model.config, vocab_size=rows)
