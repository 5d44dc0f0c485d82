"""A base in four bits: rounded before anything stands beside it, and found again bit for bit from the adapter's files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.adapters.files import attach, save_adapter
from danlu.model.adapters.loading import open_adapter, open_rounded
from danlu.model.adapters.lora import adapted, add_lora, quantise
from danlu.model.adapters.merging import divergence, merge
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.quantized_base import NOTE, TAKEN
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model, save_model
from danlu.model.linear import Linear
from danlu.model.quantized import Nf4Linear, rounded
from danlu.model.transformer import Transformer
from tests.model.test_foreign import build

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
INITS = [
    Lora(rank=4),
    Lora(rank=4, dora=True, targets=("q_proj", "down_proj")),
    Lora(rank=4, init="orthogonal"),
    Lora(rank=4, alpha=6, init="pissa", rank_pattern={"up_proj": 6}),
    Lora(rank=4, init="loftq"),
    Lora(rank=4, init="loftq", loftq_iterations=3),
    Lora(rank=4, init="loftq", loftq_iterations=3, dora=True),
]


def logits(model: Transformer) -> Tensor:
    with torch.no_grad():
        return model(IDS)


def trained(tiny: Tiny, path: Path, settings: Lora, double: bool = True, **changes: Any) -> Transformer:
    """A model on a rounded base, its adapter, and both their directories."""
    save_model(tiny(**changes), path / "base", {"pad_token_id": 0, "eos_token_id": 3})
    model = load_model(path / "base")
    adapter = attach(model, settings, path / "base", 0, (), Quantization(double))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    save_adapter(model, adapter, path / "adapter")
    return model.eval()


def test_it_is_rounded_before_lora_stands_beside_it(tiny: Tiny) -> None:
    model = tiny()
    weights = {
        name: layer.weight.detach().clone() for name, layer in model.named_modules() if isinstance(layer, Linear)
    }
    add_lora(model, Lora(rank=3, targets=("q_proj",)), 0, Quantization())
    layers = {name.removesuffix(".base"): m for name, m in model.named_modules() if isinstance(m, Nf4Linear)}
    assert layers.keys() == weights.keys()  # all, whether they change or not
    assert len(adapted(model)) == 2
    for name, layer in layers.items():
        assert torch.equal(layer.weight, rounded(weights[name]))
    rounded_before = tiny()
    quantise(rounded_before, Quantization())
    with pytest.raises(UserError, match="in four bits already, and can give up no part"):
        add_lora(rounded_before, Lora(rank=3, init="pissa"), 0)
    with pytest.raises(UserError, match=r"has changes beside its layers already. Quantise first, then add LoRA"):
        quantise(model, Quantization())


def test_what_learns_is_the_same(tiny: Tiny) -> None:
    names = []
    for quantization in (None, Quantization()):
        model = tiny(bias=True)
        add_lora(model, Lora(rank=3, dora=True), 0, quantization)
        model(IDS).square().sum().backward()
        names.append({name for name, p in model.named_parameters() if p.grad is not None})
        assert names[-1] == {name for name, p in model.named_parameters() if p.requires_grad}
    assert names[0] == names[1]


def test_gradients_are_those_beside_the_rounded_matrices(tiny: Tiny) -> None:
    one, other = tiny(), tiny()
    with torch.no_grad():
        for layer in other.modules():
            if isinstance(layer, Linear):
                layer.weight.copy_(rounded(layer.weight))
    add_lora(one, Lora(rank=3), 0, Quantization())
    add_lora(other, Lora(rank=3), 0)
    assert torch.equal(one(IDS), other(IDS))
    for model in (one, other):
        model(IDS).square().sum().backward()
    found, wanted = ({n: p.grad for n, p in m.named_parameters() if p.requires_grad} for m in (one, other))
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("settings", INITS, ids=str)
def test_the_base_is_found_again_as_it_was_trained_on(tiny: Tiny, tmp_path: Path, settings: Lora, double: bool) -> None:
    model = trained(tiny, tmp_path, settings, double, width=64, kv_heads=4, head_width=16)
    again = open_adapter(tmp_path / "adapter", quantize="nf4")
    assert torch.equal(logits(again), logits(model))
    assert torch.equal(logits(open_rounded(tmp_path / "adapter")), logits(model))
    note = json.loads((tmp_path / "adapter" / NOTE).read_text())
    assert note == {"format": "nf4", "double": double, "began": settings.init in ("pissa", "loftq")}
    taken = settings.init == "pissa" or settings.loftq_iterations > 1
    assert (tmp_path / "adapter" / TAKEN).is_file() == taken
    layers = [m for m in again.modules() if isinstance(m, Nf4Linear)]
    assert {layer.group_scales is not None for layer in layers} == {double}


def test_beside_the_whole_base_it_is_said_and_is_another_model(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(tiny, tmp_path, Lora(rank=4))
    said = capsys.readouterr().err.replace("\n", "")
    assert "14 layers in NF4, 0.5" in said
    whole = open_adapter(tmp_path / "adapter")
    assert "was trained beside a base in NF4, and is used beside the whole one" in capsys.readouterr().err.replace(
        "\n", " "
    )
    assert float((logits(whole) - logits(model)).abs().max()) > 0.01
    assert divergence(logits(whole), logits(model)) < divergence(logits(tiny()), logits(model))
    open_adapter(tmp_path / "adapter", quantize="nf4")
    assert "whole one" not in capsys.readouterr().err


def test_any_adapter_and_any_model_can_be_rounded(tiny: Tiny, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "base", {})
    model = open_rounded(tmp_path / "base")
    assert not any(isinstance(m, Linear) for m in model.blocks.modules())
    learner = tiny()
    adapter = attach(learner, Lora(rank=2), tmp_path / "base", 0)
    save_adapter(learner, adapter, tmp_path / "adapter")
    assert torch.equal(logits(open_rounded(tmp_path / "adapter")), logits(model))  # B is zero


@pytest.mark.parametrize("settings", INITS, ids=str)
def test_merged_into_the_numbers_of_the_rounded_base_it_says_the_same(
    tiny: Tiny, tmp_path: Path, settings: Lora
) -> None:
    wanted = logits(trained(tiny, tmp_path, settings))
    merged = merge(open_adapter(tmp_path / "adapter", quantize="nf4"))
    torch.testing.assert_close(logits(merged), wanted, rtol=0, atol=5e-5)
    assert not any(isinstance(m, Nf4Linear) for m in merged.modules())
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert merged.state_dict().keys() == tiny().state_dict().keys()


def test_a_model_of_transformers_too(tmp_path: Path) -> None:
    build("StableLmForCausalLM", tmp_path / "base")
    model = load_model(tmp_path / "base")
    adapter = attach(model, Lora(rank=3, init="pissa"), tmp_path / "base", 0, (), Quantization())
    for dtype in (torch.bfloat16, torch.float32):
        model.compute_dtype = dtype
        model(IDS).float().square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-5)
    save_adapter(model, adapter, tmp_path / "adapter")
    assert torch.equal(logits(open_rounded(tmp_path / "adapter")), logits(model.eval()))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "another format": ({"format": "fp4"}, "does not say that the base was in nf4"),
    "no answer": ({"began": "yes"}, "does not say that the base was in nf4"),
    "a key of another version": ({"blocks": 32}, "unknown key 'blocks'"),
    "a wrong value": ({"double": 3}, "expected bool"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_note_that_makes_no_sense_is_one_sentence(tiny: Tiny, tmp_path: Path, fault: str) -> None:
    trained(tiny, tmp_path, Lora(rank=2))
    changes, said = FAULTS[fault]
    file = tmp_path / "adapter" / NOTE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=said):
        open_adapter(tmp_path / "adapter", quantize="nf4")


def test_what_was_taken_must_fit(tiny: Tiny, tmp_path: Path) -> None:
    trained(tiny, tmp_path, Lora(rank=2, init="pissa"))
    file = tmp_path / "adapter" / TAKEN
    tensors = load_file(file)
    name = next(name for name in tensors if "down_proj" in name and "lora_A" in name)
    for changed, said in (
        (tensors | {name: torch.zeros(2, 7)}, "does not fit the adapter"),
        ({n: v for n, v in tensors.items() if n != name}, "no pairs of A and B"),
    ):
        save_file(changed, file)
        with pytest.raises(UserError, match=said):
            open_adapter(tmp_path / "adapter", quantize="nf4")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        open_adapter(tmp_path / "adapter", quantize="nf4")


def test_a_later_adapter_in_the_same_place_leaves_no_note(tiny: Tiny, tmp_path: Path) -> None:
    trained(tiny, tmp_path, Lora(rank=2, init="pissa"))
    model = tiny()
    save_adapter(model, attach(model, Lora(rank=2), tmp_path / "base", 0), tmp_path / "adapter")
    assert not (tmp_path / "adapter" / NOTE).exists()
    assert not (tmp_path / "adapter" / TAKEN).exists()
