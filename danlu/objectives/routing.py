"""The losses of experts' routers, added to an objective's: gradients of their own, and nothing in the value.

The value stays what the objective says, comparable between models and with held-out text; what the routers did is in
the metrics ``balance`` and ``router_z``. Evaluation pays nothing.
"""

import torch
from torch import Tensor

from danlu.model.moe import Ledger
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Metrics


def ledger_of(model: Transformer, weights: Tensor) -> Ledger | None:
    """What routers write in while the model runs, tokens counting by ``weights`` [B, T]; None where none would."""
    return Ledger(weights) if model.config.experts and torch.is_grad_enabled() else None


def settled(loss: tuple[Tensor, Metrics], model: Transformer, ledger: Ledger | None) -> tuple[Tensor, Metrics]:
    """``loss`` with the gradients and the metrics of the routers."""
    if ledger is None or model.config.experts is None:
        return loss
    added = ledger.loss(model.config.experts)
    sums = {name: value.detach() for name, value in ledger.sums().items()}
    return loss[0] + (added - added.detach()), loss[1] | sums
