"""Predict the next token: pretraining, and fine-tuning when the mask covers only the answers."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import cross_entropy_and_z, log_probabilities
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch


class NextToken:
    """Σ over targets of mask · -log p(id | earlier ids of the same segment), in nats.

    With ``z_loss`` that times the square of the softmax's normaliser is added; the metric of that name is what it adds.
    ``smoothing`` is that of the labels: what is held out is measured without.
    """

    def __init__(self, z_loss: float = 0.0, smoothing: float = 0.0) -> None:
        self.z_loss, self.smoothing = z_loss, smoothing

    def weight(self, batch: Batch) -> float:
        """The mask's sum; the first column is nobody's target."""
        return float(batch.mask[..., 1:].sum(dtype=torch.float64))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Only positions with a weight reach the output layer."""
        assert isinstance(model, Transformer)
        check_sight(model)
        ledger = ledger_of(model, predicting(batch.mask))
        hidden = model.hidden(batch.ids, batch.segments, ledger=ledger)
        return settled(self.from_hidden(model, hidden, batch), model, ledger)

    def from_hidden(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """The loss sum once the model has run. hidden: [B, T, D]."""
        picked, targets, weights, _ = kept(hidden, batch.ids, batch.mask)
        options = output_of(model) | {"z_loss": self.z_loss, "smoothing": self.smoothing}
        total, added = cross_entropy_and_z(picked, model.output_weight, targets, weights, **options)
        return total, {"z_loss": added} if self.z_loss else {}


def check_sight(model: Transformer) -> None:
    """A `UserError` for an encoder: it sees the next token, so that to predict it is no achievement."""
    if not model.config.causal:
        raise UserError("an encoder sees the tokens that it would have to predict", remedy="Use a causal model")


def predicting(mask: Tensor) -> Tensor:
    """What the token after each position counts. [B, T] -> [B, T]."""
    return nn.functional.pad(mask[:, 1:], (0, 1))


def output_of(model: Transformer) -> dict[str, Any]:
    """What the output layer does beside its product: bias, cap and scale, as the losses of `linear_loss` take them."""
    config = model.config
    return {
        "bias": model.output_bias,
        "cap": config.logit_cap,
        "scale": config.logit_scale,
    }


def kept(hidden: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The positions whose next token counts. hidden: [B, T, D]; ids, mask: [B, T].

    Returns hidden [N, D], targets [N], weights [N], and the row of each, [N].
    """
    hidden, counts = hidden[:, :-1], mask[:, 1:] != 0
    rows = counts.nonzero(as_tuple=True)[0]
    if bool(counts.all()):  # a plain view is cheaper than a gather, and pretraining is nearly always here
        return hidden.flatten(0, 1), ids[:, 1:].flatten(), mask[:, 1:].flatten(), rows
    return hidden[counts], ids[:, 1:][counts], mask[:, 1:][counts], rows


def select(model: Transformer, ids: Tensor, mask: Tensor, segments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the model and keep the positions whose next token counts, as `kept` does. ids, mask, segments: [B, T]."""
    return kept(model.hidden(ids, segments), ids, mask)


def sequence_log_probabilities(model: Transformer, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
    """Σ mask · log p over each row. ids, mask, segments: [B, T] -> [B], float32, differentiable."""
    check_sight(model)
    hidden, targets, weights, rows = select(model, ids, mask, segments)
    logp = log_probabilities(hidden, model.output_weight, targets, **output_of(model)) * weights
    return torch.zeros(ids.shape[0], device=logp.device).index_add(0, rows, logp)
