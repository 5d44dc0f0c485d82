"""Adafactor (Shazeer and Stern 2018, arXiv:1804.04235): AdamW whose second moments are a row and a column a matrix.

Memory of its state: rows + columns for a matrix, where AdamW keeps 2 · rows · columns. Updates whose root mean square
is above 1 are scaled down to it (section 6), and the second moments forget as 1 − t^−0.8 (section 7.2), so it has no
betas. Left out: momentum, which would bring the memory back, and steps relative to the size of the weights (section 8),
so that the learning rate means what it means for AdamW.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from danlu.train.optim.rule import Rule

FLOOR, LARGEST, FORGETTING = 1e-30, 1.0, -0.8  # the paper's ε₁, d and −c


def root_mean_square(x: Tensor) -> Tensor:
    """Of all numbers of ``x``, a scalar."""
    return x.norm(2) / x.numel() ** 0.5


class Adafactor(Rule):
    """State is a row and a column of squares for each matrix, all squares for anything else, and a step count."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        *,
        weight_decay: float,
        decayed: frozenset[str],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, decayed=decayed, scales=scales)
        tables = {name: p for name, p in self.parameters.items() if p.dim() > 1}
        self.stores = {
            "rows": {name: torch.zeros_like(p[..., 0]) for name, p in tables.items()},
            "columns": {name: torch.zeros_like(p[..., 0, :]) for name, p in tables.items()},
            "squares": {name: torch.zeros_like(p) for name, p in self.parameters.items() if p.dim() < 2},
            "steps": self.counts(),
        }

    @torch.no_grad()
    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there."""
        for (decay, scale), group in self.groups(names).items():
            for name, gradient in zip(group, self.gradients(group), strict=True):
                update = self._direction(name, gradient)
                update.div_((root_mean_square(update) / LARGEST).clamp_(min=1.0))
                self.parameters[name].mul_(1 - lr * scale * decay).sub_(update, alpha=lr * scale)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        """The gradient over the root of what is remembered of its square."""
        steps = self.stores["steps"][name].add_(1)
        fresh = steps**FORGETTING  # the weight of the newest squares; 1 at the first step
        square = gradient.square().add_(FLOOR)
        if gradient.dim() < 2:
            return self.stores["squares"][name].lerp_(square, fresh).rsqrt() * gradient
        rows = self.stores["rows"][name].lerp_(square.mean(dim=-1), fresh)
        columns = self.stores["columns"][name].lerp_(square.mean(dim=-2), fresh)
        by_row = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
        return by_row * columns.rsqrt().unsqueeze(-2) * gradient
