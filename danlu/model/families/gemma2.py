"""Gemma 2 (Gemma team 2024): GeGLU, norms before and after each layer, capped scores and logits, every second window.

Its norms add their weights to 1, and its embeddings are multiplied by √width.
"""

from pathlib import Path

from danlu.model.config import Activation, ModelConfig
from danlu.model.families.names import LLAMA, Names, Tensors, load_names, save_names
from danlu.model.families.shape import (
    GLOBAL,
    LOCAL,
    MAX_LENGTH,
    ROPE,
    SHAPE,
    Values,
    activation,
    neutral,
    only,
    read_llama,
    read_windows,
    write_kinds,
    write_llama,
)

TYPES = ("gemma2",)
NAMES: Names = LLAMA | {
    "blocks.{}.attention_after": "model.layers.{}.post_attention_layernorm",
    "blocks.{}.feedforward_norm": "model.layers.{}.pre_feedforward_layernorm",
    "blocks.{}.feedforward_after": "model.layers.{}.post_feedforward_layernorm",
}
ALWAYS: Values = {"activation": "geglu", "norm_place": "sandwich", "norm_plus_one": True}
FREE = (*SHAPE, "window", "global_every", "attention_scale", "logit_cap", "embedding_multiplier")
GELU: dict[str, Activation] = {"gelu_pytorch_tanh": "geglu", "gelu_new": "geglu"}
DEFAULTS: Values = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    kinds = [GLOBAL if (layer + 1) % 2 == 0 else LOCAL for layer in range(values["num_hidden_layers"])]
    windows = read_windows(values, where, values.get("layer_types") or kinds, usual=2)
    cap = float(values["attn_logit_softcapping"] or 0)
    return ModelConfig(**read_gemma(values, where), **read_llama(values, where), **windows, attention_cap=cap)


def read_gemma(values: Values, where: Path) -> Values:
    """What Gemma 2 and 3 have in common and Llama has not."""
    neutral(values, where, attention_bias=False)
    if values.get("use_bidirectional_attention"):
        neutral(values, where, use_bidirectional_attention=False)
    activation(values, where, "hidden_activation", GELU)
    scalar = values["query_pre_attn_scalar"]
    return {
        **ALWAYS,
        "embedding_multiplier": values["hidden_size"] ** 0.5,
        "attention_scale": 0.0 if scalar == values["head_dim"] else scalar**-0.5,
        "logit_cap": float(values["final_logit_softcapping"] or 0),
    }


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Gemma 2's class computes exactly this."""
    if not only(config, (*FREE, *ROPE, "attention_cap"), **ALWAYS):
        return None
    values = write_gemma(config, "gemma2", "Gemma2ForCausalLM")
    return values and values | {"attn_logit_softcapping": config.attention_cap or None}


def write_gemma(config: ModelConfig, kind: str, architecture: str) -> Values | None:
    """The other way."""
    scalar = round(config.attention_scale**-2) if config.attention_scale else config.head_width
    exact = not config.attention_scale or scalar**-0.5 == config.attention_scale
    values = write_llama(config, kind, architecture)
    if values is None or not exact or config.embedding_multiplier != config.width**0.5:
        return None
    del values["hidden_act"]
    return values | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "final_logit_softcapping": config.logit_cap or None,
        "attention_bias": False,
        "sliding_window": config.window or values[MAX_LENGTH],
        "layer_types": write_kinds(config),
    }


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "model.")


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
