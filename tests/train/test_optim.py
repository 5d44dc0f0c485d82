"""Optimizers against torch's own and against their definitions."""

import sys
from typing import Any

import pytest
import torch

from danlu.base.errors import MissingExtra, UserError
from danlu.train.optim import Optimizer
from danlu.train.optim.adafactor import Adafactor
from danlu.train.optim.adamw import AdamW
from danlu.train.optim.adamw8bit import SMALLEST, AdamW8bit
from danlu.train.optim.lion import Lion
from danlu.train.optim.muon import Muon, orthogonalise
from danlu.train.optim.rule import Rule
from danlu.train.settings import READS, OptimizerSettings
from tests.train.conftest import eight_bit, model


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


def test_lion_is_program_1_of_its_paper() -> None:
    """Chen et al. 2023, program 1, in float64 and one number at a time."""
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(3, 4))
    theirs, momentum = ours.detach().double().flatten().tolist(), [0.0] * 12
    mine = Lion([("w", ours)], beta1=0.9, beta2=0.99, weight_decay=0.3, decayed=frozenset({"w"}))
    lr, beta1, beta2, decay = 1e-2, 0.9, 0.99, 0.3
    for _ in range(6):
        ours.grad = torch.randn(3, 4)
        for i, gradient in enumerate(ours.grad.double().flatten().tolist()):
            mixed = beta1 * momentum[i] + (1 - beta1) * gradient
            theirs[i] -= lr * ((mixed > 0) - (mixed < 0) + decay * theirs[i])
            momentum[i] = beta2 * momentum[i] + (1 - beta2) * gradient
        mine.step(lr)
    torch.testing.assert_close(ours.detach().flatten().double(), torch.tensor(theirs).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (5,)])
def test_adafactor_equals_transformers(shape: tuple[int, ...]) -> None:
    from transformers.optimization import Adafactor as Reference

    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(value.clone()) for value in [torch.randn(shape)] * 2)
    fixed: dict[str, Any] = {"relative_step": False, "scale_parameter": False, "warmup_init": False}
    reference = Reference([theirs], lr=1e-2, weight_decay=0.1, **fixed)
    mine = Adafactor([("w", ours)], weight_decay=0.1, decayed=frozenset({"w"}))
    for size in (1.0, 30.0, 0.1, 2.0, 1.0):  # the second step is large enough to be scaled down
        gradient = size * torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step(1e-2)
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_adafactor_remembers_a_row_and_a_column() -> None:
    mine = Adafactor([("w", torch.zeros(30, 20)), ("b", torch.zeros(7))], weight_decay=0.0, decayed=frozenset())
    assert sum(value.numel() for value in mine.state().values()) == 30 + 20 + 7 + 2


@eight_bit
def test_eight_bit_adamw_equals_that_of_bitsandbytes() -> None:
    import bitsandbytes

    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(value.clone()) for value in [torch.randn(64, 80)] * 2)
    reference = bitsandbytes.optim.AdamW8bit([theirs], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    mine = AdamW8bit([("w", ours)], beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, decayed=frozenset({"w"}))
    for _ in range(4):
        gradient = torch.randn(64, 80)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step(1e-2)
        reference.step()
    torch.testing.assert_close(ours, theirs)


@eight_bit
def test_eight_bit_state_is_a_quarter() -> None:
    net = model(width=64, heads=4)
    sizes = {}
    for name in ("adamw", "adamw8bit"):
        made = Optimizer(net, OptimizerSettings(name=name), torch.float32)  # type: ignore[arg-type]
        large = {n for n, p in net.named_parameters() if "blocks." in n and p.numel() >= SMALLEST}
        sizes[name] = sum(v.nbytes for key, v in made.state().items() if any(key.endswith(n) for n in large))
    assert sizes["adamw8bit"] < 0.27 * sizes["adamw"]


def test_without_bitsandbytes_the_remedy_is_a_line_for_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(MissingExtra, match=r"pip install \"danlu\[8bit\]\""):
        Optimizer(model(), OptimizerSettings(name="adamw8bit"), torch.float32)


@pytest.mark.parametrize("name", sorted(READS))
@pytest.mark.parametrize(("key", "value"), [("beta1", 0.5), ("beta2", 0.5), ("epsilon", 0.1), ("momentum", 0.5)])
def test_a_key_changes_the_update_or_is_refused(name: Any, key: str, value: float) -> None:
    if key not in READS[name]:
        with pytest.raises(
            UserError, match=f"{key}: {name} has none; it is read by muon|{key}: {name} has none; it is read by adamw"
        ):
            OptimizerSettings(name=name, **{key: value})  # type: ignore[arg-type]
        return
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

    def after(settings: OptimizerSettings) -> list[torch.Tensor]:
        net = model()
        made = Optimizer(net, settings, torch.float32)
        torch.manual_seed(0)
        for _ in range(3):
            for parameter in net.parameters():
                parameter.grad = torch.randn_like(parameter)
            made.step(1e-2)
        return [parameter.detach() for parameter in net.parameters()]

    one, other = after(OptimizerSettings(name=name)), after(OptimizerSettings(name=name, **{key: value}))  # type: ignore[arg-type]
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "muon"])
def test_weight_decay_and_embedding_scale_reach_every_optimizer(name: Any) -> None:
    """Without a gradient only decay moves, and only matrices; the embedding moves by a multiple."""

    def moved(gradient: float, **changes: float) -> dict[str, float]:
        net = model()
        before = {key: value.detach().clone() for key, value in net.named_parameters()}
        made = Optimizer(net, OptimizerSettings(name=name, **changes), torch.float32)  # type: ignore[arg-type]
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        made.step(1e-2)
        return {key: float((value.detach() - before[key]).abs().max()) for key, value in net.named_parameters()}

    decayed = moved(0.0, weight_decay=0.5)
    assert decayed["blocks.0.attention.q.weight"] > 0
    assert decayed["embed.weight"] == decayed["norm.weight"] == 0
    one, three = (moved(1.0, weight_decay=0.0, embedding_scale=scale) for scale in (1.0, 3.0))
    assert three["embed.weight"] == pytest.approx(3 * one["embed.weight"], rel=1e-3)
    assert three["norm.weight"] == one["norm.weight"]


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor"])
def test_one_parameter_at_a_time_is_all_at_once(name: Any) -> None:
    nets = [model(), model()]
    for net, apart in zip(nets, (False, True), strict=True):
        made = Optimizer(net, OptimizerSettings(name=name), torch.float32)
        torch.manual_seed(1)
        for _ in range(3):
            for parameter in net.parameters():
                parameter.grad = torch.randn_like(parameter)
            for names in [(key,) for key in made.trainable] if apart else [None]:
                made.step(1e-2, names)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        if name == "muon":  # its matrices of one shape share a product, whose rounding depends on how many they are
            torch.testing.assert_close(one, other)
        else:
            assert torch.equal(one, other)


def test_every_rule_names_its_state_after_its_parameters() -> None:
    made = Optimizer(model(), OptimizerSettings(name="adafactor"), torch.float32)
    assert isinstance(made.rules["adafactor"], Rule)
    assert {"adafactor.rows.embed.weight", "adafactor.squares.norm.weight"} <= made.state().keys()
