"""Direct preference optimisation (Rafailov et al. 2023).

loss = -log σ(β · ((log π(chosen) - log π_ref(chosen)) - (log π(rejected) - log π_ref(rejected)))),
with label smoothing ε as in the conservative variant (Mitchell 2023). Optionally a next-token term on the
chosen answers (``anchor``; RPO, Pang et al. 2024), because DPO alone is content to make both answers rarer.
The log-probability of the chosen answer is reported beside the margin for that reason.
"""

import copy

import torch
from torch import Tensor, nn

from danlu.model.transformer import Transformer
from danlu.objectives.next_token import sequence_log_probabilities
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch


class DPO:
    """Batches hold pairs: ids, mask and segments are [P, 2, T], chosen first. ``reference`` stays as it is."""

    def __init__(
        self, reference: Transformer, *, beta: float = 0.1, smoothing: float = 0.0, anchor: float = 0.0
    ) -> None:
        self.reference = copy.deepcopy(reference).requires_grad_(False).eval()
        self.beta, self.smoothing, self.anchor = beta, smoothing, anchor

    def weight(self, batch: Batch) -> float:
        """Pairs."""
        return float(batch.ids.shape[0])

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The loss sum over pairs; metrics are sums over pairs too."""
        assert isinstance(model, Transformer)
        ids, mask, segments = batch.ids.flatten(0, 1), batch.mask.flatten(0, 1), batch.segments.flatten(0, 1)
        policy = sequence_log_probabilities(model, ids, mask, segments).view(-1, 2)  # [P, 2]
        with torch.no_grad():
            frozen = sequence_log_probabilities(self.reference, ids, mask, segments).view(-1, 2)
        ratio = policy - frozen
        margin = self.beta * (ratio[:, 0] - ratio[:, 1])  # [P]
        win, lose = nn.functional.logsigmoid(margin), nn.functional.logsigmoid(-margin)
        loss = -(1 - self.smoothing) * win - self.smoothing * lose
        if self.anchor:
            lengths = batch.mask[:, 0, 1:].sum(-1).clamp_min(1.0)
            loss = loss - self.anchor * policy[:, 0] / lengths
        metrics = {
            "accuracy": (margin > 0).float().sum() + 0.5 * (margin == 0).float().sum(),
            "margin": margin.sum(),
            "chosen_logprob": policy[:, 0].sum(),
            "rejected_logprob": policy[:, 1].sum(),
            "chosen_shift": ratio[:, 0].sum(),
        }
        return loss.sum(), {name: value.detach() for name, value in metrics.items()}
