"""What several families have in common in ``config.json``: sizes, RoPE and its scaling, windows, refusals.

RoPE is spelled in two ways, ``rope_parameters`` since transformers 5, ``rope_theta`` beside ``rope_scaling`` before;
both are read, and where a scaling is written both are there. Of two that disagree, transformers' choice is ours.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.model.config import Activation, ModelConfig

Values = dict[str, Any]
MAX_LENGTH = "max_position_embeddings"
SHAPE = (
    *("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward"),
    *("norm_epsilon", "max_length", "tied"),
)
ROPE = ("rope_theta", "rope_scaling", "rope_factor", "rope_original", "rope_low", "rope_high")
RAMPS = {  # kind → (the key of rope_low, its value as published, the key of rope_high, its value)
    "llama3": ("low_freq_factor", 1.0, "high_freq_factor", 4.0),
    "yarn": ("beta_slow", 1.0, "beta_fast", 32.0),
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def only(config: ModelConfig, free: Sequence[str], **fixed: Any) -> bool:
    """Are all switches but the ``free`` ones as the class has them: ``fixed``, or our defaults?"""
    names = (field.name for field in dataclasses.fields(ModelConfig) if field.name not in free)
    return all(getattr(config, name) == fixed.get(name, getattr(ModelConfig, name)) for name in names)


def square(config: ModelConfig) -> bool:
    """Are the heads together as wide as the stream, each with keys of its own? Older classes know no other shape."""
    return config.heads * config.head_width == config.width and config.kv_heads == config.heads


def neutral(values: Values, where: Path, **allowed: Any) -> None:
    """A `UserError` for a key that says what we do not compute; ``allowed`` is where they say nothing."""
    for key, value in allowed.items():
        if values.get(key, value) != value:
            raise UserError(f"{key} {values[key]!r} is not supported in a {values['model_type']} model", where=where)


def activation(values: Values, where: Path, key: str, known: dict[str, Activation]) -> Activation:
    """Ours for theirs."""
    if values[key] not in known:
        raise UserError(f"activation '{values[key]}' is not supported in a {values['model_type']} model", where=where)
    return known[values[key]]


def read_llama(values: Values, where: Path, *, share: bool = False) -> Values:
    """`ModelConfig`'s arguments that Llama and its heirs spell alike; ``share`` if RoPE may turn a part of a head."""
    heads = values["num_attention_heads"]
    return {
        "vocab_size": values["vocab_size"],
        "layers": values["num_hidden_layers"],
        "width": values["hidden_size"],
        "heads": heads,
        "kv_heads": values.get("num_key_value_heads") or heads,
        "head_width": values.get("head_dim") or values["hidden_size"] // heads,
        "feedforward": values["intermediate_size"],
        "norm_epsilon": values["rms_norm_eps"],
        "max_length": values[MAX_LENGTH],
        "tied": values["tie_word_embeddings"],
        **read_rope(values, where, share=share),
    }


def read_rope(values: Values, where: Path, *, share: bool = False) -> Values:
    """RoPE's arguments, from either spelling."""
    found = dict(values.get("rope_scaling") or values.get("rope_parameters") or {})
    theta = found.get("rope_theta") or values.get("rope_theta") or 10_000.0
    part = found.get("partial_rotary_factor") or values.get("partial_rotary_factor") or 1.0
    if part != 1 and not share:
        raise UserError(f"partial_rotary_factor {part} is not supported in a {values['model_type']} model", where=where)
    turned = {"rope_share": float(part)} if share else {}
    return {"rope_theta": float(theta), **turned, **read_scaling(found, values[MAX_LENGTH], where)}


def read_scaling(found: Values, length: int, where: Path) -> Values:
    """RoPE's scaling; what follows from the other values, or is as published, is left at our defaults."""
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return {}
    if kind not in ("linear", *RAMPS):
        raise UserError(f"RoPE scaling '{kind}' is not supported", where=where)
    factor = float(found["factor"])
    scaling: Values = {"rope_scaling": kind, "rope_factor": factor}
    if kind == "linear":
        return scaling
    warmth = 0.1 * math.log(factor) + 1.0
    said = {"mscale": None, "mscale_all_dim": None, "truncate": True} if kind == "yarn" else {}
    for key, value in said.items():
        if found.get(key, value) not in (None, value):
            raise UserError(f"{key} {found[key]!r} of RoPE scaling 'yarn' is not supported", where=where)
    if kind == "yarn" and not math.isclose(found.get("attention_factor") or warmth, warmth, rel_tol=1e-6):
        raise UserError(f"attention_factor {found['attention_factor']} of RoPE scaling 'yarn' is not supported",
                        where=where)  # fmt: skip
    original = int(found.get("original_max_position_embeddings") or length)
    low, low_value, high, high_value = RAMPS[kind]
    given = {"rope_low": (low, low_value), "rope_high": (high, high_value)}
    for ours, (key, usual) in given.items():
        turns = float(found.get(key) or usual)
        scaling[ours] = 0.0 if turns == usual else turns
    return scaling | {"rope_original": 0 if original * factor == length else original}


def write_rope(config: ModelConfig) -> Values | None:
    """``rope_theta``, ``rope_parameters``, and ``rope_scaling`` where there is one; None for what has no spelling."""
    kind, theta = config.rope_scaling, config.rope_theta
    if kind == "none":
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    scaling: Values = {"rope_type": kind, "factor": config.rope_factor}
    if kind in RAMPS:
        original = config.rope_original or config.max_length / config.rope_factor
        if original != int(original):
            return None
        low, low_value, high, high_value = RAMPS[kind]
        ramp = {low: config.rope_low or low_value, high: config.rope_high or high_value}
        scaling |= {"original_max_position_embeddings": int(original), **ramp}
    elif kind != "linear":
        return None
    return {"rope_theta": theta, "rope_parameters": {**scaling, "rope_theta": theta}, "rope_scaling": scaling}


def write_llama(config: ModelConfig, kind: str, architecture: str) -> Values | None:
    """The values that Llama and its heirs spell alike."""
    rope = write_rope(config)
    return rope and {
        "model_type": kind,
        "architectures": [architecture],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.feedforward,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        **rope,
        MAX_LENGTH: config.max_length,
        "tie_word_embeddings": config.tied,
    }


def every(flags: Sequence[bool], usual: int, key: str, where: Path) -> int:
    """Every how many layers one is marked, 0 for none; ``usual`` if that says the same."""
    for number in (usual, 0, *range(1, len(flags) + 1)):
        if list(flags) == [bool(number) and (layer + 1) % number == 0 for layer in range(len(flags))]:
            return number
    raise UserError(f"{key} does not mark every so many layers one, which is not supported", where=where)


def read_windows(values: Values, where: Path, kinds: Sequence[str], usual: int = 0) -> Values:
    """``window`` and ``global_every`` from the kind of each layer. No window is longer than the model's length."""
    for kind in kinds:
        if kind not in (LOCAL, GLOBAL):
            raise UserError(f"layer_types {kind!r} is not supported", where=where)
    if LOCAL not in kinds or not values["sliding_window"]:
        return {}
    number = every([kind == GLOBAL for kind in kinds], usual, "layer_types", where)
    return {"window": min(values["sliding_window"], values[MAX_LENGTH]), "global_every": number}


def write_kinds(config: ModelConfig) -> list[str]:
    """``layer_types``."""
    return [LOCAL if config.is_local(layer) else GLOBAL for layer in range(config.layers)]
