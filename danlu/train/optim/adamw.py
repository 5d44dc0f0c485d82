"""AdamW (Loshchilov and Hutter 2019) over named parameters, through torch's fused functional kernel.

The functional form keeps state under the parameters' names, which checkpoints need, and takes the learning
rate with each step. Decay applies to matrices only.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class AdamW:
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
        self.parameters = dict(parameters)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.groups: dict[tuple[float, float], list[str]] = {}  # (weight decay, multiple of the learning rate) → names
        for name in self.parameters:
            key = (weight_decay if name in decayed else 0.0, (scales or {}).get(name, 1.0))
            self.groups.setdefault(key, []).append(name)
        self.first = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.steps = {name: torch.zeros((), device=p.device) for name, p in self.parameters.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update from the gradients that are there."""
        for (decay, scale), names in self.groups.items():
            parameters = [self.parameters[name] for name in names]
            adamw(
                parameters,
                [p.grad for p in parameters if p.grad is not None],
                [self.first[name] for name in names],
                [self.second[name] for name in names],
                [],
                [self.steps[name] for name in names],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=lr * scale,
                weight_decay=decay,
                eps=self.epsilon,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        """Name → tensor, the buffers themselves."""
        kinds = (("first", self.first), ("second", self.second), ("steps", self.steps))
        return {f"{kind}.{name}": value for kind, values in kinds for name, value in values.items()}
