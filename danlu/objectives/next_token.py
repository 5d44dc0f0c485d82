"""Predict the next token: pretraining, and fine-tuning when the mask covers only the answers."""

import torch
from torch import Tensor, nn

from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import cross_entropy_sum, log_probabilities
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch


class NextToken:
    """Σ over targets of mask · -log p(id | earlier ids of the same segment), in nats."""

    def weight(self, batch: Batch) -> float:
        """The mask's sum; the first column is nobody's target."""
        return float(batch.mask[..., 1:].sum(dtype=torch.float64))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Only positions with a weight reach the output layer."""
        assert isinstance(model, Transformer)
        hidden, targets, weights, _ = select(model, batch.ids, batch.mask, batch.segments)
        return cross_entropy_sum(hidden, model.output_weight, targets, weights), {}


def select(model: Transformer, ids: Tensor, mask: Tensor, segments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the model and keep the positions whose next token counts. ids, mask, segments: [B, T].

    Returns hidden [N, D], targets [N], weights [N], and the row of each, [N].
    """
    hidden = model.hidden(ids, segments)[:, :-1]
    kept = mask[:, 1:] != 0
    rows = kept.nonzero(as_tuple=True)[0]
    if bool(kept.all()):  # a plain view is cheaper than a gather, and pretraining is nearly always here
        return hidden.flatten(0, 1), ids[:, 1:].flatten(), mask[:, 1:].flatten(), rows
    return hidden[kept], ids[:, 1:][kept], mask[:, 1:][kept], rows


def sequence_log_probabilities(model: Transformer, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
    """Σ mask · log p over each row. ids, mask, segments: [B, T] -> [B], float32, differentiable."""
    hidden, targets, weights, rows = select(model, ids, mask, segments)
    logp = log_probabilities(hidden, model.output_weight, targets) * weights
    return torch.zeros(ids.shape[0], device=logp.device).index_add(0, rows, logp)
