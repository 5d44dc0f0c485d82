"""R-Drop (Liang et al. 2021, arXiv:2106.14448): read twice with different dropout, and agree.

loss = ½ (CE₁ + CE₂) + α · ½ (KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)) over the targets, as in the code that its authors give for
other projects; the paper's own sum is twice the first part, so its α is twice this one. Both passes draw their own
dropout, and gradients flow into both. Probabilities of all positions are never held: `danlu.objectives.linear_loss`
makes the divergence, and its gradient, chunk by chunk. It costs a second pass through the model, forward and backward.

Left out: the two passes as one batch of twice the size, which is no faster and needs the memory of both at once anyway.
"""

from torch import Tensor, nn

from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import symmetric_divergence
from danlu.objectives.next_token import NextToken, check_sight, kept, output_of, predicting
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch


class RDrop(NextToken):
    """The next token's loss, the mean of two passes, and ``alpha`` times how far the two are apart (metric rdrop)."""

    def __init__(self, alpha: float, z_loss: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__(z_loss, smoothing)
        self.alpha = alpha

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Without dropout in ``model`` both passes are the same and the second is in vain."""
        assert isinstance(model, Transformer)
        check_sight(model)
        found, picked = list[tuple[Tensor, Metrics]](), list[Tensor]()
        for _ in range(2):
            ledger = ledger_of(model, predicting(batch.mask))
            hidden = model.hidden(batch.ids, batch.segments, ledger=ledger)
            picked.append(kept(hidden, batch.ids, batch.mask)[0])
            found.append(settled(self.from_hidden(model, hidden, batch), model, ledger))
        weights = kept(hidden, batch.ids, batch.mask)[2]
        apart = symmetric_divergence(picked[0], picked[1], model.output_weight, weights, **output_of(model))
        (first, metrics), (second, others) = found
        mean = {name: (value + others[name]) / 2 for name, value in metrics.items()}
        return (first + second) / 2 + self.alpha * apart, mean | {"rdrop": apart.detach()}
