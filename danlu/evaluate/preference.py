"""Does a model prefer the chosen answer? With a reference, as DPO means it; without, by its own likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from danlu.evaluate.stats import wilson
from danlu.model.transformer import Transformer
from danlu.objectives.dpo import DPO
from danlu.tokens.batches import collate_pairs
from danlu.tokens.chat import Rendered


@dataclass(frozen=True)
class Preference:
    """Means over held-out pairs. ``accuracy`` counts a tie as half, and ``loss`` is DPO's, without smoothing."""

    pairs: int
    accuracy: float
    low: float
    high: float
    margin: float
    chosen_logprob: float
    rejected_logprob: float
    chosen_shift: float
    loss: float


@torch.no_grad()
def preference(
    model: Transformer,
    reference: Transformer,
    pairs: Sequence[tuple[Rendered, Rendered]],
    *,
    beta: float,
    pad_id: int,
    rows: int = 16,
) -> Preference:
    """Accuracy with its 95 % interval, mean margin and log-probabilities over ``pairs``."""
    objective, sums = DPO(reference, beta=beta), dict[str, float]()
    for start in range(0, len(pairs), rows):
        batch = collate_pairs(pairs[start : start + rows], length=model.config.max_length, pad_id=pad_id)
        loss, parts = objective(model, batch.to(model.embed.weight.device))
        for name, value in {**parts, "loss": loss}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    low, high = wilson(sums.get("accuracy", 0.0), len(pairs))
    means = {name: value / max(len(pairs), 1) for name, value in sums.items()}
    return Preference(len(pairs), low=low, high=high, **means)
