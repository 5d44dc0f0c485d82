"""SmolLM3 (Bakouch et al. 2025): Llama in which every fourth layer has no RoPE (Yang et al. 2025, "RoPE to NoPE")."""

from pathlib import Path

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.families.llama import load as load
from danlu.model.families.llama import save as save
from danlu.model.families.names import LLAMA
from danlu.model.families.qwen2 import write_windows
from danlu.model.families.shape import (
    GLOBAL,
    LOCAL,
    ROPE,
    SHAPE,
    Values,
    activation,
    every,
    only,
    read_llama,
    read_windows,
    write_llama,
)

TYPES = ("smollm3",)
NAMES = LLAMA
DEFAULTS: Values = {
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 2e6,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "sliding_window": None,
    "no_rope_layer_interval": 4,
}
NO_TOKENS: Values = {
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}  # the class has its own, of 128,256


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    if values["attention_bias"] != values["mlp_bias"]:
        raise UserError("biases in attention but not in the feed-forward layer are not supported", where=where)
    activation(values, where, "hidden_act", {"silu": "swiglu"})
    layers, usual = range(values["num_hidden_layers"]), values["no_rope_layer_interval"]
    turned = values.get("no_rope_layers") or [(layer + 1) % usual != 0 for layer in layers]  # 1 is with RoPE
    skip = every([not flag for flag in turned], usual, "no_rope_layers", where)
    windows: Values = {}
    if values["use_sliding_window"]:
        kinds = values.get("layer_types") or [GLOBAL if flag else LOCAL for flag in turned]
        windows = read_windows(values, where, kinds)
    return ModelConfig(**read_llama(values, where), **windows, rope_skip=skip, bias=values["attention_bias"])


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where SmolLM3's class computes exactly this and Llama's does not."""
    fits = only(config, (*SHAPE, *ROPE, "bias", "rope_skip", "window", "global_every"))
    if not fits or not config.rope_skip or config.heads * config.head_width != config.width:
        return None
    values = write_llama(config, "smollm3", "SmolLM3ForCausalLM")
    return values and values | {
        **NO_TOKENS,
        "no_rope_layer_interval": config.rope_skip,
        "no_rope_layers": [int(config.is_turned(layer)) for layer in range(config.layers)],
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        **write_windows(config),
    }
