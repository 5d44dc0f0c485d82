"""Bottleneck adapters begin as the model, stand where their kind says, and come back from their files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, relu, silu

from danlu.base.errors import UserError
from danlu.model.adapters import bottleneck, kinds
from danlu.model.adapters.bottleneck import Bottlenecked, wrapped
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.merging import merge
from danlu.model.adapters.method_settings import Bottleneck
from danlu.model.hub import load_model, save_model
from danlu.model.kinds import Experts, StateSpace
from danlu.model.linear import Linear
from danlu.model.transformer import Transformer

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
SHAPES: list[dict[str, Any]] = [
    {},
    {"norm_place": "post", "norm": "layernorm"},
    {"norm_place": "sandwich"},
    {"parallel": True},
    {"experts": Experts(count=4, per_token=2, width=16)},
    {"state_space": StateSpace(state=8, head_width=16, chunk=4, attention_every=2)},
]


def logits(model: Transformer, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Without gradients, for which attention is another computation."""
    with torch.no_grad():
        return model(ids)


def learned(model: Transformer) -> Transformer:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def test_a_layer_computes_its_formula() -> None:
    """h + s · up(f(down(h))), or of what the layer read, beside it."""
    torch.manual_seed(0)
    base = Linear(8, 8)
    for name, f in (("relu", relu), ("gelu", gelu), ("silu", silu)):
        for kind in ("pfeiffer", "parallel"):
            made: Any = Bottlenecked(base, 8, Bottleneck(kind, 3, name, 0.7), torch.device("cpu"))  # type: ignore[arg-type]
            torch.nn.init.normal_(made.up.weight)
            torch.nn.init.normal_(made.up.bias)
            h = base(X)
            read = X if kind == "parallel" else h
            wanted = h + 0.7 * (f(read @ made.down.weight.t() + made.down.bias) @ made.up.weight.t() + made.up.bias)
            torch.testing.assert_close(made(X), wanted, rtol=0, atol=1e-5)
            assert made(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
def test_the_model_begins_as_it_was_and_learns_nothing_else(tiny: Tiny, kind: Any, shape: dict[str, Any]) -> None:
    model = tiny(**shape)
    names = bottleneck.add(model, Bottleneck(kind, width=5), 0, ())
    assert torch.equal(logits(model), logits(tiny(**shape)))
    learned(model)(IDS).square().sum().backward()
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.rpartition(".")[0].rpartition(".")[0] for n in learning} == set(names)
    assert learning == {n for n, p in model.named_parameters() if p.grad is not None}
    assert float((logits(model) - logits(tiny(**shape))).abs().max()) > 0.1
    kinds.remove(model)
    assert torch.equal(logits(model), logits(tiny(**shape)))


def test_where_they_stand(tiny: Tiny) -> None:
    one, both = ("feedforward",), ("attention", "feedforward")
    for kind, layers in (("houlsby", both), ("pfeiffer", one), ("parallel", one)):
        found = bottleneck.add(tiny(), Bottleneck(kind), 0, ())  # type: ignore[arg-type]
        assert found == tuple(f"blocks.{n}.{layer}" for n in range(2) for layer in layers)
    hybrid = tiny(state_space=StateSpace(state=8, head_width=16, attention_every=2))
    found = bottleneck.add(hybrid, Bottleneck("houlsby"), 0, ())
    assert found == ("blocks.0.mamba", "blocks.1.attention", "blocks.1.feedforward")


@pytest.mark.parametrize("kind", ["houlsby", "parallel"])
def test_files_bring_it_back(tiny: Tiny, tmp_path: Path, kind: Any) -> None:
    save_model(tiny(), tmp_path / "base", {})
    model, settings = load_model(tmp_path / "base"), Bottleneck(kind, 5, "silu", 2.0)
    adapter = attach(model, settings, tmp_path / "base", 0)
    save_adapter(learned(model), adapter, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    keys = {"peft_type": "BOTTLENECK", "kind": kind, "width": 5, "activation": "silu", "scale": 2.0}
    assert config | keys == config
    again = open_adapter(tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert not any(p.requires_grad for p in again.parameters())
    assert {layer.settings for layer in wrapped(again).values()} == {settings}
    for refused in (lambda: load_model(tmp_path / "adapter"), lambda: merge(again)):
        with pytest.raises(
            UserError, match=r"cannot be merged: a bottleneck adapter has a nonlinearity.*Use it as it is"
        ):
            refused()


DOWN = "base_model.model.blocks.0.feedforward.down.weight"
FAULTS: dict[str, tuple[Any, str]] = {
    "missing": (lambda c, t: t.pop(DOWN), r"blocks.0.feedforward.down.weight is missing in its files, and \(5, 32\)"),
    "another shape": (lambda c, t: t.update({DOWN: torch.ones(4, 32)}), r"is \(4, 32\) in its files, and \(5, 32\)"),
    "a stranger": (
        lambda c, t: t.update({"base_model.model.x": torch.ones(4)}),
        r"x is \(4,\) in its files, and nothing",
    ),
    "another kind": (lambda c, t: c.update(kind="serial"), "kind: 'serial' is not one of the choices"),
    "no width": (lambda c, t: c.pop("width"), "width: expected int, found None"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused(tiny: Tiny, tmp_path: Path, fault: str) -> None:
    save_model(tiny(), tmp_path / "base", {})
    model = tiny()
    save_adapter(model, attach(model, Bottleneck(width=5), tmp_path / "base", 0), tmp_path)
    config, tensors = json.loads((tmp_path / CONFIG).read_text()), load_file(tmp_path / WEIGHTS)
    change, said = FAULTS[fault]
    change(config, tensors)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=said):
        open_adapter(tmp_path)


def test_what_cannot_be() -> None:
    for wrong, said in (({"width": 0}, "adapter.width"), ({"scale": 0.0}, "adapter.scale")):
        with pytest.raises(UserError, match=said):
            Bottleneck(**wrong)  # type: ignore[arg-type]
