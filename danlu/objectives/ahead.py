"""Predict the next token and, at a smaller weight, the tokens after it (multi-token prediction).

The heads are in `danlu.model.heads`, which says which form this is and why. Head k reads, at position i, what was known
there and the tokens up to i + k, and predicts token i + k + 1, if that is a target of the same segment. As in
DeepSeek-V3 the heads' losses count together ``ahead`` times their mean; all are divided by the next token's weight, so
that the update stays the same however a batch is cut.

Legend: B batch, T time, D width, N positions from which any head predicts.
"""

import torch
from torch import Tensor, nn

from danlu.model.heads import AheadBlock, heads_of
from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import cross_entropy_sum
from danlu.objectives.next_token import NextToken, check_sight, output_of, predicting
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.tokens.batches import Batch


class NextTokens(NextToken):
    """The next token's loss, and those of the heads; metrics tell them apart: ``next_token``, ``ahead_1``, ..."""

    def __init__(self, ahead: float = 0.3, z_loss: float = 0.0) -> None:
        super().__init__(z_loss)
        self.ahead = ahead

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """The model runs once; heads run at the positions from which they predict."""
        assert isinstance(model, Transformer)
        check_sight(model)
        ledger = ledger_of(model, predicting(batch.mask))
        hidden = model.hidden(batch.ids, batch.segments, ledger=ledger)
        total, metrics = self.from_hidden(model, hidden, batch)
        metrics["next_token"] = total.detach() - metrics.get("z_loss", 0.0)
        blocks = heads_of(model).blocks
        counts = [targets(batch.mask, batch.segments, k) for k in range(1, len(blocks) + 1)]
        rows, places = torch.stack(counts).any(dim=0).nonzero(as_tuple=True)
        stream, end = hidden[rows, places], batch.ids.shape[1] - 1
        for k, (block, counted) in enumerate(zip(blocks, counts), 1):
            assert isinstance(block, AheadBlock)
            # Where head k has no target but another has, it may read past a border: nothing comes of it.
            between = model.embed(batch.ids[rows, (places + k).clamp(max=end)]).to(stream.dtype)
            stream, picked = block(stream, between), counted[rows, places]
            cells = rows[picked], places[picked] + k + 1
            read, weights = block.norm(stream[picked]), batch.mask[cells]
            loss = cross_entropy_sum(read, model.output_weight, batch.ids[cells], weights, **output_of(model))
            total = total + loss * (self.ahead / len(blocks))
            metrics[f"ahead_{k}"] = loss.detach()
        return settled((total, metrics), model, ledger)


def targets(mask: Tensor, segments: Tensor, k: int) -> Tensor:
    """From which positions head ``k`` predicts: token i + k + 1 counts and is of i's segment. [B, T] -> [B, T]."""
    found = torch.zeros_like(mask, dtype=torch.bool)
    found[:, : -k - 1] = (mask[:, k + 1 :] != 0) & (segments[:, k + 1 :] == segments[:, : -k - 1])
    return found
