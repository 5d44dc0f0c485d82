"""Optimizers against torch's own and against their definitions."""

import pytest
import torch

from danlu.base.errors import UserError
from danlu.train.optim import Optimizer
from danlu.train.optim.adamw import AdamW
from danlu.train.optim.muon import Muon, orthogonalise
from danlu.train.settings import OptimizerSettings
from tests.train.conftest import model


def test_adamw_equals_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(value.clone()) for value in [torch.randn(4, 3)] * 2)
    reference = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    settings = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1}
    mine = AdamW([("w", ours)], decayed=frozenset({"w"}), **settings)
    for _ in range(5):
        gradient = torch.randn(4, 3)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step(1e-2)
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_decay_spares_what_is_not_a_matrix() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    mine = AdamW([("b", parameter)], beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.5, decayed=frozenset())
    parameter.grad = torch.zeros(3)
    mine.step(1.0)
    assert torch.equal(parameter, torch.ones(3))


@pytest.mark.parametrize("shape", [(6, 6), (4, 16), (16, 4)])
def test_newton_schulz_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    values = torch.linalg.svdvals(orthogonalise(matrices, torch.float32))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3
    # the singular vectors stay: U Vᵀ of the input is what it approximates
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.cosine_similarity(orthogonalise(matrices, torch.float32).flatten(1), (left @ right).flatten(1))
    assert float(cosine.min()) > 0.95


def test_muon_equals_torch() -> None:
    """torch.optim.Muon with the same scaling: the reference for momentum, Nesterov, decay and size."""
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(value.clone()) for value in [torch.randn(8, 16)] * 2)
    reference = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    mine = Muon([("w", ours)], momentum=0.95, weight_decay=0.1, dtype=torch.bfloat16)
    for _ in range(4):
        gradient = torch.randn(8, 16)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step(1e-2)
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)


def test_who_updates_what() -> None:
    muon = Optimizer(model(), OptimizerSettings(name="muon"), torch.float32)
    assert "blocks.0.attention.q.weight" in muon.muon.parameters
    assert set(muon.adamw.parameters) >= {"embed.weight", "norm.weight", "blocks.0.attention_norm.weight"}
    assert not muon.muon.parameters.keys() & muon.adamw.parameters.keys()
    assert not Optimizer(model(), OptimizerSettings(name="adamw"), torch.float32).muon.parameters


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(UserError, match="no parameter is trainable"):
        Optimizer(model().requires_grad_(False), OptimizerSettings(), torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lr": 0.0}, "learning rate"), ({"beta2": 1.0}, "below 1"), ({"clip": -1.0}, "negative")],
)
def test_settings_that_make_no_sense(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OptimizerSettings(**change)  # type: ignore[arg-type]
