"""Mistral (Jiang et al. 2023): Llama in which every layer sees through a window. One without a window is a Llama."""

from pathlib import Path

from danlu.model.config import ModelConfig
from danlu.model.families.llama import load as load
from danlu.model.families.llama import save as save
from danlu.model.families.names import LLAMA
from danlu.model.families.shape import (
    ROPE,
    SHAPE,
    Values,
    activation,
    neutral,
    only,
    read_llama,
    read_windows,
    write_llama,
)

TYPES = ("mistral",)
NAMES = LLAMA
DEFAULTS: Values = {
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131_072,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    neutral(values, where, layer_types=None)
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    windows = read_windows(values, where, ["sliding_attention"])
    return ModelConfig(**read_llama(values, where), **windows)


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Mistral's class computes exactly this."""
    if not config.window or not only(config, (*SHAPE, *ROPE, "window")):
        return None
    values = write_llama(config, "mistral", "MistralForCausalLM")
    return values and values | {"sliding_window": config.window}
