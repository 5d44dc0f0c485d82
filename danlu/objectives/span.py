"""Where in a context the answer stands: its first and its last token (BERT for SQuAD: Devlin et al. 2019, section 4.2).

Cross-entropy of both places over the tokens of a row, averaged, as the classes of transformers compute it. A window
without the answer is to point at its first token, and so is a question that has none (SQuAD 2.0, section 4.3).

Legend: B rows, T tokens, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from danlu.model.task_heads import head_of
from danlu.model.transformer import Transformer
from danlu.objectives.labelled import counted
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch

SPAN = "span"  # among a batch's extra tensors: [B, 2], the first and the last token
BEST = 20  # places of each kind that are tried together, as in BERT's script


class Span:
    """(-log p(first) - log p(last)) / 2."""

    def __init__(self, task: str) -> None:
        self.task = task

    def weights(self, batch: Batch) -> Tensor:
        """What the rows count. [B]."""
        return counted(batch)

    def logits(self, model: Transformer, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, T, D] -> [B, T, 2]; padding is no place."""
        found = head_of(model, self.task)(hidden)
        return found.masked_fill((batch.segments < 0).unsqueeze(-1), float("-inf"))

    def losses(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """[B, T, D] -> [B]; the accuracy is of both places."""
        logits, wanted, weights = self.logits(model, hidden, batch), batch.extra[SPAN], counted(batch)
        loss = nn.functional.cross_entropy(logits, wanted, reduction="none").mean(-1)
        right = (logits.argmax(1) == wanted).all(-1)
        return loss * weights, {"accuracy": right.float() * weights}


class Found(NamedTuple):
    """The best answer of a row: characters of the context, its score, and that of there being none."""

    begin: int
    end: int
    score: float
    none: float


def best_span(logits: Tensor, places: Sequence[tuple[int, int]], longest: int) -> Found:
    """The best pair of places in a row. logits: [T, 2]; ``places`` are the characters of each token, (-1, -1) of none.

    The score is the sum of both logits; only the `BEST` first and last places are tried together.
    """
    count = len(places)
    real = torch.tensor([place[1] > place[0] >= 0 for place in places])
    scores = logits[:count].masked_fill(~real.unsqueeze(-1), float("-inf"))
    firsts, lasts = (scores[:, side].topk(min(BEST, count)) for side in (0, 1))
    found = Found(0, 0, float("-inf"), float(logits[0].sum()))
    for first_score, first in zip(firsts.values.tolist(), firsts.indices.tolist(), strict=True):
        for last_score, last in zip(lasts.values.tolist(), lasts.indices.tolist(), strict=True):
            if first <= last < first + longest and first_score + last_score > found.score:
                found = Found(places[first][0], places[last][1], first_score + last_score, found.none)
    return found


def span_of(places: Sequence[tuple[int, int]], begin: int, end: int) -> list[int]:
    """The first and last token of the characters ``[begin, end)``, or [0, 0] where a window has not all of them."""
    inside = [i for i, (a, b) in enumerate(places) if b > a >= 0 and a < end and b > begin]
    whole = inside and places[inside[0]][0] <= begin and places[inside[-1]][1] >= end
    return [inside[0], inside[-1]] if whole else [0, 0]
