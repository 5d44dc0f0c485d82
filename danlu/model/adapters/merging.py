"""An adapter made one with its base: exact but for the rounding of a sum, which is measured."""

import torch
from torch import Tensor

from danlu.base.seed import generator
from danlu.model.adapters import bottleneck, prefix, prompt
from danlu.model.adapters.bottleneck import Bottlenecked
from danlu.model.adapters.ia3 import Ia3Linear
from danlu.model.adapters.kinds import check_merges
from danlu.model.adapters.lora import LoraLinear, put
from danlu.model.adapters.prefix import Prefixed
from danlu.model.adapters.rows import TrainableRows
from danlu.model.adapters.virtual import Prompted
from danlu.model.transformer import Transformer

MEASURED = (4, 128)  # sequences and tokens of each
UNMERGED = {Prefixed: prefix.TYPE, Prompted: prompt.TYPE, Bottlenecked: bottleneck.TYPE}


def merge(model: Transformer) -> Transformer:
    """``model`` itself, every layer that an adapter changed replaced by one of the same effect.

    A `UserError` for what no weight can hold.
    """
    for module in model.modules():
        kind = next((kind for part, kind in UNMERGED.items() if isinstance(module, part)), None)
        check_merges(kind, None)
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear | Ia3Linear):
            put(model, name, module.merged())
        elif isinstance(module, TrainableRows):
            put(model, name, module.table)
    return model.requires_grad_(True)


@torch.no_grad()
def logits_on_samples(model: Transformer, seed: int = 0) -> Tensor:
    """What ``model`` says to `MEASURED` ids drawn evenly from its vocabulary, [B, T, V] in float32."""
    rows, length = MEASURED[0], min(MEASURED[1], model.config.max_length)
    ids = generator(seed, "merge").integers(model.config.vocab_size, size=(rows, length))
    model.eval()
    return model(torch.from_numpy(ids).to(model.embed.weight.device)).float()


def largest_difference(one: Tensor, other: Tensor) -> float:
    """The largest distance of two logits; not a number where one of them is none."""
    return float((one - other).abs().max())
