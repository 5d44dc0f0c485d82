"""A model on disk is a Hugging Face directory: read and write ``config.json`` and ``model.safetensors``.

Configurations that Llama's class expresses are written as Llama, so transformers, vLLM and llama.cpp's
converter open them as they are. Any other combination of switches is written as ``model_type: danlu``,
which transformers opens after ``import danlu.model.hf``. Pickle is never read.
"""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.artifact import find
from danlu.base.errors import UserError
from danlu.base.files import existing, remove, sha256, sync, write_text
from danlu.base.recipe import from_dict, to_dict
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer

SHARD_BYTES = 2 * 10**9
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"  # a directory with it holds an adapter and not a model: danlu.model.adapters
MAX_LENGTH = "max_position_embeddings"
# Names by which transformers understands, and refuses, another thing.
RENAMED = {"max_length": MAX_LENGTH, "rope_scaling": "rope_reach"}
DAMAGED = "The file is damaged: make or copy it again"
LLAMA_KEYS = (
    *("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward"),
    *("norm_epsilon", "rope_theta", "max_length", "tied", "bias"),
)
LLAMA_NAMES = (
    ("embed.", "model.embed_tokens."),
    ("norm.", "model.norm."),
    ("head.", "lm_head."),
    ("blocks.", "model.layers."),
    (".attention_norm.", ".input_layernorm."),
    (".feedforward_norm.", ".post_attention_layernorm."),
    (".attention.", ".self_attn."),
    (".feedforward.", ".mlp."),
    *((f".{part}.", f".{part}_proj.") for part in ("q", "k", "v", "o", "gate", "up", "down")),
)


def is_llama(config: ModelConfig) -> bool:
    """Does transformers' Llama class compute exactly this?"""
    shape = {name: getattr(config, name) for name in LLAMA_KEYS}
    return config == ModelConfig(**shape)


def llama_name(name: str) -> str:
    """Our parameter name → Llama's."""
    for ours, theirs in LLAMA_NAMES:
        if ours.startswith(".") and ours in name:
            name = name.replace(ours, theirs)
        elif not ours.startswith(".") and name.startswith(ours):
            name = theirs + name[len(ours) :]
    return name


def to_hub_config(config: ModelConfig, tokens: dict[str, Any]) -> dict[str, Any]:
    """``config.json``. ``tokens``: bos_token_id, eos_token_id, pad_token_id where known."""
    if not is_llama(config):
        shape = {RENAMED.get(name, name): value for name, value in to_dict(config).items()}
        kind = {"model_type": "danlu", "architectures": ["DanluForCausalLM"]}
        return kind | shape | {"tie_word_embeddings": config.tied, "dtype": "float32", **tokens}
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.feedforward,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        MAX_LENGTH: config.max_length,
        "tie_word_embeddings": config.tied,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "dtype": "float32",
        **tokens,
    }


def from_hub_config(values: dict[str, Any], where: Path) -> ModelConfig:
    """The `ModelConfig` of a ``config.json``; a `UserError` for a family that is not native."""
    if values.get("model_type") == "danlu":
        names = {RENAMED.get(name, name): name for name in ModelConfig.__dataclass_fields__}
        return from_dict(ModelConfig, {names[k]: v for k, v in values.items() if k in names}, str(where))
    if values.get("model_type") != "llama":
        raise UserError(
            f"model type '{values.get('model_type')}' is not supported",
            where=where,
            remedy="Native families: llama, danlu",
        )
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise UserError(f"RoPE scaling '{rope.get('rope_type', rope.get('type'))}' is not supported", where=where)
    if values.get("attention_bias", False) != values.get("mlp_bias", False):
        raise UserError("biases in attention but not in the feed-forward layer are not supported", where=where)
    if values.get("hidden_act", "silu") != "silu":
        raise UserError(f"activation '{values['hidden_act']}' is not supported in a llama model", where=where)
    heads = values["num_attention_heads"]
    return ModelConfig(
        vocab_size=values["vocab_size"],
        layers=values["num_hidden_layers"],
        width=values["hidden_size"],
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_width=values.get("head_dim") or values["hidden_size"] // heads,
        feedforward=values["intermediate_size"],
        norm_epsilon=values.get("rms_norm_eps", 1e-6),
        rope_theta=float(values.get("rope_theta") or rope.get("rope_theta", 10_000.0)),
        max_length=values.get(MAX_LENGTH, 2048),
        tied=values.get("tie_word_embeddings", False),
        bias=values.get("attention_bias", False),
    )


def save_model(model: Transformer, path: Path, tokens: dict[str, Any], stop_ids: tuple[int, ...] = ()) -> None:
    """Write ``config.json``, ``generation_config.json`` and the weights (sharded above 2 GB)."""
    path.mkdir(parents=True, exist_ok=True)
    rename = llama_name if is_llama(model.config) else str
    tensors = {rename(name): value.detach().cpu().contiguous() for name, value in model.named_parameters()}
    _write_weights(tensors, path)
    write_text(path / "config.json", _json(to_hub_config(model.config, tokens)))
    generation = dict(tokens)
    if stop_ids:
        generation["eos_token_id"] = list(stop_ids)
    write_text(path / "generation_config.json", _json(generation))


def _write_weights(tensors: dict[str, Tensor], path: Path) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in sorted(tensors.items()):
        if size and size + value.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = value
        size += value.nbytes
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    )
    for file, shard in zip(names, shards, strict=True):
        temporary = path / f".{file}.tmp"
        try:
            save_file(shard, temporary, metadata={"format": "pt"})
            sync(temporary)
            temporary.replace(path / file)
        except SafetensorError as error:
            remove(temporary)
            raise OSError(28, f"could not write the weights ({error})", str(path / file)) from None
    sync(path)
    remove(path / INDEX)  # of an earlier save, whose shards would be read instead
    if len(shards) > 1:
        weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        total = sum(value.nbytes for value in tensors.values())
        write_text(path / INDEX, _json({"metadata": {"total_size": total}, "weight_map": weight_map}))


def is_adapter(path: Path) -> bool:
    """Does the directory hold an adapter? transformers asks the same."""
    return (path / ADAPTER).is_file()


def read_config(path: Path) -> ModelConfig:
    """The configuration of a model directory, or of what an adapter makes of its base."""
    if is_adapter(path):
        from danlu.model.adapters.loading import adapter_config

        return adapter_config(path)
    existing(path / "config.json", remedy="Give a model directory: one with config.json and model.safetensors")
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return from_hub_config(values, path / "config.json")
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"not a usable configuration ({error!r})", where=path / "config.json") from None


def load_model(path: Path) -> Transformer:
    """Read a model directory. Damage (truncation, flipped bits, missing tensors) is named, never loaded.

    An adapter's directory becomes its base with the adapter merged in: a model like any other, to use or to train on.
    """
    if is_adapter(path):
        from danlu.model.adapters.loading import open_adapter
        from danlu.model.adapters.merging import merge

        return merge(open_adapter(path))
    config = read_config(path)
    tensors = {}
    for file in _weight_files(path):
        check_hash(path, file)
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError, struct.error) as error:
            raise UserError(
                f"cannot be read as safetensors ({error})",
                where=file,
                remedy="The file is damaged: make or copy it again",
            ) from None
    model = Transformer(config)
    rename = llama_name if is_llama(config) else str
    _fill(model, tensors, {name: rename(name) for name, _ in model.named_parameters()}, path)
    return model


def _weight_files(path: Path) -> list[Path]:
    if (path / INDEX).exists():
        try:
            names = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
            files = [path / name for name in sorted(set(names))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a usable index ({error!r})", where=path / INDEX, remedy=DAMAGED) from None
        return [existing(file) for file in files]
    return [existing(path / WEIGHTS, remedy="Give a model directory: one with config.json and model.safetensors")]


def check_hash(path: Path, file: Path) -> None:
    """Where a manifest says what the file was, hold it to that: safetensors itself notices no flipped bit."""
    artifact = find(path)
    expected = artifact.manifest["outputs"].get(file.name) if artifact else None
    if expected and sha256(file) != expected:
        raise UserError("differs from what its manifest says", where=file, remedy=DAMAGED)


@torch.no_grad()
def _fill(model: Transformer, tensors: dict[str, Tensor], names: dict[str, str], path: Path) -> None:
    """Copy, so that every parameter keeps torch's own alignment: a mapped file's would change rounding."""
    for name, parameter in model.named_parameters():
        found = tensors.get(names[name])
        if found is None:
            raise UserError(f"tensor {names[name]} is missing", where=path, remedy="The file is incomplete")
        if found.shape != parameter.shape:
            shapes = f"{list(found.shape)}, and config.json says {list(parameter.shape)}"
            raise UserError(f"tensor {names[name]} has shape {shapes}", where=path)
        parameter.copy_(found)


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
