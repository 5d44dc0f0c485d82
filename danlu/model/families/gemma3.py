"""Gemma 3, text only (Gemma team 2025): Gemma 2 without caps, with norms of queries and keys, and two RoPEs.

Layers with a window, five of six, turn at a base of their own and know no scaling. Its class reads a cap of the
scores and does nothing with it, so one is refused.
"""

from pathlib import Path

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.families import gemma2
from danlu.model.families.names import QK_NORM, Tensors, load_names, save_names
from danlu.model.families.shape import (
    GLOBAL,
    LOCAL,
    MAX_LENGTH,
    ROPE,
    Values,
    neutral,
    only,
    read_llama,
    read_scaling,
    read_windows,
    write_rope,
)

TYPES = ("gemma3_text",)
NAMES = gemma2.NAMES | QK_NORM
ALWAYS: Values = gemma2.ALWAYS | {"qk_norm": True}
DEFAULTS: Values = gemma2.DEFAULTS | {
    "max_position_embeddings": 131_072,
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "sliding_window_pattern": 6,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    values = DEFAULTS | values
    neutral(values, where, attn_logit_softcapping=None)
    usual = values["sliding_window_pattern"]
    layers = range(values["num_hidden_layers"])
    kinds = values.get("layer_types") or [GLOBAL if usual and (layer + 1) % usual == 0 else LOCAL for layer in layers]
    windows = read_windows(values, where, kinds, usual)
    plain = {key: value for key, value in values.items() if key not in ("rope_parameters", "rope_scaling")}
    shape = read_llama(plain, where) | _rope(values, where, bool(windows))
    return ModelConfig(**shape | gemma2.read_gemma(values, where), qk_norm=True, **windows)


def _rope(values: Values, where: Path, windows: bool) -> Values:
    """RoPE of all layers, and the base of those with a window."""
    nested = values.get("rope_parameters") or {}
    scaling = values.get("rope_scaling") or {}
    whole = {"rope_theta": values["rope_theta"], **(nested.get(GLOBAL) or {}), **scaling}
    local = {"rope_theta": values["rope_local_base_freq"], **(nested.get(LOCAL) or {})}
    rope = {"rope_theta": float(whole["rope_theta"]), **read_scaling(whole, values[MAX_LENGTH], where)}
    own = {"rope_theta": float(local["rope_theta"]), **read_scaling(local, values[MAX_LENGTH], where)}
    if not windows or own == rope:
        return rope
    if len(own) > 1:
        raise UserError(f"RoPE scaling {local['rope_type']!r} in layers with a window is not supported", where=where)
    return rope | {"rope_local_theta": own["rope_theta"]}


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where Gemma 3's class computes exactly this."""
    if not only(config, (*gemma2.FREE, *ROPE, "rope_local_theta"), **ALWAYS):
        return None
    values, rope = gemma2.write_gemma(config, "gemma3_text", "Gemma3ForCausalLM"), write_rope(config)
    if values is None or rope is None:
        return None
    for key in ("rope_theta", "rope_scaling"):
        values.pop(key, None)
    theta = config.rope_local_theta
    local = {"rope_type": "default", "rope_theta": theta} if theta else rope["rope_parameters"]
    pattern = {"sliding_window_pattern": config.global_every} if config.global_every else {}
    return values | pattern | {"rope_parameters": {GLOBAL: rope["rope_parameters"], LOCAL: local}}


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "model.")


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
