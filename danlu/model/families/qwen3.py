"""Qwen3, the dense models (Qwen team 2025): Llama with RMSNorm over each head's queries and keys."""

from pathlib import Path

from danlu.model.config import ModelConfig
from danlu.model.families import qwen2
from danlu.model.families.names import LLAMA, QK_NORM, Tensors, load_names, save_names
from danlu.model.families.shape import ROPE, SHAPE, Values, activation, neutral, only, read_llama, write_llama

TYPES = ("qwen3",)
NAMES = LLAMA | QK_NORM
DEFAULTS: Values = qwen2.DEFAULTS | {"head_dim": 128}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    neutral(values, where, attention_bias=False)
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    return ModelConfig(**read_llama(values, where), **qwen2.windows(values, where), qk_norm=True)


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Qwen3's class computes exactly this."""
    if not only(config, (*SHAPE, *ROPE, "window", "global_every"), qk_norm=True):
        return None
    values = write_llama(config, "qwen3", "Qwen3ForCausalLM")
    return values and values | {"attention_bias": False, **qwen2.write_windows(config)}


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "model.")


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
