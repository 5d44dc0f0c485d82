"""Muon (Jordan et al. 2024): momentum made orthogonal, for the matrices inside the blocks.

Five Newton-Schulz steps bring the singular values of the momentum near 1. The update is scaled by
0.2 · √max(rows, columns) so that its root mean square is that of AdamW's (Liu et al. 2025, Moonlight), hence
one learning rate serves both. Matrices of one shape are orthogonalised in one batched product.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from danlu.train.optim.rule import Rule

# Jordan's quintic: the slope at 0 is as steep as it can be while 1 stays within [0.7, 1.2].
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalise(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """matrices: [N, R, C] -> the same with singular values near 1, in float32. ``dtype`` is computed in."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = (matrices if wide else matrices.transpose(1, 2)).to(dtype)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.transpose(1, 2)).float()


class Muon(Rule):
    """Updates matrices and stacks of matrices; state is one momentum buffer each."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        *,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        named = dict(parameters)
        super().__init__(named.items(), weight_decay=weight_decay, decayed=frozenset(named), scales=scales)
        self.momentum, self.weight_decay, self.dtype = momentum, weight_decay, dtype
        self.stores = {"momentum": self.zeros()}

    @torch.no_grad()
    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there."""
        shapes: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, parameter in self.parameters.items():
            if names is None or name in names:
                shapes[tuple(parameter.shape[-2:])].append(name)
        for (rows, columns), alike in shapes.items():
            wanted = []
            for name, gradient in zip(alike, self.gradients(alike), strict=True):
                buffer = self.stores["momentum"][name].lerp_(gradient, 1 - self.momentum)
                wanted.append(gradient.lerp(buffer, self.momentum).view(-1, rows, columns))  # Nesterov
            updates = orthogonalise(torch.cat(wanted), self.dtype).split([len(part) for part in wanted])
            size = 0.2 * max(rows, columns) ** 0.5
            for name, update in zip(alike, updates, strict=True):
                parameter, rate = self.parameters[name], lr * self.scale[name]
                parameter.mul_(1 - rate * self.weight_decay).add_(update.view_as(parameter), alpha=-rate * size)
