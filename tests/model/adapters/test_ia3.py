"""IA3 begins as the model, scales what it says, and is merged exactly; a bottleneck begins as the model, and is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model.adapters import ia3, kinds
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.ia3 import brief, scaled
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.merging import merge
from danlu.model.adapters.method_settings import Ia3
from danlu.model.hub import load_model, save_model
from danlu.model.transformer import Transformer

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
BIASED = {"bias": True, "tied": False}


def logits(model: Transformer, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Without gradients, for which attention is another computation."""
    with torch.no_grad():
        return model(ids)


def learned(model: Transformer) -> Transformer:
    torch.manual_seed(2)
    with torch.no_grad():
        for layer in scaled(model).values():
            layer.scales.add_(torch.randn_like(layer.scales), alpha=0.5)
    return model


@pytest.mark.parametrize("shape", [{}, BIASED], ids=str)
def test_the_model_begins_as_it_was(tiny: Tiny, shape: dict[str, Any]) -> None:
    model = tiny(**shape)
    ia3.add(model, Ia3(), 0, ())
    assert torch.equal(logits(model), logits(tiny(**shape)))
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad} == {"scales"}


def test_which_layers_and_which_side(tiny: Tiny) -> None:
    model = tiny()
    ia3.add(model, Ia3(), 0, ())
    sides = {name: (layer.on_input, len(layer.scales)) for name, layer in scaled(model).items()}
    wanted = {"self_attn.k_proj": (False, 16), "self_attn.v_proj": (False, 16), "mlp.down_proj": (True, 48)}
    assert sides == {f"model.layers.{n}.{name}": side for n in range(2) for name, side in wanted.items()}
    model = tiny()
    ia3.add(model, Ia3(targets=("q_proj", "0.mlp.up_proj"), inputs=("0.mlp.up_proj",)), 0, ())
    sides = {name: (layer.on_input, len(layer.scales)) for name, layer in scaled(model).items()}
    assert sides == {
        "model.layers.0.self_attn.q_proj": (False, 32),
        "model.layers.1.self_attn.q_proj": (False, 32),
        "model.layers.0.mlp.up_proj": (True, 32),
    }


@pytest.mark.parametrize("shape", [{}, BIASED], ids=str)
def test_merged_equals_unmerged(tiny: Tiny, shape: dict[str, Any]) -> None:
    model = tiny(**shape)
    ia3.add(model, Ia3(targets=("k_proj", "down_proj", "gate_proj"), inputs=("down_proj",)), 0, ())
    wanted = logits(learned(model))
    torch.testing.assert_close(logits(merge(model)), wanted, rtol=0, atol=2e-5)
    assert float((wanted - logits(tiny(**shape))).abs().max()) > 0.1
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in tiny(**shape).named_parameters()]


def test_taken_off_all_is_as_it_was(tiny: Tiny) -> None:
    model = tiny(**BIASED)
    ia3.add(model, Ia3(), 0, ())
    learned(model)
    kinds.remove(model)
    assert torch.equal(logits(model), logits(tiny(**BIASED)))


def test_a_directory_is_a_model(tiny: Tiny, tmp_path: Path) -> None:
    """Where a model is expected, an adapter's directory is its base with it merged in."""
    save_model(tiny(), tmp_path / "base", {})
    model = load_model(tmp_path / "base")
    adapter = attach(model, Ia3(), tmp_path / "base", 0)
    wanted = logits(learned(model))
    save_adapter(model, adapter, tmp_path / "adapter")
    assert torch.equal(logits(open_adapter(tmp_path / "adapter")), wanted)
    torch.testing.assert_close(logits(load_model(tmp_path / "adapter")), wanted, rtol=0, atol=2e-5)


def test_short_names_where_they_mean_no_other() -> None:
    assert brief(["a.0.k", "a.1.k"], ["a.0.v"]) == ["k"]
    assert brief(["a.0.k"], ["a.1.k"]) == ["a.0.k"]


K = "base_model.model.model.layers.0.self_attn.k_proj.ia3_l"
FAULTS: dict[str, tuple[Any, str]] = {
    "nothing": (lambda c, t: t.clear(), "holds no tensors of IA3"),
    "a stranger": (
        lambda c, t: t.update({K.replace("ia3_l", "lora_A"): torch.ones(2)}),
        "which is no layer of a block",
    ),
    "another width": (
        lambda c, t: t.update({K: torch.ones(15, 1)}),
        r"has 16 numbers to scale, and \[15, 1\] are given",
    ),
    "a matrix": (lambda c, t: t.update({K: torch.ones(8, 2)}), r"16 numbers to scale, and \[8, 2\]"),
    "the other way": (lambda c, t: c.update(fan_in_fan_out=True), "'fan_in_fan_out' is not supported"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused(tiny: Tiny, tmp_path: Path, fault: str) -> None:
    save_model(tiny(), tmp_path / "base", {})
    model = tiny()
    save_adapter(model, attach(model, Ia3(), tmp_path / "base", 0), tmp_path)
    config, tensors = json.loads((tmp_path / CONFIG).read_text()), load_file(tmp_path / WEIGHTS)
    change, said = FAULTS[fault]
    change(config, tensors)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=said):
        open_adapter(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ("query",)}, "ia3.targets: no layer is called 'query'"),
        ({"targets": ("",)}, "needs names of layers"),
        ({"inputs": ("down_proj",)}, "must be names that targets has too"),
    ],
)
def test_what_cannot_be(tiny: Tiny, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ia3.add(tiny(), Ia3(**settings), 0, ())
