"""The first weights: the same for a seed, each block the identity, nothing denormal."""

import torch
from torch import Tensor, nn

from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer

CONFIG = ModelConfig(vocab_size=97, layers=2, width=64, heads=4, kv_heads=2, head_width=16, feedforward=128)
TINIEST = torch.finfo(torch.float32).tiny  # bf16 and float32 have the same range


def weights(seed: int, layers: int = 2) -> dict[str, Tensor]:
    shape = {**CONFIG.__dict__, "layers": layers}
    return dict(Transformer(ModelConfig(**shape), seed).named_parameters())


def test_a_seed_decides_every_byte() -> None:
    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    second, other = weights(5), weights(6)
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [name for name in first if bool(first[name].std() > 0)]
    assert len(drawn) == 11  # embedding, and q, k, v, gate, up of both layers
    assert all((first[name] != other[name]).any() for name in drawn)


def test_one_more_layer_moves_no_other() -> None:
    few, more = weights(5, layers=1), weights(5, layers=3)
    assert all(torch.equal(few[name], more[name]) for name in few)
    assert not torch.equal(more["blocks.0.attention.q.weight"], more["blocks.1.attention.q.weight"])


def test_each_block_begins_as_the_identity() -> None:
    model = Transformer(CONFIG)
    for name, weight in model.named_parameters():
        if name.endswith(("o.weight", "down.weight")):
            assert not weight.any(), name
    ids = torch.arange(20)[None]
    assert torch.equal(model.hidden(ids), model.norm(model.embed(ids)))


def test_sizes() -> None:
    found = weights(0)
    assert abs(found["embed.weight"].std().item() / 0.02 - 1) < 0.05
    assert abs(found["blocks.0.attention.q.weight"].std().item() * 64**0.5 - 1) < 0.05
    assert abs(found["blocks.1.feedforward.up.weight"].std().item() * 64**0.5 - 1) < 0.05
    assert bool((found["norm.weight"] == 1).all())


def test_nothing_is_denormal() -> None:
    """Neither in the weights nor in what a first pass in bf16 computes from them."""
    model, seen = Transformer(CONFIG), list[Tensor]()
    model.compute_dtype = torch.bfloat16

    def look(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append(out)

    for module in model.modules():
        module.register_forward_hook(look)
    seen += [model(torch.arange(97)[None]), *model.parameters()]
    seen += [p.bfloat16() for p in model.parameters()]
    assert len(seen) > 60
    assert not any(((x != 0) & (x.abs() < TINIEST)).any() for x in seen)
