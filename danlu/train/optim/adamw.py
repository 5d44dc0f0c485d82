"""AdamW (Loshchilov and Hutter 2019) over named parameters, through torch's fused functional kernel.

The functional form keeps state under the parameters' names, which checkpoints need, and takes the learning
rate with each step. Decay applies to matrices only.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from danlu.train.optim.rule import Rule


class AdamW(Rule):
    """State is two averages and a step count for each parameter."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        *,
        beta1: float,
        beta2: float,
        epsilon: float,
        weight_decay: float,
        decayed: frozenset[str],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, decayed=decayed, scales=scales)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.stores = {"first": self.zeros(), "second": self.zeros(), "steps": self.counts()}

    @torch.no_grad()
    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there."""
        first, second, steps = (self.stores[kind] for kind in ("first", "second", "steps"))
        for (decay, scale), group in self.groups(names).items():
            parameters = [self.parameters[name] for name in group]
            adamw(
                parameters,
                [p.grad for p in parameters if p.grad is not None],
                [first[name] for name in group],
                [second[name] for name in group],
                [],
                [steps[name] for name in group],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=lr * scale,
                weight_decay=decay,
                eps=self.epsilon,
                maximize=False,
            )
