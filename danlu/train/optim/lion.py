"""Lion (Chen et al. 2023, arXiv:2302.06675): the sign of an average of gradients, with one buffer for each parameter.

Every number moves by the learning rate, whatever its gradient, so the rate has to be three to ten times smaller than
AdamW's, and the weight decay, which it multiplies, as much larger (the paper, section 5; its betas: 0.9 and 0.99).
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from danlu.train.optim.rule import Rule


class Lion(Rule):
    """θ ← θ − η (sign(β₁ m + (1 − β₁) g) + λ θ), then m ← β₂ m + (1 − β₂) g: the paper's program 1."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        *,
        beta1: float,
        beta2: float,
        weight_decay: float,
        decayed: frozenset[str],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, decayed=decayed, scales=scales)
        self.beta1, self.beta2 = beta1, beta2
        self.stores = {"momentum": self.zeros()}

    @torch.no_grad()
    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there."""
        for (decay, scale), group in self.groups(names).items():
            parameters, gradients = [self.parameters[name] for name in group], self.gradients(group)
            averages = [self.stores["momentum"][name] for name in group]
            directions = torch._foreach_lerp(averages, gradients, 1 - self.beta1)
            torch._foreach_sign_(directions)
            torch._foreach_mul_(parameters, 1 - lr * scale * decay)
            torch._foreach_add_(parameters, directions, alpha=-lr * scale)
            torch._foreach_lerp_(averages, gradients, 1 - self.beta2)
