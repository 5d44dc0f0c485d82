"""AdamW whose two averages are stored in 8 bits, through bitsandbytes' kernel (Dettmers et al. 2022, arXiv:2110.02861).

Each block of 256 numbers is divided by its largest and rounded to a code of 256 values that is finer near zero: two
bytes a parameter where AdamW keeps eight. Matrices below 4,096 numbers keep their averages whole, as bitsandbytes has
it: nothing is saved there.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import MissingExtra, UserError
from danlu.train.optim.rule import Rule

BLOCK, SMALLEST = 256, 4096


class AdamW8bit(Rule):
    """State is two bytes a number, two scales a block of them, and a step count for each parameter."""

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
        self._functional = functional()
        self.codes = [self._functional.create_dynamic_map(signed=signed) for signed in (True, False)]
        zeros = {name: torch.zeros_like(p, dtype=torch.uint8) for name, p in self.parameters.items()}
        blocks = {name: p.new_zeros(-(-p.numel() // BLOCK)) for name, p in self.parameters.items()}
        self.stores = {
            "first": zeros,
            "second": {name: value.clone() for name, value in zeros.items()},
            "first_scales": blocks,
            "second_scales": {name: value.clone() for name, value in blocks.items()},
            "steps": self.counts(),
        }

    @torch.no_grad()
    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there."""
        for (decay, scale), group in self.groups(names).items():
            for name, gradient in zip(group, self.gradients(group), strict=True):
                parameter, state = self.parameters[name], {kind: store[name] for kind, store in self.stores.items()}
                signed, unsigned = (code.to(parameter.device) for code in self.codes)
                count = int(state["steps"].add_(1))
                self._update(parameter, gradient, state, signed, unsigned, count, lr * scale, decay)

    def _update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        signed: Tensor,
        unsigned: Tensor,
        count: int,
        lr: float,
        decay: float,
    ) -> None:
        try:
            self._functional.optimizer_update_8bit_blockwise(
                "adam",
                gradient.contiguous(),
                parameter,
                state["first"],
                state["second"],
                self.beta1,
                self.beta2,
                0.0,
                0.0,
                self.epsilon,
                count,
                lr,
                signed,
                unsigned,
                state["first_scales"],
                state["second_scales"],
                decay,
            )
        except NotImplementedError:
            what = f"this bitsandbytes has no 8-bit AdamW for {parameter.device.type}"
            raise UserError(what, where="recipe: optimizer.name", remedy="Use adamw, or a GPU") from None


def functional() -> Any:
    """bitsandbytes' functions, or the error that says how to install them."""
    try:
        import bitsandbytes.functional as found
    except ImportError:
        raise MissingExtra("bitsandbytes", "8bit", "the optimizer adamw8bit") from None
    return found
