"""Directories that transformers opens, transformers' directories opened here, and damage that is named."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

from danlu.base import artifact
from danlu.base.errors import UserError, from_os_error
from danlu.model import hub
from danlu.model.hub import INDEX, WEIGHTS, load_model, read_config, save_model
from danlu.model.transformer import Transformer

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Make:
    """A recipe."""


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out = model(IDS)
    return out if isinstance(out, torch.Tensor) else out.logits


SHAPES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 4, "tied": False},
    {"kv_heads": 1, "bias": True, "head_width": 6, "rope_theta": 321.0},
]


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_transformers_opens_ours(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    save_model(model, tmp_path, {"pad_token_id": 0, "eos_token_id": 3}, stop_ids=(3, 5))
    theirs, said = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(theirs, LlamaForCausalLM)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-4)
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert (generation.eos_token_id, generation.pad_token_id) == ([3, 5], 0)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_we_open_transformers_own(kv_heads: int, tied: bool, bias: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    switches = {"tie_word_embeddings": tied, "attention_bias": bias, "mlp_bias": bias}
    config = LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=kv_heads, **switches)
    theirs = LlamaForCausalLM(config)
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert (ours.config.head_width, ours.config.kv_heads, ours.config.tied) == (6, kv_heads, tied)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("changes", [*SHAPES, {"positions": "alibi", "norm": "layernorm", "tied": False}], ids=str)
def test_what_is_saved_is_loaded(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    save_model(model, tmp_path, {})
    again = load_model(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    assert torch.equal(logits(again), logits(model))
    before = (tmp_path / WEIGHTS).read_bytes()
    save_model(again, tmp_path, {})
    assert (tmp_path / WEIGHTS).read_bytes() == before


def test_shards_load_here_and_in_transformers(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(tied=False)
    monkeypatch.setattr(hub, "SHARD_BYTES", 12_000)
    save_model(model, tmp_path, {})
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert all(sum(t.nbytes for t in load_file(file).values()) <= 12_000 for file in files)
    total = json.loads((tmp_path / INDEX).read_text())["metadata"]["total_size"]
    assert total == 4 * model.config.parameters()
    assert torch.equal(logits(load_model(tmp_path)), logits(model))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-4)
    files[1].unlink()
    with pytest.raises(UserError, match=rf"{files[1].name}: no such file"):
        load_model(tmp_path)


def test_old_shards_do_not_outlive_new_weights(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hub, "SHARD_BYTES", 12_000)
        save_model(tiny(seed=1), tmp_path, {})
    save_model(tiny(seed=2), tmp_path, {})
    assert torch.equal(logits(load_model(tmp_path)), logits(tiny(seed=2)))


def damaged(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(path / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, path / WEIGHTS)


def refused(path: Path, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed_under_a_manifest(tiny: Tiny, tmp_path: Path) -> None:
    draft = artifact.begin(tmp_path / "m", "make", Make())
    save_model(tiny(), tmp_path / "m", {})
    draft.finish()
    assert isinstance(load_model(tmp_path / "m"), Transformer)
    data = bytearray((tmp_path / "m" / WEIGHTS).read_bytes())
    data[-5] ^= 4
    (tmp_path / "m" / WEIGHTS).write_bytes(data)
    refused(tmp_path / "m", r"model\.safetensors: differs from what its manifest says\. The file is damaged")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(tiny: Tiny, tmp_path: Path, keep: int) -> None:
    save_model(tiny(), tmp_path, {})
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[:keep])
    refused(tmp_path, r"model\.safetensors: cannot be read as safetensors \(.*\)\. The file is damaged")


def test_a_missing_tensor_and_a_wrong_shape(tiny: Tiny, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path, {})
    name = "model.layers.1.mlp.up_proj.weight"
    damaged(tmp_path, lambda tensors: tensors.update({name: tensors[name][:-1].clone()}))
    refused(tmp_path, r"tensor model\.layers\.1\.mlp\.up_proj\.weight has shape \[47, 32\], and .* says \[48, 32\]")
    damaged(tmp_path, lambda tensors: tensors.__delitem__(name))
    refused(tmp_path, r"tensor model\.layers\.1\.mlp\.up_proj\.weight is missing")


def test_an_output_layer_that_should_be_the_embedding(tiny: Tiny, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path, {})
    table = load_file(tmp_path / WEIGHTS)["model.embed_tokens.weight"]
    damaged(tmp_path, lambda tensors: tensors.update({"lm_head.weight": table.clone()}))
    assert torch.equal(logits(load_model(tmp_path)), logits(tiny()))
    damaged(tmp_path, lambda tensors: tensors.update({"lm_head.weight": table + 1}))
    refused(tmp_path, r"the output layer is not the embedding, and config\.json says that it is\. Correct tie_word")


def test_a_tensor_twice_or_without_a_place(tiny: Tiny, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "llama", {})
    damaged(tmp_path / "llama", lambda tensors: tensors.update({"norm.weight": torch.ones(32)}))
    refused(tmp_path / "llama", r"tensor norm\.weight is there twice, and the two differ")
    save_model(tiny(positions="alibi"), tmp_path / "danlu", {})
    damaged(tmp_path / "danlu", lambda tensors: tensors.update({"more": torch.ones(2)}))
    refused(tmp_path / "danlu", "tensor more has no place in the model")


def test_pickled_weights_are_never_opened(tiny: Tiny, tmp_path: Path) -> None:
    save_model(tiny(), tmp_path, {})
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    refused(tmp_path, r"pytorch_model\.bin: is a pickle, which is never read\. Give a directory with safetensors")


def test_what_is_not_there(tmp_path: Path, tiny: Tiny) -> None:
    refused(tmp_path, r"config\.json: no such file or directory\. Give a model directory")
    save_model(tiny(), tmp_path, {})
    (tmp_path / WEIGHTS).unlink()
    refused(tmp_path, r"model\.safetensors: no such file or directory\. Give a model directory")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_is_none(tiny: Tiny, tmp_path: Path, text: str) -> None:
    save_model(tiny(), tmp_path, {})
    (tmp_path / INDEX).write_text(text)
    refused(tmp_path, r"index\.json: not a usable index")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model_type": "nonsense"}, r"model type 'nonsense' is not supported.*\. Native families: llama, mistral"),
        ({"model_type": "gpt2"}, "not a usable configuration"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4}}, "RoPE scaling 'longrope' is not supported"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic"}}, "RoPE scaling 'dynamic' is not supported"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "not a usable configuration"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: quantised weights are not supported"),
        ({"attention_bias": True}, "biases in attention but not"),
        ({"hidden_act": "gelu"}, "activation 'gelu' is not supported in a llama model"),
        ({"num_key_value_heads": 3}, "kv_heads 3 do not divide heads 4"),
        ({"vocab_size": "many"}, "not a usable configuration"),
        ({"num_attention_heads": 0, "head_dim": None}, "not a usable configuration"),
        ({"hidden_size": None}, "not a usable configuration"),
    ],
)
def test_a_configuration_that_is_not_ours(tiny: Tiny, tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    save_model(tiny(), tmp_path, {})
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | changes))
    refused(tmp_path, rf"config\.json.*{problem}|{problem}")


@pytest.mark.parametrize("text", ["", "{", "[]", '"llama"', '{"model_type": "llama"}', '{"model_type": "danlu"}'])
def test_a_configuration_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: ") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_no_half_file(tiny: Tiny, small_disk: Path) -> None:
    with pytest.raises(OSError) as caught:
        save_model(tiny(vocab_size=4000), small_disk, {})
    sentence = str(from_os_error(caught.value))
    assert sentence.startswith(f"{small_disk / WEIGHTS}: no space left on the device")
    assert list(small_disk.iterdir()) == []
