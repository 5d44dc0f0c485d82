"""Phi-3 and Phi-4 (Abdin et al. 2024): queries, keys and values are one matrix in the file, gate and up another.

Phi-3 computes what Mistral does, or without a window Llama, so a Phi-3 that was trained on is written as one of them,
which more programs open; only with RoPE over a part of each head (Phi-4-mini) is it written as Phi-3.
"""

from pathlib import Path

import torch

from danlu.model.config import ModelConfig
from danlu.model.families.names import LLAMA, QKV, Names, Tensors, join, load_names, save_names, split
from danlu.model.families.shape import (
    LOCAL,
    MAX_LENGTH,
    SHAPE,
    Values,
    activation,
    neutral,
    only,
    read_llama,
    read_windows,
    write_llama,
)
from danlu.model.families.smollm3 import NO_TOKENS

TYPES = ("phi3",)
GATE_UP = ("feedforward.gate", "feedforward.up")
NAMES: Names = LLAMA | {
    "blocks.{}.attention.qkv": "model.layers.{}.self_attn.qkv_proj",
    "blocks.{}.feedforward.gate_up": "model.layers.{}.mlp.gate_up_proj",
}
for part in (*QKV, *GATE_UP):
    del NAMES[f"blocks.{{}}.{part}"]
DEFAULTS: Values = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    neutral(values, where, resid_pdrop=0.0, embd_pdrop=0.0)
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    return ModelConfig(**read_llama(values, where, share=True), **read_windows(values, where, [LOCAL]))


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Phi-3's class computes exactly this."""
    fits = only(config, (*SHAPE, "rope_theta", "rope_share", "window"))
    if not fits or config.heads * config.head_width != config.width:
        return None
    values = write_llama(config, "phi3", "Phi3ForCausalLM")
    if values is None:
        return None
    del values["head_dim"]  # the class has no such key, and would take it for one of RoPE's
    share = {"partial_rotary_factor": config.rope_share}
    reach = {"original_max_position_embeddings": values[MAX_LENGTH], "sliding_window": config.window or None}
    return values | {"rope_parameters": values["rope_parameters"] | share} | share | reach | NO_TOKENS


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours, the matrices apart."""
    named = load_names(tensors, NAMES, "model.")
    rows = [heads * config.head_width for heads in (config.heads, config.kv_heads, config.kv_heads)]
    named = split(named, NAMES, "attention.qkv", QKV, sum(rows), lambda value: value.split(rows))
    return split(named, NAMES, "feedforward.gate_up", GATE_UP, 2 * config.feedforward, lambda value: value.chunk(2))


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs, the matrices in one."""
    joined = join(tensors, "attention.qkv", QKV, torch.cat)
    return save_names(join(joined, "feedforward.gate_up", GATE_UP, torch.cat), NAMES)
