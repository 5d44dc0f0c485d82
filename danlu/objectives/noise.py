"""Noise on the embeddings a model reads while it is trained: NEFTune (Jain et al. 2023, arXiv:2310.05914).

Each number of the embedded sequence of L tokens and width D gets a draw from ±α/√(L·D), uniformly. In a packed row L is
the length of the token's own document, so packing changes no document's noise but for its draws. They follow from the
seed and the number of the row in the run (`danlu.tokens.numbered`), so neither a stop nor how a batch is cut changes
them. Padding gets none, and what is held out is measured without. The model knows nothing of it: what the embedding
gives is added to at its door.

Legend: B batch, T time, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.seed import derive
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Metrics, Objective
from danlu.tokens.batches import Batch
from danlu.tokens.numbered import ROW


@contextmanager
def embedded_with(model: Transformer, change: Tensor) -> Iterator[None]:
    """While it is open, ``change`` [B, T, D] is added to what the embedding gives for a whole batch."""

    def add(_: nn.Module, given: object, out: Tensor) -> Tensor:
        if out.shape != change.shape:
            what = (
                f"embeds {list(out.shape)} where a batch is {list(change.shape)}, so its embeddings cannot be changed"
            )
            raise UserError(f"this model {what}", remedy="Leave out neftune and adversarial")
        return out + change

    handle = model.embed.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def lengths(segments: Tensor) -> Tensor:
    """Of each token's own document. segments: [B, T], -1 is padding -> [B, T], float32."""
    return own_sum(torch.ones_like(segments, dtype=torch.float32), segments)


def own_sum(values: Tensor, segments: Tensor) -> Tensor:
    """Of each token's own document the sum over its tokens. values, segments: [B, T] -> [B, T]."""
    place = segments.long() + 1
    sums = values.new_zeros(values.shape[0], int(place.max()) + 1).scatter_add(1, place, values)
    return sums.gather(1, place)


def uniform(model: Transformer, batch: Batch, seed: int) -> Tensor:
    """Draws from -1 to 1 for each number of the embedded batch, by the numbers of its rows; of padding 0. [B, T, D]."""
    length, width = batch.ids.shape[1], model.config.width
    rows = []
    for number in batch.extra[ROW].tolist():
        draw = torch.Generator().manual_seed(derive(seed, number))
        rows.append(torch.empty(length, width).uniform_(-1, 1, generator=draw))
    return torch.stack(rows).to(batch.ids.device) * (batch.segments >= 0).unsqueeze(-1)


class Neftune:
    """``objective`` of batches that are embedded with noise; their rows must be numbered."""

    def __init__(self, objective: Objective, alpha: float, seed: int) -> None:
        self.objective, self.alpha, self.seed = objective, alpha, seed

    def weight(self, batch: Batch) -> float:
        """That of the objective."""
        return self.objective.weight(batch)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The objective's, of what is embedded with noise."""
        assert isinstance(model, Transformer)
        size = self.alpha / (lengths(batch.segments) * model.config.width).sqrt()  # [B, T]
        with embedded_with(model, uniform(model, batch, self.seed) * size.unsqueeze(-1)):
            return self.objective(model, batch)
