"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm, and matrices that lie transposed in the file."""

from pathlib import Path

import torch

from danlu.base.errors import UserError
from danlu.model.config import Activation, ModelConfig
from danlu.model.families.names import QKV, Names, Tensors, join, load_names, save_names, split
from danlu.model.families.shape import SHAPE, Values, activation, neutral, only, square

TYPES = ("gpt2",)
NAMES: Names = {
    "embed": "transformer.wte",
    "positions.table": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "blocks.{}.attention_norm": "transformer.h.{}.ln_1",
    "blocks.{}.attention.qkv": "transformer.h.{}.attn.c_attn",
    "blocks.{}.attention.o": "transformer.h.{}.attn.c_proj",
    "blocks.{}.feedforward_norm": "transformer.h.{}.ln_2",
    "blocks.{}.feedforward.up": "transformer.h.{}.mlp.c_fc",
    "blocks.{}.feedforward.down": "transformer.h.{}.mlp.c_proj",
}
ALWAYS: Values = {"norm": "layernorm", "positions": "learned", "bias": True}
FREE = (*SHAPE, "activation", "dropout")
ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu2": "relu2",
}
DEFAULTS: Values = {
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours. Dropout of the scores is a matter of training and is not taken over."""
    values = DEFAULTS | values
    neutral(values, where, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    if values["resid_pdrop"] != values["embd_pdrop"]:
        raise UserError(f"resid_pdrop {values['resid_pdrop']} other than embd_pdrop is not supported", where=where)
    width, heads = values["n_embd"], values["n_head"]
    return ModelConfig(
        vocab_size=values["vocab_size"],
        layers=values["n_layer"],
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        feedforward=values["n_inner"] or 4 * width,
        norm_epsilon=values["layer_norm_epsilon"],
        max_length=values.get("n_positions") or values.get("n_ctx") or 1024,
        tied=values["tie_word_embeddings"],
        activation=activation(values, where, "activation_function", ACTIVATIONS),
        dropout=float(values["resid_pdrop"]),
        **ALWAYS,
    )


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where GPT-2's class computes exactly this."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items()) if theirs != "gelu_pytorch_tanh"}
    if not only(config, FREE, **ALWAYS) or not square(config) or config.activation not in names:
        return None
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_layer": config.layers,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": config.feedforward,
        "n_positions": config.max_length,
        "n_ctx": config.max_length,
        "activation_function": names[config.activation],
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": config.tied,
    }


def _turned(tensors: Tensors) -> Tensors:
    return {n: v.t() if n.startswith("blocks.") and v.dim() == 2 else v for n, v in tensors.items()}


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours, the matrices turned and apart."""
    named, rows = _turned(load_names(tensors, NAMES, "transformer.")), 3 * config.width
    return split(named, NAMES, "attention.qkv", QKV, rows, lambda value: value.chunk(3))


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs, turned and in one."""
    return save_names(_turned(join(tensors, "attention.qkv", QKV, torch.cat)), NAMES)
