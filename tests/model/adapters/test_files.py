"""peft opens what we write and we open what peft writes: the same logits, the same gradients; the rest is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from danlu.base.errors import UserError
from danlu.model.adapters.files import CONFIG, WEIGHTS, Adapter, attach, read_adapter, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.lora import adapted
from danlu.model.adapters.settings import Lora
from danlu.model.hub import save_model
from danlu.model.transformer import Transformer
from danlu.tokens.extending.note import EXTENSION

# Two libraries of others meet here, and one warns of what the other uses.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
FIRST = 50
SMALL = Lora(rank=3, alpha=5)


def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        found = model(ids)
    return found if isinstance(found, Tensor) else found.logits


def noise(parameters: Any) -> None:
    """Nothing at its first value."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.2)


def base(tiny: Tiny, path: Path, **changes: Any) -> Path:
    save_model(tiny(**changes), path, {"pad_token_id": 0, "eos_token_id": 3})
    return path


def ours(
    tiny: Tiny, path: Path, settings: Lora = SMALL, extended: bool = False, **changes: Any
) -> tuple[Transformer, Path]:
    """A model with an adapter that learned something, and the adapter's directory."""
    place = base(tiny, path / "base", **changes)
    if extended:
        (place / EXTENSION).write_text(json.dumps({"old_vocab": FIRST}))
    model = tiny(**changes)
    adapter = attach(model, settings, place, 0)
    noise(p for p in model.parameters() if p.requires_grad)
    save_adapter(model, adapter, path / "adapter")
    return model, path / "adapter"


@pytest.fixture(scope="module")
def peft() -> Any:
    """The reference."""
    return pytest.importorskip("peft", reason="peft is not installed: pip install peft")


SHAPES: list[dict[str, Any]] = [{}, {"tied": False}, {"kv_heads": 1, "bias": True, "head_width": 6}]


@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize(("extended", "dora"), [(False, False), (True, False), (False, True)])
def test_peft_opens_ours(
    peft: Any, tiny: Tiny, tmp_path: Path, extended: bool, dora: bool, changes: dict[str, Any]
) -> None:
    model, path = ours(tiny, tmp_path, Lora(rank=3, alpha=5, dora=dora), extended=extended, **changes)
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), path)
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=3e-5)
    assert float((logits(theirs) - logits(tiny(**changes))).abs().max()) > 0.1
    again = open_adapter(path)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("dora", [False, True])
def test_gradients_are_pefts(peft: Any, tiny: Tiny, tmp_path: Path, dora: bool) -> None:
    model, path = ours(tiny, tmp_path, Lora(rank=3, alpha=5, rslora=True, dora=dora), extended=True)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(plain, path, is_trainable=True)
    logits_ = theirs(IDS).logits
    torch.testing.assert_close(logits_, model(IDS), rtol=0, atol=3e-5)
    logits_.square().sum().backward()
    model(IDS).square().sum().backward()
    wanted = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    found: dict[str, Tensor | None] = {}
    for name, layer in adapted(model).items():
        found[f"base_model.model.{name}.lora_A.weight"] = layer.lora_A.grad
        found[f"base_model.model.{name}.lora_B.weight"] = layer.lora_B.grad
        if layer.lora_magnitude_vector is not None:
            found[f"base_model.model.{name}.lora_magnitude_vector.weight"] = layer.lora_magnitude_vector.grad
    (table,) = set(wanted) - set(found)
    assert table.endswith("embed_tokens.token_adapter.trainable_tokens_delta")
    found[table] = model.embed.rows.grad  # type: ignore[union-attr, assignment]
    for name, gradient in wanted.items():
        # Gradients reach hundreds, and what one processor sums in another order than another is a share of the largest.
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=2e-5 * float(gradient.abs().max()), msg=name)


THEIRS: list[dict[str, Any]] = [
    {"target_modules": "all-linear"},
    {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "lora_alpha": 7},
    {
        "target_modules": "all-linear",
        "alpha_pattern": {"layers.0.mlp.up_proj": 32, "k_proj": 2},
        "rank_pattern": {"o_proj": 5},
    },
    {"target_modules": r".*\.1\..*(q|down)_proj", "modules_to_save": ["norm"]},
    {"target_modules": ["q_proj"], "trainable_token_indices": [7, 60, 4]},
    {"target_modules": ["q_proj"], "init_lora_weights": "gaussian", "layers_to_transform": [1]},
    {"target_modules": "all-linear", "use_dora": True, "rank_pattern": {"o_proj": 5}},
]


@pytest.mark.parametrize("config", THEIRS, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_we_open_pefts(peft: Any, tiny: Tiny, tmp_path: Path, config: dict[str, Any], tied: bool) -> None:
    place = base(tiny, tmp_path / "base", tied=tied)
    plain = AutoModelForCausalLM.from_pretrained(place)
    theirs = peft.get_peft_model(
        plain, peft.LoraConfig(**{"r": 3, "lora_dropout": 0.3, "task_type": "CAUSAL_LM"} | config)
    )
    noise(p for p in theirs.parameters() if p.requires_grad)
    theirs.eval().save_pretrained(tmp_path / "adapter")
    found = logits(open_adapter(tmp_path / "adapter"))
    torch.testing.assert_close(found, logits(theirs), rtol=0, atol=3e-5)
    assert float((found - logits(tiny(tied=tied))).abs().max()) > 0.05


@pytest.mark.parametrize("tied", [True, False])
def test_we_open_a_vocabulary_that_peft_saved_whole(peft: Any, tiny: Tiny, tmp_path: Path, tied: bool) -> None:
    """As Chinese-LLaMA did it: more rows, and both tables among the modules to save."""
    place = base(tiny, tmp_path / "base", tied=tied)
    plain = AutoModelForCausalLM.from_pretrained(place)
    plain.resize_token_embeddings(66, mean_resizing=False)
    whole = {
        "target_modules": "all-linear",
        "modules_to_save": ["embed_tokens", "lm_head"],
        "ensure_weight_tying": tied,
    }
    theirs = peft.get_peft_model(plain, peft.LoraConfig(r=3, task_type="CAUSAL_LM", **whole))
    noise(p for p in theirs.parameters() if p.requires_grad)
    theirs.eval().save_pretrained(tmp_path / "adapter")
    model = open_adapter(tmp_path / "adapter")
    assert model.config.vocab_size == 66
    ids = IDS.clone()
    ids[0, 3] = 64
    torch.testing.assert_close(logits(model, ids), logits(theirs, ids), rtol=0, atol=3e-5)


def test_our_own_kind_of_model(peft: Any, tiny: Tiny, tmp_path: Path) -> None:
    import danlu.model.hf  # noqa: F401  peft opens it with the class that this registers

    shape = {"activation": "gelu", "norm": "layernorm", "tied": False}
    model, path = ours(tiny, tmp_path, Lora(rank=3, targets=("attention.q", "up")), **shape)
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), path)
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=3e-5)
    assert torch.equal(logits(open_adapter(path)), logits(model))


def test_what_is_written(tiny: Tiny, tmp_path: Path) -> None:
    _, path = ours(tiny, tmp_path, Lora(rank=3, alpha=5, dropout=0.25, rslora=True, targets=("q_proj", "up_proj")))
    found = json.loads((path / CONFIG).read_text())
    wanted = {"peft_type": "LORA", "r": 3, "lora_alpha": 5, "lora_dropout": 0.25, "use_rslora": True}
    assert found | wanted | {"target_modules": ["q_proj", "up_proj"], "trainable_token_indices": None} == found
    assert found["base_model_name_or_path"] == str(tmp_path / "base")
    assert sorted(entry.name for entry in path.iterdir()) == [CONFIG, WEIGHTS]
    assert len(load_file(path / WEIGHTS)) == 2 * 2 * 2


@pytest.mark.parametrize("new_rows", [True, False])
def test_new_rows_are_carried_whether_they_learn_or_not(tiny: Tiny, tmp_path: Path, new_rows: bool) -> None:
    model, path = ours(tiny, tmp_path, Lora(rank=3, new_rows=new_rows), extended=True, tied=False)
    found, before = load_file(path / WEIGHTS), tiny(tied=False)
    for name, table in (("model.embed_tokens", "embed"), ("lm_head", "head")):
        rows = found[f"base_model.model.{name}.token_adapter.trainable_tokens_delta"]
        assert torch.equal(rows, model.get_submodule(table).weight[FIRST:])
        assert torch.equal(rows, before.get_submodule(table).weight[FIRST:]) != new_rows
    ids = list(range(FIRST, 61))
    assert json.loads((path / CONFIG).read_text())["trainable_token_indices"] == {"embed_tokens": ids, "lm_head": ids}
    assert json.loads((path / EXTENSION).read_text()) == {"old_vocab": FIRST, "rows": 61}


Change = Callable[[dict[str, Any], dict[str, Tensor]], Any]
Q = "base_model.model.model.layers.0.self_attn.q_proj"
FAULTS: dict[str, tuple[Change, str]] = {
    "another kind": (lambda c, t: c.update(peft_type="LOHA"), "adapters of type LOHA are not supported"),
    "no lengths": (lambda c, t: c.update(use_dora=True), "the lengths of .* do not fit its B: nothing"),
    "lengths": (lambda c, t: t.update({f"{Q}.lora_magnitude_vector": torch.ones(32)}), "fit its B: 32 numbers"),
    "PiSSA": (lambda c, t: c.update(init_lora_weights="pissa"), "'init_lora_weights: pissa' is not supported"),
    "biases": (lambda c, t: c.update(bias="all"), "'bias: all' is not supported"),
    "no alpha": (lambda c, t: c.pop("lora_alpha"), "does not say how LoRA is scaled"),
    "a bad pattern": (lambda c, t: c.update(alpha_pattern={"(": 1}), "does not say how LoRA is scaled"),
    "no B": (lambda c, t: t.pop(f"{Q}.lora_B.weight"), "A and B of model.layers.0.self_attn.q_proj do not fit"),
    "no A": (lambda c, t: t.pop(f"{Q}.lora_A.weight"), "has no A beside it"),
    "other ranks": (lambda c, t: t.update({f"{Q}.lora_B.weight": torch.zeros(32, 4)}), "do not fit together"),
    "nothing": (lambda c, t: t.clear(), "holds no LoRA tensors"),
    "a stranger": (lambda c, t: t.update({f"{Q}.lora_E": torch.zeros(4)}), "has no model.layers.0.self_attn.q_proj.lora_E"),
    "rows without ids": (lambda c, t: c.update(trainable_token_indices=[1, 2]), "names no ids for the 11 rows of model.embed_tokens"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused(tiny: Tiny, tmp_path: Path, fault: str) -> None:
    _, path = ours(tiny, tmp_path, extended=True)
    config, tensors = json.loads((path / CONFIG).read_text()), load_file(path / WEIGHTS)
    change, said = FAULTS[fault]
    change(config, tensors)
    (path / CONFIG).write_text(json.dumps(config))
    save_file(tensors, path / WEIGHTS)
    with pytest.raises(UserError, match=said):
        open_adapter(path)


def test_damage_is_named(tiny: Tiny, tmp_path: Path) -> None:
    _, path = ours(tiny, tmp_path)
    whole = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(whole[:-9])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        read_adapter(path)
    (path / WEIGHTS).unlink()
    with pytest.raises(UserError, match="Only safetensors are read"):
        read_adapter(path)
    for text in ("{", "[]"):
        (path / CONFIG).write_text(text)
        with pytest.raises(UserError, match=r"JSON|expected keys"):
            read_adapter(path)


def test_a_full_disk_leaves_no_half_adapter(tiny: Tiny, tmp_path: Path, small_disk: Path) -> None:
    model = tiny(width=128, feedforward=512, layers=4)
    adapter = attach(model, Lora(rank=16), tmp_path, 0)
    with pytest.raises(OSError, match="could not write the adapter"):
        save_adapter(model, adapter, small_disk / "adapter")
    assert list((small_disk / "adapter").iterdir()) == []


def test_half_precision_is_read_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    _, path = ours(tiny, tmp_path, extended=True)
    full = open_adapter(path)
    save_file({n: v.bfloat16() for n, v in load_file(path / WEIGHTS).items()}, path / WEIGHTS)
    half = open_adapter(path)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert 0 < float((logits(half) - logits(full)).abs().max()) < 0.1


def test_saving_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    model, path = ours(tiny, tmp_path, extended=True)
    before, files = copy.deepcopy(model.state_dict()), (path / WEIGHTS).read_bytes()
    save_adapter(
        model, Adapter(Lora(rank=3, alpha=5), tmp_path / "base", FIRST, tuple(adapted(model))), tmp_path / "again"
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == files
