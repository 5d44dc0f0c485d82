"""An adapter loads alone: on the base it was trained on, and, after an extension, on the one from before it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.loading import adapter_config, base_of, open_adapter
from danlu.model.adapters.rows import grow_rows
from danlu.model.adapters.settings import Lora
from danlu.model.hub import is_adapter, load_model, read_config, save_model
from danlu.model.transformer import Transformer
from danlu.tokens.extending.note import EXTENSION

OLD, SPARE, NEW = 58, 3, 70  # ids of the old tokenizer, rows that no id of it led to, rows now
IDS = torch.arange(50, 70).view(2, 10)


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


def extended(tiny: Tiny, tmp_path: Path, tied: bool, settings: Lora) -> Transformer:
    """``base`` of 61 rows, ``base-zh`` of 70, of which those from 58 on are new, and ``adapter`` trained on it."""
    model = tiny(tied=tied)
    save_model(model, tmp_path / "base", {})
    grow_rows(model, NEW)
    torch.manual_seed(1)
    with torch.no_grad():
        model.embed.weight[OLD:].normal_(std=0.3)
        if not tied:
            model.head.weight[OLD:].normal_(std=0.3)
    save_model(model, tmp_path / "base-zh", {})
    (tmp_path / "base-zh" / EXTENSION).write_text(json.dumps({"old_vocab": OLD}))
    adapter = attach(model, settings, tmp_path / "base-zh", 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    save_adapter(model, adapter, tmp_path / "adapter")
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("new_rows", [True, False])
def test_it_makes_the_same_model_of_either_base(tiny: Tiny, tmp_path: Path, tied: bool, new_rows: bool) -> None:
    trained = extended(tiny, tmp_path, tied, Lora(rank=4, new_rows=new_rows))
    wanted = logits(trained)
    assert wanted.shape[-1] == NEW
    shutil.rmtree(tmp_path / "base-zh")
    alone = open_adapter(tmp_path / "adapter", tmp_path / "base")
    assert torch.equal(logits(alone), wanted)
    assert alone.config == trained.config


def test_and_of_the_extended_one(tiny: Tiny, tmp_path: Path) -> None:
    wanted = logits(extended(tiny, tmp_path, True, Lora(rank=4)))
    shutil.rmtree(tmp_path / "base")
    assert torch.equal(logits(open_adapter(tmp_path / "adapter")), wanted)


def test_what_is_loaded_is_used_and_not_trained(tiny: Tiny, tmp_path: Path) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4, dropout=0.5))
    model = open_adapter(tmp_path / "adapter").train()
    assert torch.equal(logits(model), logits(model))  # no dropout is left
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_directory_is_expected_and_an_adapters_given(tiny: Tiny, tmp_path: Path) -> None:
    """Merged: a model like any other, whose every weight can be trained and saved."""
    trained = extended(tiny, tmp_path, False, Lora(rank=4))
    path = tmp_path / "adapter"
    assert is_adapter(path)
    assert not is_adapter(tmp_path / "base")
    model = load_model(path)
    assert read_config(path) == adapter_config(path) == model.config == trained.config
    torch.testing.assert_close(logits(model), logits(trained), rtol=0, atol=2e-5)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in load_model(tmp_path / "base").named_parameters()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    save_model(model, tmp_path / "merged", {})
    assert torch.equal(logits(load_model(tmp_path / "merged")), logits(model))


def test_an_adapter_on_an_adapter(tiny: Tiny, tmp_path: Path) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    model = load_model(tmp_path / "adapter")
    adapter = attach(model, Lora(rank=2), tmp_path / "adapter", 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    save_adapter(model, adapter, tmp_path / "second")
    assert adapter.first_row == OLD
    assert torch.equal(logits(open_adapter(tmp_path / "second")), logits(model))


def named(path: Path, base: Any) -> Path:
    """The adapter, with another base in its configuration."""
    config = json.loads((path / CONFIG).read_text())
    (path / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": base}))
    return path


def test_where_the_base_is_looked_for(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    path = tmp_path / "adapter"
    assert base_of(path) == tmp_path / "base-zh"
    assert base_of(path, tmp_path / "base") == tmp_path / "base"
    named(path, "base-zh")
    with pytest.raises(UserError, match=r"its base model 'base-zh' is not there. Give it with --base"):
        base_of(path)
    monkeypatch.chdir(tmp_path)
    assert base_of(path) == Path("base-zh")
    monkeypatch.chdir("/")
    manifest = {"format": 1, "outputs": {}, "inputs": {"model": {"path": "../base-zh", "sha256": ""}}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert base_of(path) == tmp_path / "base-zh"  # beside it, wherever the two were moved
    shutil.rmtree(tmp_path / "base-zh")
    note = json.loads((path / EXTENSION).read_text())
    (path / EXTENSION).write_text(json.dumps(note | {"base": "../base"}))
    assert base_of(path) == tmp_path / "base"
    (path / "manifest.json").unlink()
    (path / EXTENSION).unlink()
    with pytest.raises(UserError, match="does not say what its base model is"):
        base_of(named(path, None))


def test_an_adapter_without_its_base_is_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    shutil.rmtree(tmp_path / "base-zh")
    for read in (open_adapter, load_model, read_config):
        with pytest.raises(UserError, match=r"adapter: its base model '.*base-zh' is not there"):
            read(tmp_path / "adapter")


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "wider": ({"width": 40}, "down_proj is 32 x 48 for it, and 40 x 48 in"),
    "shorter": ({"layers": 1}, "changes model.layers.1.* which is no layer of a block of"),
    "fewer heads": ({"kv_heads": 1}, "k_proj is 16 x 32 for it, and 8 x 32 in"),
    "fewer rows": ({"vocab_size": 55}, "model.embed_tokens has 55 rows in .* and needs 70"),
    "untied": ({"tied": False}, "lm_head has 61 rows in .* and needs 70"),
    "another family": ({"activation": "gelu"}, "for model.embed_tokens, which .* has not"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_base_of_another_shape_is_one_sentence(tiny: Tiny, tmp_path: Path, other: str) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    changes, said = OTHERS[other]
    save_model(tiny(**changes), tmp_path / "other", {})
    if "width" in changes:  # the rows are looked at first
        tensors = load_file(tmp_path / "adapter" / WEIGHTS)
        save_file({n: v for n, v in tensors.items() if "token_adapter" not in n}, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(UserError, match=f"was made for another base: .*{said}"):
        open_adapter(tmp_path / "adapter", tmp_path / "other")


def test_rows_of_another_width_are_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    save_model(tiny(width=40), tmp_path / "other", {})
    with pytest.raises(UserError, match=r"carries rows of 32 numbers for model.embed_tokens"):
        open_adapter(tmp_path / "adapter", tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("model.norm.weight", [31], r"model.norm.weight is \[31\] for it, and \[32\] in"),
        ("model.embed_tokens.weight", [61, 32], "one of two embeddings"),
        ("model.layers.7.weight", [2], "has no model.layers.7.weight"),
    ],
)
def test_whole_tensors_must_fit(tiny: Tiny, tmp_path: Path, name: str, shape: list[int], said: str) -> None:
    extended(tiny, tmp_path, True, Lora(rank=4))
    file = tmp_path / "adapter" / WEIGHTS
    save_file(load_file(file) | {f"base_model.model.{name}": torch.zeros(shape)}, file)
    with pytest.raises(UserError, match=said):
        open_adapter(tmp_path / "adapter")


@pytest.mark.parametrize("differ", [0.0, 1.0])
def test_two_tables_for_one_must_be_equal(tiny: Tiny, tmp_path: Path, differ: float) -> None:
    """peft trains an output layer apart from the embedding that it was, if it is not told otherwise."""
    extended(tiny, tmp_path, True, Lora(rank=4))
    file, table = tmp_path / "adapter" / WEIGHTS, torch.ones(NEW, 32)
    tables = {"model.embed_tokens.weight": table, "lm_head.weight": table + differ}
    kept = {name: value for name, value in load_file(file).items() if "token_adapter" not in name}
    save_file(kept | {f"base_model.model.{name}": value for name, value in tables.items()}, file)
    if differ:
        with pytest.raises(UserError, match="two that differ"):
            open_adapter(tmp_path / "adapter")
    else:
        assert torch.equal(open_adapter(tmp_path / "adapter").embed.weight, table)
