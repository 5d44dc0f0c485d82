"""Mixtral (Jiang et al. 2024) and Qwen3-MoE (Yang et al. 2025): decoders whose feed-forward layers are mixtures.

On disk every expert's matrices are tensors of their own; here an expert is a row of a stack. transformers also
writes them so, whatever it computes with.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.kinds import Experts

TYPES = ("mixtral", "qwen3_moe")
CLASSES = {"mixtral": "MixtralForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}
LIMIT = "max_position_embeddings"
PREFIXES = (
    ("embed.", "model.embed_tokens."),
    ("norm.", "model.norm."),
    ("head.", "lm_head."),
    ("blocks.", "model.layers."),
)
PARTS = (
    (".attention_norm.", ".input_layernorm."),
    (".feedforward_norm.", ".post_attention_layernorm."),
    *((f".attention.{part}.", f".self_attn.{part}_proj.") for part in ("q", "k", "v", "o")),
    *((f".attention.{part}_norm.", f".self_attn.{part}_norm.") for part in ("q", "k")),
    *((f".feedforward.{part}.", f".mlp.{part}_proj.") for part in ("gate", "up", "down")),
)
STACKED = re.compile(r"blocks\.(\d+)\.feedforward\.experts\.(gate|up|down)\.weight")
ROUTER = re.compile(r"blocks\.(\d+)\.feedforward\.router\.weight")
MIXTRAL = {"gate": "w1", "down": "w2", "up": "w3"}  # by the order in which the paper's code made them


def read(values: dict[str, Any], where: Path) -> ModelConfig:
    """The `ModelConfig` of a ``config.json``."""
    kind = values["model_type"]
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        raise UserError(f"RoPE scaling '{scaling}' is not supported in a {kind} model", where=where)
    if values.get("hidden_act", "silu") != "silu":
        raise UserError(f"activation '{values['hidden_act']}' is not supported in a {kind} model", where=where)
    if values.get("attention_bias"):
        raise UserError("biases in attention are not supported in a qwen3_moe model", where=where)
    heads, count = values["num_attention_heads"], values.get("num_local_experts") or values.get("num_experts")
    mixtral = kind == "mixtral"
    window = values.get("sliding_window") if mixtral or values.get("use_sliding_window") else None
    limit = values.get(LIMIT, 131_072 if mixtral else 32_768)
    return ModelConfig(
        vocab_size=values["vocab_size"],
        layers=values["num_hidden_layers"],
        width=values["hidden_size"],
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_width=values.get("head_dim") or values["hidden_size"] // heads,
        feedforward=values["intermediate_size"],
        norm_epsilon=values.get("rms_norm_eps", 1e-5 if mixtral else 1e-6),
        rope_theta=float(values.get("rope_theta") or rope.get("rope_theta", 1e6 if mixtral else 1e4)),
        max_length=limit,
        window=min(window, limit) if window else 0,
        qk_norm=not mixtral,
        tied=values.get("tie_word_embeddings", False),
        experts=Experts(
            count=count or (8 if mixtral else 128),
            per_token=values.get("num_experts_per_tok", 2 if mixtral else 8),
            width=values["intermediate_size"] if mixtral else values["moe_intermediate_size"],
            normalise=mixtral or values.get("norm_topk_prob", False),
            every=1 if mixtral else values.get("decoder_sparse_step", 1),
            dense_first=_dense_first(values.get("mlp_only_layers") or [], where),
            balance=values.get("router_aux_loss_coef", 0.001),
            router_z=values.get("router_z_loss_coef", 0.0),
        ),
    )


def _dense_first(layers: list[int], where: Path) -> int:
    if sorted(layers) != list(range(len(layers))):
        raise UserError(f"layers {layers} without experts are not supported: only the first ones are", where=where)
    return len(layers)


def write(config: ModelConfig) -> dict[str, Any] | None:
    """``config.json`` of the class that computes exactly this, or None."""
    if config.experts is None:
        return None
    # Where every layer has experts, the width of the other feed-forward layers says nothing.
    everywhere = all(config.has_experts(layer) for layer in range(config.layers))
    for kind in TYPES:
        values = _written(config, config.experts, kind)
        again = read(values, Path("config.json"))
        if config == (replace(again, feedforward=config.feedforward) if everywhere else again):
            return values
    return None


def _written(config: ModelConfig, experts: Experts, kind: str) -> dict[str, Any]:
    values = {
        "model_type": kind,
        "architectures": [CLASSES[kind]],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": experts.width if kind == "mixtral" else config.feedforward,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        LIMIT: config.max_length,
        "sliding_window": config.window or None,
        "tie_word_embeddings": config.tied,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.per_token,
        "router_aux_loss_coef": experts.balance,
        "router_z_loss_coef": experts.router_z,  # neither class has it: kept for whoever trains on
        "dtype": "float32",
    }
    if kind == "mixtral":
        return values
    return values | {
        "num_experts": experts.count,  # the name of Qwen's own files; transformers writes the other
        "moe_intermediate_size": experts.width,
        "norm_topk_prob": experts.normalise,
        "decoder_sparse_step": experts.every,
        "mlp_only_layers": list(range(experts.dense_first)),
        "use_sliding_window": bool(config.window),
        "attention_bias": False,
    }


def _renamed(name: str, *, back: bool = False) -> str:
    """Their name of a tensor that is the same in both, or ours of theirs."""
    for pair in PREFIXES:
        ours, theirs = pair[::-1] if back else pair
        if name.startswith(ours):
            name = theirs + name[len(ours) :]
            break
    for pair in PARTS:
        ours, theirs = pair[::-1] if back else pair
        name = name.replace(ours, theirs)
    return name


def _expert(layer: str, expert: int, part: str, mixtral: bool) -> str:
    if mixtral:
        return f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{MIXTRAL[part]}.weight"
    return f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"


def _router(layer: str, mixtral: bool) -> str:
    return f"model.layers.{layer}.{'block_sparse_moe' if mixtral else 'mlp'}.gate.weight"


def save(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our tensors → theirs."""
    mixtral, theirs = not config.qk_norm, dict[str, Tensor]()
    for name, value in tensors.items():
        if stacked := STACKED.fullmatch(name):
            for expert, matrix in enumerate(value):
                theirs[_expert(stacked[1], expert, stacked[2], mixtral)] = matrix.contiguous()
        elif router := ROUTER.fullmatch(name):
            theirs[_router(router[1], mixtral)] = value
        else:
            theirs[_renamed(name)] = value
    return theirs


def load(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Their tensors → ours. What is missing is missing after it too, and the reader of the directory names it."""
    assert config.experts is not None
    mixtral, ours = not config.qk_norm, dict(tensors)
    made = dict[str, Tensor]()
    for layer in range(config.layers):
        if not config.has_experts(layer):
            continue
        place = f"blocks.{layer}.feedforward"
        if (router := ours.pop(_router(str(layer), mixtral), None)) is not None:
            made[f"{place}.router.weight"] = router
        for part in ("gate", "up", "down"):
            names = [_expert(str(layer), expert, part, mixtral) for expert in range(config.experts.count)]
            found = [ours.pop(name) for name in names if name in ours]
            if len(found) == len(names) and len({matrix.shape for matrix in found}) == 1:
                made[f"{place}.experts.{part}.weight"] = torch.stack(found)
    return made | {_renamed(name, back=True): value for name, value in ours.items()}
