"""Qwen2 and 2.5 (Qwen team 2024): Llama with biases of queries, keys and values, and windows where asked for."""

from pathlib import Path

from danlu.model.config import ModelConfig
from danlu.model.families.llama import load as load
from danlu.model.families.llama import save as save
from danlu.model.families.names import LLAMA
from danlu.model.families.shape import (
    GLOBAL,
    LOCAL,
    ROPE,
    SHAPE,
    Values,
    activation,
    only,
    read_llama,
    read_windows,
    write_kinds,
    write_llama,
)

TYPES = ("qwen2",)
NAMES = LLAMA
DEFAULTS: Values = {
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    return ModelConfig(**read_llama(values, where), **windows(values, where), qkv_bias=True)


def windows(values: Values, where: Path) -> Values:
    """The kinds of the layers, listed or from the number of the first that has a window."""
    if not values["use_sliding_window"]:
        return {}
    first, layers = values["max_window_layers"], values["num_hidden_layers"]
    kinds = values.get("layer_types") or [LOCAL if layer >= first else GLOBAL for layer in range(layers)]
    return read_windows(values, where, kinds)


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Qwen2's class computes exactly this."""
    fits = only(config, (*SHAPE, *ROPE, "window", "global_every"), qkv_bias=True)
    if not fits or config.heads * config.head_width != config.width:
        return None
    values = write_llama(config, "qwen2", "Qwen2ForCausalLM")
    return values and values | write_windows(config)


def write_windows(config: ModelConfig) -> Values:
    """Which layers have a window, in both spellings where there is one."""
    if not config.window:
        return {"use_sliding_window": False}
    kinds = {"max_window_layers": 0, "layer_types": write_kinds(config)}
    return {"use_sliding_window": True, "sliding_window": config.window, **kinds}
