"""Weighted sums of LoRA adapters: the sum of their effects, peft's own answer, and a directory like any other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from transformers import AutoModelForCausalLM

from danlu.base.errors import UserError
from danlu.model.adapters.combining import combine, combined
from danlu.model.adapters.files import CONFIG, attach, read_adapter, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.lora import adapted
from danlu.model.adapters.merging import merge
from danlu.model.adapters.method_settings import Ia3
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model, save_model
from danlu.tokens.extending.note import EXTENSION

# Two libraries of others meet here, and one warns of what the other uses.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
SETTINGS: list[Any] = [
    Lora(rank=3, alpha=5),
    Lora(rank=2, alpha=7, rslora=True, targets=("q_proj", "down_proj")),
    Lora(rank=4, targets=("0.mlp.up_proj",)),
]
WEIGHTS = [0.7, -0.4, 1.3]


def write(tiny: Tiny, folder: Path, settings: Any, number: int) -> Path:
    model = tiny()
    adapter = attach(model, settings, folder / "base", number)
    torch.manual_seed(number)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    save_adapter(model, adapter, folder / str(number))
    return folder / str(number)


@pytest.fixture
def paths(tiny: Tiny, tmp_path: Path) -> list[Path]:
    save_model(tiny(), tmp_path / "base", {"pad_token_id": 0})
    return [write(tiny, tmp_path, settings, number) for number, settings in enumerate(SETTINGS)]


def test_a_sum_of_adapters_has_the_sum_of_their_effects(paths: list[Path], tmp_path: Path) -> None:
    """On every matrix: the change of the sum is the sum of the changes."""
    base = load_model(tmp_path / "base").state_dict()
    changes = [{n: v - base[n] for n, v in merge(open_adapter(path)).state_dict().items()} for path in paths]
    combine(paths, WEIGHTS, tmp_path / "sum")
    found = merge(open_adapter(tmp_path / "sum")).state_dict()
    for name, value in base.items():
        wanted = value + sum(weight * change[name] for weight, change in zip(WEIGHTS, changes, strict=True))
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=2e-6, msg=name)
    assert {n for n, v in found.items() if not torch.equal(v, base[n])} == {n for n in base if ".norm" not in n} - {
        n for n in base if n.startswith(("embed", "norm")) or "_norm" in n
    }


@torch.no_grad()
def test_its_files_say_the_same_here_and_to_peft(paths: list[Path], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    combine(paths, WEIGHTS, tmp_path / "sum")
    config = json.loads((tmp_path / "sum" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    model = open_adapter(tmp_path / "sum")
    q = adapted(model)["model.layers.0.self_attn.q_proj"]
    assert (q.lora_A.shape[0], q.scale) == (5, 1.0)
    wanted = model(IDS)
    opened = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "sum")
    torch.testing.assert_close(opened(IDS).logits, wanted, rtol=0, atol=3e-5)
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), paths[0], adapter_name="0"
    )
    for name in ("1", "2"):
        theirs.load_adapter(tmp_path / name, name)
    theirs.add_weighted_adapter(["0", "1", "2"], WEIGHTS, "sum", combination_type="cat")
    theirs.set_adapter("sum")
    torch.testing.assert_close(theirs(IDS).logits, wanted, rtol=0, atol=3e-5)


def test_what_does_not_add_up_is_refused(tiny: Tiny, paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 adapters need as many weights, found 2"):
        combine(paths, [1.0, 2.0], tmp_path / "sum")
    refused = {"was trained with DoRA": Lora(rank=2, dora=True), "of type IA3, and only": Ia3()}
    for number, (said, settings) in enumerate(refused.items(), 10):
        path = write(tiny, tmp_path, settings, number)
        with pytest.raises(UserError, match=f"{path.name}/{CONFIG}: cannot be summed: it .*{said}"):
            combine([paths[0], path], [1.0, 1.0], tmp_path / "sum")
    (tmp_path / "base" / EXTENSION).write_text('{"old_vocab": 50}')
    with pytest.raises(UserError, match="cannot be summed: it carries rows of tokens"):
        combined([read_adapter(write(tiny, tmp_path, SETTINGS[0], 20))], [1.0])
    assert not (tmp_path / "sum").exists()


def test_other_bases_are_refused(tiny: Tiny, paths: list[Path], tmp_path: Path) -> None:
    save_model(tiny(seed=1), tmp_path / "other" / "base", {})
    other = write(tiny, tmp_path / "other", SETTINGS[0], 0)
    with pytest.raises(UserError, match=r"its base is .*other/base, and the first one's"):
        combine([paths[0], other], [1.0, 1.0], tmp_path / "sum")
    model = tiny(width=40)
    save_adapter(model, attach(model, SETTINGS[0], tmp_path / "base", 0), tmp_path / "wide")
    with pytest.raises(UserError, match="has another shape than in"):
        combine([paths[0], tmp_path / "wide"], [1.0, 1.0], tmp_path / "sum")
