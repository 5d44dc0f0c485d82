"""Dropout of a run: on the modules and not in the configuration, and of attention's probabilities too."""

from pathlib import Path

import pytest
import torch
from conftest import Tiny

from danlu.base.errors import UserError
from danlu.model.attention import Scores, attend
from danlu.model.dropout import set_dropout
from danlu.model.hub import load_model, save_model
from danlu.model.transformer import drops
from tests.model.test_foreign import build

IDS = torch.arange(1, 41).view(2, 20)


def test_what_is_written_knows_nothing_of_it(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny().train()
    assert not drops(model)
    before = model(IDS)
    set_dropout(model, 0.5)
    assert drops(model)
    assert not torch.equal(model(IDS), model(IDS))
    assert torch.equal(model.eval()(IDS), before)
    assert model.config.dropout == 0
    save_model(model, tmp_path, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    assert not drops(load_model(tmp_path).train())


def test_the_models_own_is_left_or_taken_off(tiny: Tiny) -> None:
    model = tiny(dropout=0.3).train()
    set_dropout(model, None)
    assert drops(model)
    set_dropout(model, 0.0)
    assert not drops(model)
    assert torch.equal(model(IDS), model(IDS))


@pytest.mark.parametrize("cap", [0.0, 5.0])
def test_attention_drops_its_share_of_the_probabilities(cap: float) -> None:
    """Values that are one-hot show the probabilities themselves: a share is 0, the rest grown by 1 / (1 - share)."""
    draw = torch.Generator().manual_seed(1)
    q, k = (torch.randn(4, 2, 64, 64, generator=draw, requires_grad=True) for _ in range(2))
    v = torch.eye(64).expand(4, 2, 64, 64)
    bias = torch.zeros(4, 1, 64, 64)
    scores = Scores(cap=cap, causal=False)
    plain = attend(q, k, v, bias, scores)
    torch.manual_seed(0)
    found = attend(q, k, v, bias, scores, dropout=0.25)
    assert abs(float((found == 0).float().mean()) - 0.25) < 0.01
    torch.testing.assert_close(found[found != 0], (plain / 0.75)[found != 0])
    (grad,) = torch.autograd.grad(found.square().sum(), q)
    assert grad.isfinite().all()
    assert grad.any()


def test_attention_drops_in_training_alone(tiny: Tiny) -> None:
    model = tiny().train()
    before = model(IDS)
    set_dropout(model, None, attention=0.4)
    assert drops(model)
    assert not torch.equal(model(IDS), model(IDS))
    assert torch.equal(model.eval()(IDS), before)


def test_a_foreign_models_layers_are_set(tmp_path: Path) -> None:
    build("MptForCausalLM", tmp_path / "mpt")
    model = load_model(tmp_path / "mpt").train()
    with pytest.raises(UserError, match="recipe: attention_dropout"):
        set_dropout(model, None, attention=0.1)
    build("DistilBertForMaskedLM", tmp_path / "bert")
    encoder = load_model(tmp_path / "bert").train()
    assert not drops(encoder)
    set_dropout(encoder, 0.5)
    assert drops(encoder)
    assert not torch.equal(encoder(IDS), encoder(IDS))
    build("OPTForCausalLM", tmp_path / "opt")
    with pytest.raises(UserError, match="or in a way that is not known here"):
        set_dropout(load_model(tmp_path / "opt"), 0.1)
