"""The exponential moving average of the weights: what is measured and written, while what trains goes its own way.

After each step ``average ← d · average + (1 - d) · weights``. Averages of weights move less from batch to batch and
often know unseen text better (Polyak and Juditsky 1992; of networks Tarvainen and Valpola 2017, arXiv:1703.01780). d
begins low, ``min(decay, (1 + t) / (10 + t))`` after t updates, as TensorFlow's ExponentialMovingAverage has it, or a
short run would end near where it began. Steps that were skipped moved nothing and do not count.

Left out: averages on another device, and several of them for one run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.train.hooks import Hook
from danlu.train.state import Step


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Name → parameter, of those that learn."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Average(Hook):
    """The average of the parameters that learn when it is made; in float32, as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates, self.taken_over = decay, 0, False
        self.parameters = trained(model)
        self.shadow = {name: p.detach().clone() for name, p in self.parameters.items()}

    def after_step(self, step: Step) -> None:
        """Follow the weights."""
        if step.skipped is not None:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.shadow.values()), list(self.parameters.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it is open, the model's weights are the averages."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        if self.taken_over:
            return
        for name, parameter in self.parameters.items():  # values, not storage: some parameters are parts of a table
            kept = parameter.clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)

    @torch.no_grad()
    def at_end(self, step: Step) -> None:
        """The model becomes its average."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.shadow[name])
        self.taken_over = True

    def tensors(self) -> dict[str, Tensor]:
        """The averages."""
        return self.shadow

    def state_dict(self) -> dict[str, Any]:
        """How many updates they have seen."""
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.updates = state["updates"]
