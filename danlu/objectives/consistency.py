"""Texts without labels: what is said of a text should be said of the text slightly changed too.

Unsupervised data augmentation (UDA: Xie et al. 2020, arXiv:1904.12848): the distribution over labels that the model
gives an unlabelled text, sharpened by a temperature and not trained, is the target for a changed copy of it, where
its largest probability reaches the threshold. A copy is changed by dropping some tokens and replacing others by tokens
drawn as often as they occur; what is drawn depends on the seed and the row's number alone, as masks do, so a cut
batch or a stopped run changes nothing. Left out: back-translation, which needs a translator.

A batch's loss is divided by its labelled rows. As rows of both kinds come in fixed shares, ``weight`` stays what it
says: the mean over unlabelled rows counts so many times the mean over labelled ones.

Legend: B rows, T tokens, L labels.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.base.seed import generator
from danlu.model.transformer import Transformer
from danlu.objectives.classify import LABEL, Classify
from danlu.objectives.labelled import Labelled, counted
from danlu.objectives.multitask import of_task
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch, Source
from danlu.tokens.examples import padded

CHANGED, CHANGED_SEGMENTS = "changed", "changed_segments"  # among a batch's extra tensors, [B, T]


class Consistency:
    """The loss of labelled rows plus that of unlabelled ones, whose label is -1."""

    def __init__(
        self, classify: Classify, *, weight: float, ratio: float, threshold: float = 0.8, temperature: float = 0.4
    ) -> None:
        self.classify, self.labelled = classify, Labelled(classify)
        self.scale, self.threshold, self.temperature = weight / ratio, threshold, temperature

    def weight(self, batch: Batch) -> float:
        """Labelled rows."""
        return self.labelled.weight(of_task(batch, batch.extra[LABEL] >= 0))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Both sums in one; ``used`` counts the unlabelled rows that were sure enough."""
        assert isinstance(model, Transformer)
        known = batch.extra[LABEL] >= 0
        total, metrics = torch.zeros((), device=batch.ids.device), dict[str, Tensor]()
        if bool(known.any()):
            total, metrics = self.labelled(model, of_task(batch, known))
        zero = torch.zeros((), device=batch.ids.device)
        metrics = {"accuracy": zero} | metrics | {"consistency": zero, "used": zero}
        if not bool((~known).any()):
            return total, metrics
        part = of_task(batch, ~known)
        with torch.no_grad():
            before = self.classify.logits(model, model.features(part.ids, part.segments), part)
            sure = (torch.softmax(before, -1).amax(-1) >= self.threshold).float() * counted(part)  # [U]
            target = torch.softmax(before / self.temperature, -1)
        other = Batch(part.extra[CHANGED], part.mask, part.extra[CHANGED_SEGMENTS])
        after = self.classify.logits(model, model.features(other.ids, other.segments), other)
        apart = nn.functional.kl_div(torch.log_softmax(after, -1), target, reduction="none").sum(-1) * sure
        found = {"consistency": apart.detach().sum(), "used": sure.sum()}
        return total + self.scale * apart.sum(), metrics | found


class Changer:
    """Changes rows of batches. ``kept`` are ids that stay where they are; ``weights`` say how often each id occurs."""

    def __init__(self, counts: dict[int, int], kept: set[int], *, share: float, pad_id: int, seed: int) -> None:
        ids = sorted(set(counts) - kept)
        self._ids = np.asarray(ids, np.int64)
        self._sums = np.cumsum(np.asarray([counts[i] for i in ids], np.float64))
        self._kept, self._share, self._pad_id, self._seed = np.asarray(sorted(kept), np.int64), share, pad_id, seed

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be taken up."""
        return {"share": self._share, "seed": self._seed, "ids": len(self._ids)}

    def __call__(self, batch: Batch, row: int) -> Batch:
        """``batch`` with a changed copy of each row beside it; its first row is number ``row``."""
        rows = []
        for i in range(len(batch)):
            ids = batch.ids[i][batch.segments[i] >= 0].numpy()
            draw = generator(self._seed, "change", row + i)
            fate = np.where(np.isin(ids, self._kept), 1.0, draw.random(len(ids)))
            other = self._ids[np.searchsorted(self._sums, draw.random(len(ids)) * self._sums[-1], side="right")]
            changed = np.where(fate < self._share, other, ids)
            left = changed[fate >= self._share / 2]
            rows.append((left if len(left) else ids).tolist())
        made, segments = padded(rows, self._pad_id)
        extra = {**batch.extra, CHANGED: made, CHANGED_SEGMENTS: segments}
        return Batch(batch.ids, batch.mask, batch.segments, extra, batch.names)


class ChangedBatches:
    """The batches of ``source`` with changed copies; ``rows`` dealt so far are all the state beside its own."""

    def __init__(self, source: Source, changer: Changer) -> None:
        self._source, self._changer, self.rows = source, changer, 0

    def __iter__(self) -> "ChangedBatches":
        return self

    def __next__(self) -> Batch:
        batch = next(self._source)
        self.rows += len(batch)
        return self._changer(batch, self.rows - len(batch))

    def state_dict(self) -> dict[str, Any]:
        """The number of the next row, and where the source stands."""
        return {"rows": self.rows, "changing": self._changer.identity, "source": self._source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. What is changed follows from the recipe, which a run taken up has in common."""
        self._source.load_state_dict(state["source"])
        self.rows = int(state["rows"])
