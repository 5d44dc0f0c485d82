"""Heads are attached from outside: the model computes, and is saved, as if they were not there."""

from pathlib import Path

import pytest
import torch
from conftest import Tiny

from danlu.model.heads import attach, detach, heads_of
from danlu.model.hub import load_model, save_model
from danlu.train.optim import Optimizer
from danlu.train.settings import OptimizerSettings


def test_attaching_changes_nothing_and_detaching_leaves_nothing(tiny: Tiny, tmp_path: Path) -> None:
    model, ids = tiny(), torch.arange(12).view(1, 12)
    before, names = model(ids), [name for name, _ in model.named_parameters()]
    attach(model, 2, seed=0)
    assert torch.equal(model(ids), before)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} - {name.split(".")[0] for name in names} == {
        "ahead"
    }
    detach(model)
    detach(model)  # a second time there is nothing to do
    assert [name for name, _ in model.named_parameters()] == names
    save_model(model, tmp_path, {})
    assert torch.equal(load_model(tmp_path)(ids), before)


@pytest.mark.parametrize("config", [{}, {"norm": "layernorm", "activation": "gelu", "tied": False}])
def test_a_block_mixes_what_was_known_with_the_token_between(tiny: Tiny, config: dict[str, object]) -> None:
    """At first its feed-forward layer is silent; both inputs matter, and only their directions."""
    model = tiny(**config)
    attach(model, 3, seed=0)
    blocks = heads_of(model).blocks
    assert len(blocks) == 3
    draw = torch.Generator().manual_seed(0)
    hidden, token = torch.randn(5, 32, generator=draw), torch.randn(5, 32, generator=draw)
    block = blocks[1]
    joined = torch.cat([block.hidden_norm(hidden), block.token_norm(token)], dim=1)
    torch.testing.assert_close(block(hidden, token), joined @ block.mix.weight.t())
    torch.testing.assert_close(block(7 * hidden, 3 * token), block(hidden, token), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(block(hidden, token.flip(0)), block(hidden, token))
    assert not torch.equal(blocks[0].mix.weight, blocks[1].mix.weight)


def test_the_seed_decides_and_muon_takes_the_matrices(tiny: Tiny) -> None:
    models = [tiny(), tiny(), tiny()]
    for model, seed in zip(models, (0, 0, 1)):
        attach(model, 1, seed)
    one, same, other = (heads_of(model).blocks[0].mix.weight for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    state = Optimizer(models[0], OptimizerSettings(name="muon"), torch.float32).state()
    assert any(name.startswith("muon") and "ahead.blocks.0.mix" in name for name in state)
    assert not any(name.startswith("adamw") and "ahead.blocks.0.mix" in name for name in state)
