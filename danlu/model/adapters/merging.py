"""An adapter made one with its base: exact but for the rounding of a sum, which is measured."""

import torch
from torch import Tensor

from danlu.base.seed import generator
from danlu.model.adapters import bottleneck, prefix, prompt
from danlu.model.adapters.bottleneck import Bottlenecked
from danlu.model.adapters.ia3 import Ia3Linear
from danlu.model.adapters.kinds import check_merges
from danlu.model.adapters.layers import put
from danlu.model.adapters.lora import LoraLinear, quantise
from danlu.model.adapters.prefix import Prefixed
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.rows import TrainableRows
from danlu.model.adapters.virtual import Prompted
from danlu.model.quantized import Nf4Linear
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
    return whole(model)


def whole(model: Transformer) -> Transformer:
    """``model`` itself, with every layer in four bits replaced by one of the same numbers; all can be trained."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Nf4Linear):
            put(model, name, module.linear())
    return model.requires_grad_(True)


def round_again(model: Transformer) -> Transformer:
    """``model`` itself, every linear layer of its blocks rounded to NF4 and kept as the float32 numbers that it means.

    Scales are whole, so that rounding those numbers again, here or by bitsandbytes, changes nothing any more.
    """
    quantise(model, Quantization(double=False))
    return whole(model)


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


def movement(before: Tensor, after: Tensor) -> dict[str, float]:
    """How far logits went: the largest and the mean difference, and the divergence in nats."""
    mean = float((before - after).abs().mean())
    found = {"largest_difference": largest_difference(before, after), "mean_difference": mean}
    return found | {"divergence": divergence(before, after)}


def divergence(one: Tensor, other: Tensor) -> float:
    """The mean Kullback-Leibler divergence in nats of what ``other``'s logits say from what ``one``'s do."""
    sure, found = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return float((sure.exp() * (sure - found)).sum(dim=-1).mean())
