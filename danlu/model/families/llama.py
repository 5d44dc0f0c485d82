"""Llama 2 and 3 (Touvron et al. 2023; Llama team 2024), and what is published under its name: SmolLM2, Yi, …"""

from pathlib import Path

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.families.names import LLAMA, Tensors, load_names, save_names
from danlu.model.families.shape import ROPE, SHAPE, Values, activation, only, read_llama, write_llama

TYPES = ("llama",)
NAMES = LLAMA
DEFAULTS: Values = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    if values["attention_bias"] != values["mlp_bias"]:
        raise UserError("biases in attention but not in the feed-forward layer are not supported", where=where)
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    return ModelConfig(**read_llama(values, where), bias=values["attention_bias"])


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Llama's class computes exactly this."""
    if not only(config, (*SHAPE, *ROPE, "bias")):
        return None
    values = write_llama(config, "llama", "LlamaForCausalLM")
    return values and values | {"attention_bias": config.bias, "mlp_bias": config.bias}


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "model.")


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
