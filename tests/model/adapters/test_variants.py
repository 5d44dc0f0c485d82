"""Ranks, scales and blocks are those that peft would choose; what began as a part of the base is a plain LoRA on disk."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from danlu.base.errors import UserError
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.lora import adapted, add_lora, changed_slots, rate_ratios
from danlu.model.adapters.merging import merge
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model, save_model
from danlu.model.transformer import Transformer
from tests.family_cases import CASES, class_of
from tests.model.test_foreign import MODELS, build

# Two libraries of others meet here, and one warns of what the other uses.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
IDS = torch.randint(5, 61, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def peft() -> Any:
    """The reference."""
    return pytest.importorskip("peft", reason="peft is not installed: pip install peft")


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found = model(IDS)
    return found if isinstance(found, Tensor) else found.logits


def noise(parameters: Any, size: float = 0.2) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=size)


def trained(model: Transformer, base: Path, path: Path, settings: Lora) -> Transformer:
    """The model with an adapter that learned something, which is written to ``path``."""
    adapter = attach(model, settings, base, 0)
    noise(model.parameters())
    save_adapter(model, adapter, path)
    return model.eval()


VARIED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"layers": (1,), "targets": ("k_proj", "up_proj")}, {"layers_to_transform": [1], "target_modules": ["k_proj", "up_proj"]}),
    ({"rank_pattern": {"down_proj": 6, "0.self_attn.q_proj": 2}}, {"rank_pattern": {"down_proj": 6, "0.self_attn.q_proj": 2}}),
    (
        {"alpha_pattern": {r".*mlp.*": 9.0}, "rank_pattern": {"k_proj": 5}, "rslora": True},
        {"alpha_pattern": {r".*mlp.*": 9.0}, "rank_pattern": {"k_proj": 5}, "use_rslora": True},
    ),
    ({"targets": ("q_proj", "1.mlp.up_proj"), "layers": (1,)}, {"target_modules": ["q_proj", "1.mlp.up_proj"], "layers_to_transform": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), VARIED, ids=str)
def test_layers_ranks_and_scales_are_pefts(
    peft: Any, tiny: Tiny, tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    save_model(tiny(), tmp_path / "base", {"pad_token_id": 0, "eos_token_id": 3})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    config = {"r": 3, "lora_alpha": 5, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **theirs}
    other = peft.get_peft_model(plain, peft.LoraConfig(**config))
    model = trained(tiny(), tmp_path / "base", tmp_path / "adapter", Lora(rank=3, alpha=5, **ours))
    modules = dict(other.base_model.model.named_modules())
    wanted = {
        name: (module.r["default"], module.scaling["default"])
        for name, module in modules.items()
        if hasattr(module, "lora_A")
    }
    assert {n: (len(layer.lora_A), pytest.approx(layer.scale)) for n, layer in adapted(model).items()} == wanted
    loaded = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
    )
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=3e-5)
    assert torch.equal(logits(open_adapter(tmp_path / "adapter")), logits(model))
    assert float((logits(model) - logits(tiny())).abs().max()) > 0.05


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Lora(rank=2, layers=(2,)), "block 2 has no layer .* The last that has one is 1"),
        (Lora(rank=2, rank_pattern={"up": 3}), "lora.rank_pattern: no layer that is to be changed ends in 'up'"),
        (Lora(rank=2, targets=("q_proj",), alpha_pattern={"k_proj": 3.0}), "lora.alpha_pattern: no layer"),
        (Lora(rank=2, rank_pattern={"k_proj": 17}), "rank 17 is more than .*k_proj has"),
    ],
    ids=str,
)
def test_what_names_nothing_is_refused_before_anything_changes(tiny: Tiny, settings: Lora, said: str) -> None:
    model = tiny()
    with pytest.raises(UserError, match=said):
        add_lora(model, settings, 0)
    assert not adapted(model)


BEGUN = [
    Lora(rank=4, alpha=6, init="pissa"),
    Lora(rank=4, alpha=6, init="pissa", rslora=True, rank_pattern={"k_proj": 2}, alpha_pattern={"k_proj": 3.0}),
    Lora(rank=4, alpha=6, init="pissa", dora=True),
    Lora(rank=4, alpha=6, init="orthogonal"),
]


@pytest.mark.parametrize("settings", BEGUN, ids=str)
def test_what_began_as_the_base_is_a_plain_adapter_on_disk(
    peft: Any, tiny: Tiny, tmp_path: Path, settings: Lora
) -> None:
    """Of twice the rank, beside the base that people have: for peft, for us, and merged."""
    save_model(tiny(), tmp_path / "base", {"pad_token_id": 0, "eos_token_id": 3})
    model = trained(tiny(), tmp_path / "base", tmp_path / "adapter", settings)
    wanted = logits(model)
    assert float((wanted - logits(tiny())).abs().max()) > 0.05
    ranks = {len(value) for name, value in load_file(tmp_path / "adapter" / WEIGHTS).items() if "lora_A" in name}
    assert max(ranks) == (8 if settings.init == "pissa" else 4)
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["init_lora_weights"] is True
    again = open_adapter(tmp_path / "adapter")
    torch.testing.assert_close(logits(again), wanted, rtol=0, atol=5e-5)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), wanted, rtol=0, atol=4e-4)
    torch.testing.assert_close(logits(merge(again)), wanted, rtol=0, atol=4e-4)


FUSED = ["gpt2", "gpt_neox", "bloom", "phi3-part", "gpt2-wide"]


def family(name: str, path: Path) -> Any:
    """A model of transformers in a directory, nothing in it zero."""
    case = CASES[name]
    kind = class_of(case.kind)
    torch.manual_seed(0)
    network = kind(kind.config_class(**case.values)).eval()
    noise(network.parameters(), 0.1)
    network.save_pretrained(path)
    return network


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", FUSED)
def test_several_matrices_in_one_tensor_are_changed_as_peft_changes_them(
    peft: Any, tmp_path: Path, name: str, dora: bool
) -> None:
    """Logits and gradients, from our files to peft and from peft's to us."""
    family(name, tmp_path / "base")
    settings = Lora(rank=3, alpha=5, dora=dora)
    model = trained(load_model(tmp_path / "base"), tmp_path / "base", tmp_path / "adapter", settings)
    kind = class_of(CASES[name].kind)
    theirs = peft.PeftModel.from_pretrained(
        kind.from_pretrained(tmp_path / "base"), tmp_path / "adapter", is_trainable=True
    ).eval()
    torch.testing.assert_close(logits(theirs), logits(model), rtol=1e-5, atol=1e-4)
    assert torch.equal(logits(open_adapter(tmp_path / "adapter")), logits(model))
    theirs(IDS).logits.square().sum().backward()
    model(IDS).square().sum().backward()
    wanted = {n.removeprefix("base_model.model."): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    for hub, slot in changed_slots(model).items():
        layers: list[Any] = [layer for _, layer in slot.parts]
        first, second = wanted[f"{hub}.lora_A.default.weight"], wanted[f"{hub}.lora_B.default.weight"]
        assert all(layer.lora_A is layers[0].lora_A for layer in layers)
        close = {"rtol": 1e-3, "atol": 1e-4 * float(first.abs().max())}
        torch.testing.assert_close(layers[0].lora_A.grad, first, **close)
        close["atol"] = 1e-4 * float(second.abs().max())
        torch.testing.assert_close(slot.glue([layer.lora_B.grad for layer in layers]), second, **close)
    torch.testing.assert_close(logits(merge(model)), logits(theirs), rtol=1e-5, atol=1e-4)
    other = peft.get_peft_model(
        kind.from_pretrained(tmp_path / "base"),
        peft.LoraConfig(r=3, target_modules="all-linear", use_dora=dora, task_type="CAUSAL_LM"),
    ).eval()
    noise(other.parameters())
    other.save_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(logits(open_adapter(tmp_path / "theirs")), logits(other), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_a_fused_matrix_begins_as_a_part_of_itself(tmp_path: Path, name: str) -> None:
    before = logits(family(name, tmp_path / "base"))
    model = load_model(tmp_path / "base")
    adapter = attach(model.eval(), Lora(rank=4, init="pissa"), tmp_path / "base", 0)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-4)
    noise(model.parameters(), 0.1)
    save_adapter(model, adapter, tmp_path / "adapter")
    torch.testing.assert_close(logits(open_adapter(tmp_path / "adapter")), logits(model), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if "Mamba" not in name])
def test_a_model_of_transformers_is_changed_as_peft_changes_it(peft: Any, tmp_path: Path, name: str) -> None:
    build(name, tmp_path / "base")
    model = trained(load_model(tmp_path / "base"), tmp_path / "base", tmp_path / "adapter", Lora(rank=3, alpha=5))
    kind = AutoModelForMaskedLM if "Masked" in name else AutoModelForCausalLM
    theirs = peft.PeftModel.from_pretrained(kind.from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-5, atol=1e-4)
    assert torch.equal(logits(open_adapter(tmp_path / "adapter")), logits(model))
    assert float((logits(model) - logits(load_model(tmp_path / "base"))).abs().max()) > 0.01
    save_model(merge(open_adapter(tmp_path / "adapter")), tmp_path / "merged", {})
    merged = kind.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-4)


def test_state_spaces_of_transformers_are_refused(tmp_path: Path) -> None:
    build("MambaForCausalLM", tmp_path)
    with pytest.raises(UserError, match="a mamba model reads some matrices without calling their layers"):
        attach(load_model(tmp_path), Lora(rank=2), tmp_path, 0)


def test_it_learns_and_nothing_else_does(tmp_path: Path) -> None:
    """One step of a model of transformers: gradients for A and B alone."""
    build("StableLmForCausalLM", tmp_path)
    model = load_model(tmp_path)
    attach(model, Lora(rank=2, targets=("q_proj", "up_proj")), tmp_path, 0)
    model.compute_dtype = torch.bfloat16
    model(IDS).float().square().sum().backward()
    learned = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"lora_A", "lora_B"}
    assert len(adapted(model)) == 4


def test_only_b_learns_faster(tiny: Tiny) -> None:
    model = tiny()
    add_lora(model, Lora(rank=2, b_rate_ratio=8.0), 0)
    found = rate_ratios(model)
    assert set(found) == {name for name, _ in model.named_parameters() if name.endswith("lora_B")}
    assert set(found.values()) == {8.0}
    plain = tiny()
    add_lora(plain, Lora(rank=2), 0)
    assert rate_ratios(plain) == {}
