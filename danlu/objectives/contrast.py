"""Vectors of texts: what belongs together comes close, what does not is pushed apart.

With pairs alone: InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) over the cosine divided by a temperature, the
other pairs of the group being the negatives (Henderson et al. 2017, arXiv:1705.00652; SimCSE: Gao et al. 2021). With a
degree for each pair: the squared error of the cosine (Reimers and Gurevych 2019, section 3).

What is a micro-batch here? Negatives come from the batch, so elsewhere a batch that is cut learns something else. Here
a batch is made of groups, [G, P, S, T], whose pairs see one another and nobody else, and a micro-batch holds whole
groups: so the update is the same however it is cut. The price is said by the recipe: with micro-batches a group is
smaller than a batch. A text that is the same as the wanted one is no negative.

Legend: G groups, P pairs, S sides (query, positive, maybe negative), T tokens, D width.
"""

import torch
from torch import Tensor, nn

from danlu.model.task_heads import Pooling, pooled
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch

DEGREE = "degree"  # among a batch's extra tensors: [G, P], the cosine that a pair should have


def vectors(model: Transformer, ids: Tensor, segments: Tensor, pooling: Pooling) -> Tensor:
    """One vector of length 1 a text. ids, segments: [N, T] -> [N, D], float32."""
    return nn.functional.normalize(pooled(model.features(ids, segments), segments, pooling).float(), dim=-1)


class Contrast:
    """The loss over pairs; ``temperature`` is of InfoNCE."""

    def __init__(self, pooling: Pooling, *, temperature: float = 0.05) -> None:
        self.pooling, self.temperature = pooling, temperature

    def weight(self, batch: Batch) -> float:
        """Pairs."""
        return float(batch.ids.shape[0] * batch.ids.shape[1])

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The loss sum over pairs. The accuracy of InfoNCE: is the wanted text the closest?"""
        assert isinstance(model, Transformer)
        ids, segments = batch.ids.flatten(0, 2), batch.segments.flatten(0, 2)
        ledger = ledger_of(model, batch.mask.flatten(0, 2))
        hidden = model.features(ids, segments, ledger=ledger)
        made = nn.functional.normalize(pooled(hidden, segments, self.pooling).float(), dim=-1)
        sides = made.view(*batch.ids.shape[:3], -1)  # [G, P, S, D]
        if DEGREE in batch.extra:
            cosine = (sides[:, :, 0] * sides[:, :, 1]).sum(-1)  # [G, P]
            error = cosine - batch.extra[DEGREE].float()
            return settled((error.square().sum(), {"absolute_error": error.detach().abs().sum()}), model, ledger)
        scores = torch.einsum("gpd,gqsd->gpsq", sides[:, :, 0], sides[:, :, 1:]) / self.temperature  # [G, P, S-1, P]
        scores = scores.masked_fill(_same(batch.ids, batch.segments), float("-inf"))
        wanted = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[:2])
        flat = scores.flatten(2)  # the positives of all pairs come first
        loss = nn.functional.cross_entropy(flat.flatten(0, 1), wanted.flatten(), reduction="sum")
        right = (flat.argmax(-1) == wanted).float().sum()
        return settled((loss, {"accuracy": right.detach()}), model, ledger)


def _same(ids: Tensor, segments: Tensor) -> Tensor:
    """What is no negative: the wanted text once more. ids, segments: [G, P, S, T] -> [G, P, S-1, P]."""
    texts = ids.masked_fill(segments < 0, -1)[:, :, 1:]  # [G, P, S-1, T]
    alike = (texts[:, None] == texts[:, :, :1, None]).all(-1)  # [G, P (whose), P, S-1]
    own = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)[:, :, None]  # [P, P, 1]
    wanted = torch.arange(texts.shape[2], device=ids.device) == 0  # [S-1]
    return (alike & ~(own & wanted)).transpose(2, 3)
