"""One label a text, any number of labels, or a number: cross-entropy, binary cross-entropies, squared error.

As the classes of transformers compute them (``problem_type``), summed over rows. Label smoothing spreads a share of
the wanted probability evenly over all labels (Szegedy et al. 2016, arXiv:1512.00567), as torch does.

Legend: B rows, T tokens, D width, L labels.
"""

from torch import Tensor, nn

from danlu.model.task_heads import Pooling, head_of, pooled
from danlu.model.transformer import Transformer
from danlu.objectives.labelled import counted
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch

LABEL, TARGET = "label", "target"  # among a batch's extra tensors: [B] a label's number; [B, L] of 0 and 1; [B] a score


class Classify:
    """-log p(label), or with ``multi`` the mean over labels of -log p(there or not)."""

    def __init__(self, task: str, pooling: Pooling, *, smoothing: float = 0.0, multi: bool = False) -> None:
        self.task, self.pooling, self.smoothing, self.multi = task, pooling, smoothing, multi

    def weights(self, batch: Batch) -> Tensor:
        """What the rows count. [B]."""
        return counted(batch)

    def logits(self, model: Transformer, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, T, D] -> [B, L], float32."""
        return head_of(model, self.task)(pooled(hidden, batch.segments, self.pooling))

    def losses(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """[B, T, D] -> [B], and the accuracy: all labels right, where there are several."""
        logits, weights = self.logits(model, hidden, batch), counted(batch)
        if self.multi:
            target = batch.extra[TARGET].float()[:, : logits.shape[1]]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
            right = ((logits > 0) == (target > 0.5)).all(-1)
        else:
            label = batch.extra[LABEL]
            loss = nn.functional.cross_entropy(logits, label, label_smoothing=self.smoothing, reduction="none")
            right = logits.argmax(-1) == label
        return loss * weights, {"accuracy": right.float() * weights}


class Regress:
    """(output - score)²; the metric is the absolute error. Scores should be about as large as 1."""

    def __init__(self, task: str, pooling: Pooling) -> None:
        self.task, self.pooling = task, pooling

    def weights(self, batch: Batch) -> Tensor:
        """What the rows count. [B]."""
        return counted(batch)

    def losses(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """[B, T, D] -> [B]."""
        found = head_of(model, self.task)(pooled(hidden, batch.segments, self.pooling)).squeeze(-1)
        difference, weights = found - batch.extra[TARGET].float(), counted(batch)
        return difference.square() * weights, {"absolute_error": difference.abs() * weights}
