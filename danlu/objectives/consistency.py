"""Texts without labels: what is said of a text should be said of the text slightly changed too.

Unsupervised data augmentation (UDA: Xie et al. 2020, arXiv:1904.12848): the distribution over labels that the model
gives an unlabelled text, sharpened by a temperature and not trained, is the target for a changed copy of it, where
its largest probability reaches the threshold. How a copy is changed is in `danlu.tokens.changing`.

Where few labels are known, a model that leans to one label teaches itself that label. So what it says of a text is
first brought in line with the shares that labels have among the known (distribution alignment of ReMixMatch: Berthelot
et al. 2019, arXiv:1911.09785, section 3.1): times those shares, over the mean of what it said of the texts of past
steps.

A batch's loss is divided by its labelled rows. As rows of both kinds come in fixed shares, ``weight`` stays what it
says: the mean over unlabelled rows counts so many times the mean over labelled ones.

Legend: B rows, T tokens, L labels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.transformer import Transformer
from danlu.objectives.classify import LABEL, Classify
from danlu.objectives.labelled import Labelled, counted
from danlu.objectives.multitask import of_task
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch, Source
from danlu.tokens.changing import CHANGED, CHANGED_SEGMENTS, Changer

PAST, LEAST = 0.9, 1e-6  # the weight of past steps in the mean, and the least that it says of a label in a step


class Alignment:
    """Brings what is said of unlabelled texts in line with the ``shares`` of labels, [L].

    The mean is that of past steps, so a step that is cut in parts changes nothing: what is seen in a step counts from
    the next one on.
    """

    def __init__(self, shares: Tensor) -> None:
        self.shares = (shares.double() / shares.sum()).clamp(min=LEAST)
        self.mean = self.shares.clone()
        self.seen = torch.zeros(len(shares) + 1, dtype=torch.float64)  # of this step: the sum over texts, and how many

    def __call__(self, logits: Tensor, counts: Tensor) -> Tensor:
        """logits: [U, L], counts: [U], 0 for rows that only fill up -> aligned logits, [U, L]."""
        said = torch.softmax(logits.float(), -1).cpu().double()  # where it is summed: not every device has float64
        rows = counts.cpu().double().unsqueeze(0)  # [1, U]
        self.seen += torch.cat((rows @ said, rows.sum(1, keepdim=True)), dim=1).squeeze(0)
        return logits + (self.shares / self.mean).log().to(logits)

    def advance(self) -> None:
        """A step is over."""
        if self.seen[-1] > 0:
            now = (self.seen[:-1] / self.seen[-1]).clamp(min=LEAST)
            self.mean = PAST * self.mean + (1 - PAST) * now
        self.seen.zero_()

    def state_dict(self) -> dict[str, list[float]]:
        """The mean, and what has been seen since it was last brought up to date."""
        return {"mean": self.mean.tolist(), "seen": self.seen.tolist()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Go on from there."""
        self.mean, self.seen = (torch.tensor(state[name], dtype=torch.float64) for name in ("mean", "seen"))


class Consistency:
    """The loss of labelled rows plus that of unlabelled ones, whose label is -1."""

    def __init__(
        self,
        classify: Classify,
        *,
        weight: float,
        ratio: float,
        threshold: float = 0.8,
        temperature: float = 0.4,
        alignment: Alignment | None = None,
    ) -> None:
        self.classify, self.labelled, self.alignment = classify, Labelled(classify), alignment
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
            if self.alignment is not None:
                before = self.alignment(before, counted(part))
            sure = (torch.softmax(before, -1).amax(-1) >= self.threshold).float() * counted(part)  # [U]
            target = torch.softmax(before / self.temperature, -1)
        other = Batch(part.extra[CHANGED], part.mask, part.extra[CHANGED_SEGMENTS])
        after = self.classify.logits(model, model.features(other.ids, other.segments), other)
        apart = nn.functional.kl_div(torch.log_softmax(after, -1), target, reduction="none").sum(-1) * sure
        found = {"consistency": apart.detach().sum(), "used": sure.sum()}
        return total + self.scale * apart.sum(), metrics | found


class ChangedBatches:
    """The batches of ``source`` with changed copies; each is a step, before which the alignment is brought up to date.

    ``rows`` dealt so far and the alignment are all the state beside the source's.
    """

    def __init__(self, source: Source, changer: Changer, alignment: Alignment | None = None) -> None:
        self._source, self._changer, self._alignment, self.rows = source, changer, alignment, 0

    def __iter__(self) -> "ChangedBatches":
        return self

    def __next__(self) -> Batch:
        if self._alignment is not None:
            self._alignment.advance()
        batch = next(self._source)
        self.rows += len(batch)
        return self._changer(batch, self.rows - len(batch))

    def state_dict(self) -> dict[str, Any]:
        """The number of the next row, and where the source stands."""
        aligned = {} if self._alignment is None else {"alignment": self._alignment.state_dict()}
        own = {"rows": self.rows, "changing": self._changer.identity}
        return {**own, "source": self._source.state_dict(), **aligned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. What is changed follows from the recipe, which a run taken up has in common."""
        self._source.load_state_dict(state["source"])
        self.rows = int(state["rows"])
        if self._alignment is not None:
            self._alignment.load_state_dict(state["alignment"])
