"""What every optimizer has: named parameters, named state, and a step over all of them or some."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor


class Rule:
    """How some parameters are updated. State lies under the parameters' names, which checkpoints need.

    ``decayed`` names what weight decay shrinks, ``scales`` multiples of the learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        *,
        weight_decay: float,
        decayed: frozenset[str],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.decay = {name: weight_decay if name in decayed else 0.0 for name in self.parameters}
        self.scale = {name: (scales or {}).get(name, 1.0) for name in self.parameters}
        self.stores: dict[str, dict[str, Tensor]] = {}  # kind of state → parameter's name → tensor

    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """One update from the gradients that are there: of all parameters, or of those named."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """Name → tensor, the buffers themselves."""
        return {f"{kind}.{name}": value for kind, values in self.stores.items() for name, value in values.items()}

    def zeros(self) -> dict[str, Tensor]:
        """A buffer for each parameter, of its shape."""
        return {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    def counts(self) -> dict[str, Tensor]:
        """A count of steps for each parameter."""
        return {name: torch.zeros((), device=parameter.device) for name, parameter in self.parameters.items()}

    def groups(self, names: Collection[str] | None) -> dict[tuple[float, float], list[str]]:
        """(weight decay, multiple of the learning rate) → the parameters that share them, of all or of those named."""
        found: dict[tuple[float, float], list[str]] = {}
        for name in self.parameters:
            if names is None or name in names:
                found.setdefault((self.decay[name], self.scale[name]), []).append(name)
        return found

    def gradients(self, names: Iterable[str]) -> list[Tensor]:
        """The gradients of those parameters, all of which must be there."""
        found = [self.parameters[name].grad for name in names]
        assert all(gradient is not None for gradient in found)
        return [gradient for gradient in found if gradient is not None]
