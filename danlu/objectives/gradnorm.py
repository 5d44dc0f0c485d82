"""GradNorm: tasks' weights such that all learn at a like pace (Chen et al. 2018, arXiv:1711.02257).

Each task pulls at the last shared matrix W with a gradient of norm w · |g|, where g is of its mean loss. A task whose
loss fell less than others', against its first one, is to pull more: its target is the mean norm times (its relative
loss)^α. The weights take a step down Σ |norm - target|, targets held fixed, and are scaled to sum to the number of
tasks. g is gathered over a step's micro-batches as a sum and divided once, as losses are, so a cut batch gives the
same weights; the weights move after the step and count from the next one on, and are part of a checkpoint.

Left out: Adam for the weights, whose two averages for a handful of numbers the paper uses by the way.

Legend: K tasks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer

LEAST = 1e-3  # no task is ever forgotten


class GradNorm:
    """``weights`` by task; ``alpha`` is how hard tasks that lag are helped, ``rate`` the weights' step."""

    def __init__(self, names: Sequence[str], *, alpha: float = 1.5, rate: float = 0.025) -> None:
        self.weights, self.first = dict.fromkeys(names, 1.0), dict[str, float]()
        self.alpha, self.rate = alpha, rate
        self._forget()

    def _forget(self) -> None:
        self._pulls: dict[str, Tensor] = {}
        self._sums = dict.fromkeys(self.weights, 0.0)
        self._counts = dict.fromkeys(self.weights, 0.0)

    def look(self, model: Transformer, sums: Sequence[Tensor], counts: Sequence[float]) -> None:
        """Take in a micro-batch: each task's loss sum, with its graph, and its rows. The graph is kept."""
        matrix = shared(model)
        for name, loss, count in zip(self.weights, sums, counts, strict=True):
            if count:
                (pull,) = torch.autograd.grad(loss, matrix, retain_graph=True)
                self._pulls[name] = self._pulls[name] + pull if name in self._pulls else pull.clone()
                self._sums[name] += float(loss.detach())
                self._counts[name] += count

    def settle(self) -> None:
        """The step is over: move the weights, if every task was in it."""
        if any(not count for count in self._counts.values()):
            self._forget()
            return
        losses = {name: self._sums[name] / self._counts[name] for name in self.weights}
        self.first = self.first or losses
        norms = {name: float(pull.double().norm()) / self._counts[name] for name, pull in self._pulls.items()}
        pulls = {name: self.weights[name] * norms[name] for name in self.weights}
        ratios = {name: losses[name] / max(self.first[name], 1e-12) for name in self.weights}
        mean_pull, mean_ratio = (sum(part.values()) / len(part) for part in (pulls, ratios))
        for name in self.weights:
            target = mean_pull * (ratios[name] / max(mean_ratio, 1e-12)) ** self.alpha
            sign = (pulls[name] > target) - (pulls[name] < target)
            self.weights[name] = max(self.weights[name] - self.rate * sign * norms[name], LEAST)
        scale = len(self.weights) / sum(self.weights.values())
        self.weights = {name: weight * scale for name, weight in self.weights.items()}
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """The weights, and each task's first loss."""
        return {"weights": dict(self.weights), "first": dict(self.first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.weights = {name: float(state["weights"][name]) for name in self.weights}
        self.first = {name: float(value) for name, value in state["first"].items()}


def shared(model: Transformer) -> torch.nn.Parameter:
    """The last matrix that all tasks share and that learns: that of the last block.

    A `UserError` where none learns there.
    """
    found = [p for p in model.blocks[-1].parameters() if p.dim() == 2 and p.requires_grad]
    if not found:
        what = "gradnorm looks at a matrix of the last block, and none learns"
        raise UserError(what, where="recipe: several.weighting", remedy="Use uncertainty, or let the last block learn")
    return found[-1]
