"""Muon (Jordan et al. 2024): momentum made orthogonal, for the matrices inside the blocks.

Five Newton-Schulz steps bring the singular values of the momentum near 1. The update is scaled by
0.2 · √max(rows, columns) so that its root mean square is that of AdamW's (Liu et al. 2025, Moonlight), hence
one learning rate serves both. Matrices of one shape are orthogonalised in one batched product.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

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


class Muon:
    """Updates 2-D parameters; state is one momentum buffer each."""

    def __init__(
        self, parameters: Iterable[tuple[str, Tensor]], *, momentum: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        self.parameters = dict(parameters)
        self.momentum, self.weight_decay, self.dtype = momentum, weight_decay, dtype
        self.buffers = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.shapes: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, parameter in self.parameters.items():
            self.shapes[tuple(parameter.shape)].append(name)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update from the gradients that are there."""
        for (rows, columns), names in self.shapes.items():
            wanted = []
            for name in names:
                gradient = self.parameters[name].grad
                assert gradient is not None
                buffer = self.buffers[name].lerp_(gradient, 1 - self.momentum)
                wanted.append(gradient.lerp(buffer, self.momentum))  # Nesterov
            updates = orthogonalise(torch.stack(wanted), self.dtype)
            size = 0.2 * max(rows, columns) ** 0.5
            for name, update in zip(names, updates, strict=True):
                self.parameters[name].mul_(1 - lr * self.weight_decay).add_(update, alpha=-lr * size)

    def state(self) -> dict[str, Tensor]:
        """Name → tensor, the buffers themselves."""
        return self.buffers
