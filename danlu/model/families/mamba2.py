"""Mamba-2 (Dao and Gu 2024) by the names of transformers' Mamba2ForCausalLM.

Theirs has one projection into the layer, gate, x, B, C and Δ in one matrix; here it is three layers, so that what
makes matrices orthogonal (Muon) does not mix rows of different meaning.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.kinds import StateSpace

TYPES = ("mamba2",)
UNLIMITED = 1 << 20  # a state has no longest sequence; max_length wants a number, and this one no memory
LENGTH = "max_position_embeddings"  # theirs has no such key: ours, kept for whoever trains on
PREFIXES = (
    ("embed.", "backbone.embeddings."),
    ("norm.", "backbone.norm_f."),
    ("head.", "lm_head."),
    ("blocks.", "backbone.layers."),
)
PARTS = (
    (".mamba.kernel_bias", ".mixer.conv1d.bias"),
    (".mamba.kernel", ".mixer.conv1d.weight"),
    (".mamba.pace_shift", ".mixer.dt_bias"),
    (".mamba.forgetting", ".mixer.A_log"),
    (".mamba.skip", ".mixer.D"),
    (".mamba.norm.", ".mixer.norm."),
    (".mamba.o.", ".mixer.out_proj."),
    (".mamba_norm.", ".norm."),  # last: on the way back it would take the layer's own norm
)
INTO = ("gate", "mixed", "pace")


def read(values: dict[str, Any], where: Path) -> ModelConfig:
    """The `ModelConfig` of a ``config.json``."""
    if values.get("hidden_act", "silu") != "silu":
        raise UserError(f"activation '{values['hidden_act']}' is not supported in a mamba2 model", where=where)
    low, high = values.get("time_step_limit") or (0.0, "inf")
    high = high.get("__float__", "inf") if isinstance(high, dict) else high  # JSON has no infinity
    if float(low) != 0.0 or float(high) != float("inf"):
        raise UserError(f"a time_step_limit of {low} to {high} is not supported", where=where)
    width, heads = values.get("hidden_size", 4096), values.get("num_heads", 128)
    state_space = StateSpace(
        state=values.get("state_size", 128),
        head_width=values.get("head_dim", 64),
        groups=values.get("n_groups", 8),
        convolution=values.get("conv_kernel", 4),
        convolution_bias=values.get("use_conv_bias", True),
        chunk=values.get("chunk_size", 256),
        expand=values.get("expand", 2),
    )
    if state_space.heads(width) != heads:
        raise UserError(f"{heads} heads do not fill a layer of {state_space.inner(width)}", where=where)
    return ModelConfig(
        vocab_size=values.get("vocab_size", 32_768),
        layers=values.get("num_hidden_layers", 64),
        width=width,
        norm_epsilon=values.get("layer_norm_epsilon", 1e-5),
        positions="none",
        max_length=values.get(LENGTH, UNLIMITED),
        tied=values.get("tie_word_embeddings", False),
        bias=values.get("use_bias", False),
        state_space=state_space,
    )


def write(config: ModelConfig) -> dict[str, Any] | None:
    """``config.json`` of the class, or None where it does not compute exactly this."""
    space = config.state_space
    if space is None or config.attends or space.feedforward:
        return None
    values = {
        "model_type": "mamba2",
        "architectures": ["Mamba2ForCausalLM"],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_heads": space.heads(config.width),
        "head_dim": space.head_width,
        "state_size": space.state,
        "n_groups": space.groups,
        "conv_kernel": space.convolution,
        "use_conv_bias": space.convolution_bias,
        "chunk_size": space.chunk,
        "expand": space.expand,
        "use_bias": config.bias,
        "hidden_act": "silu",
        "layer_norm_epsilon": config.norm_epsilon,
        "time_step_rank": -(-config.width // 16),  # nothing uses it, and some readers want it
        LENGTH: config.max_length,
        "tie_word_embeddings": config.tied,
        "dtype": "float32",
    }
    unused = {name: getattr(config, name) for name in ("heads", "kv_heads", "head_width", "feedforward", "activation")}
    return values if replace(read(values, Path("config.json")), **unused) == config else None


def _renamed(name: str, *, back: bool = False) -> str:
    """Their name of a tensor that is the same in both, or ours of theirs."""
    for pair in PREFIXES:
        old, new = pair[::-1] if back else pair
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    for pair in PARTS:
        old, new = pair[::-1] if back else pair
        if old in name:
            return name.replace(old, new)
    return name


def save(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our tensors → theirs."""
    into = {name for name in tensors if any(f".mamba.{part}." in name for part in INTO)}
    theirs = {_renamed(name): value for name, value in tensors.items() if name not in into}
    for name in into:
        if ".mamba.gate." in name:
            layer, kind = name.split(".")[1], name.split(".")[-1]
            parts = [tensors[name.replace(".gate.", f".{part}.")] for part in INTO]
            theirs[f"backbone.layers.{layer}.mixer.in_proj.{kind}"] = torch.cat(parts)
    return theirs


def load(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Their tensors → ours. A projection of another size is left as it is, and the reader of the directory names it."""
    space, ours = config.state_space, dict[str, Tensor]()
    assert space is not None
    sizes = [space.inner(config.width), space.mixed(config.width), space.heads(config.width)]
    for name, value in tensors.items():
        if ".mixer.in_proj." in name and len(value) == sum(sizes):
            place, kind = name.split(".")[2], name.split(".")[-1]
            for part, piece in zip(INTO, value.split(sizes), strict=True):
                ours[f"blocks.{place}.mamba.{part}.{kind}"] = piece
        else:  # some of the first files call the table embedding
            plain = name.replace("backbone.embedding.", "backbone.embeddings.")
            ours[_renamed(plain, back=True)] = value
    return ours
