"""Adversarial training: the embeddings of each document are moved to where the loss is worse, and learned from there
too.

fgm (Miyato et al. 2017, arXiv:1605.07725): after the gradient of the plain loss, one step of length ε along the
gradient of the document's embeddings, ε g / ‖g‖; the loss is the mean of the plain one and of that from there. freelb
(Zhu et al. 2020, arXiv:1909.11764, algorithm 1): K passes from a random start within ε, between two of them a step of a
given length along the gradient, brought back into the ball of radius ε; the loss is the mean of the K. As there, all
passes of a batch drop the same (section 3.3).

Lengths are L2 norms over all numbers of a document's embedding, each document of a packed row for itself; documents do
not see each other, so neither packing nor how a batch is cut changes them. The loop differentiates each loss before the
next is asked for: this module reads the gradient that this leaves in the change, and calls for none itself.

Left out: Miyato's normalised embeddings, for they would change the model; steps by the sign of a gradient (PGD).

Legend: B batch, T time, D width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from danlu.model.transformer import Transformer
from danlu.objectives.noise import embedded_with, lengths, own_sum, uniform
from danlu.objectives.objective import Metrics, Objective
from danlu.objectives.settings import Adversarial
from danlu.tokens.batches import Batch

SMALLEST = 1e-12  # of a norm that something is divided by


class Perturbed:
    """``objective`` where ``settings`` move the embeddings to; for a random start the rows must be numbered."""

    def __init__(self, objective: Objective, settings: Adversarial, seed: int) -> None:
        self.objective, self.settings, self.seed = objective, settings, seed

    def weight(self, batch: Batch) -> float:
        """That of the objective."""
        return self.objective.weight(batch)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The objective's own: what there is without gradients."""
        return self.objective(model, batch)

    def passes(self, model: nn.Module, batch: Batch) -> Iterator[tuple[Tensor, Metrics]]:
        """The mean loss in as many parts as there are passes, the gradient of the embeddings taken in between."""
        assert isinstance(model, Transformer)
        settings, drawn = self.settings, _random(batch.ids.device)
        change, count = self._start(model, batch), settings.passes
        for number in range(count):
            change = change.detach().requires_grad_(number + 1 < count)
            _draw_again(drawn)
            with embedded_with(model, change):
                loss, metrics = self.objective(model, batch)
            if number and settings.name == "fgm":
                metrics |= {"adversarial": loss.detach() * count}  # sums are divided by the number of passes below
            yield loss / count, {name: value / count for name, value in metrics.items()}
            if change.grad is None:  # the last pass, or one that was skipped
                return
            change = self._moved(change.detach(), change.grad, batch)

    def _start(self, model: Transformer, batch: Batch) -> Tensor:
        """Where the first pass is: the embedding itself, or a random place within ε / √(L D) of each number."""
        if self.settings.name == "fgm":
            return torch.zeros(*batch.ids.shape, model.config.width, device=batch.ids.device)
        size = self.settings.epsilon / (lengths(batch.segments) * model.config.width).sqrt()
        return uniform(model, batch, self.seed) * size.unsqueeze(-1)

    def _moved(self, change: Tensor, grad: Tensor, batch: Batch) -> Tensor:
        """A step along the gradient, within the ball. change, grad: [B, T, D] -> [B, T, D]."""
        grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)  # fp16 overflows now and then, and its steps are skipped later
        step = self.settings.epsilon if self.settings.name == "fgm" else self.settings.step
        moved = change + grad * (step / _norms(grad, batch).clamp_min(SMALLEST))
        return moved * (self.settings.epsilon / _norms(moved, batch).clamp_min(SMALLEST)).clamp_max(1.0)


def _norms(values: Tensor, batch: Batch) -> Tensor:
    """Of each token's own document. [B, T, D] -> [B, T, 1]."""
    return own_sum(values.square().sum(dim=-1), batch.segments).sqrt().unsqueeze(-1)


def _random(device: torch.device) -> tuple[Tensor, torch.device, Tensor | None]:
    """The state of what dropout draws from."""
    own = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), device, own


def _draw_again(state: tuple[Tensor, torch.device, Tensor | None]) -> None:
    """Let dropout draw what it drew then."""
    torch.set_rng_state(state[0])
    if state[2] is not None:
        torch.cuda.set_rng_state(state[2], state[1])
