"""BLOOM (Le Scao et al. 2022): ALiBi, and a norm right after the embedding. Its files name no longest sequence."""

from pathlib import Path

from danlu.model.config import ModelConfig
from danlu.model.families.names import QKV, Names, Tensors, by_head, join, load_names, save_names, split
from danlu.model.families.shape import SHAPE, Values, neutral, only, square

TYPES = ("bloom",)
LENGTH = 2048  # that the published models were trained with; ALiBi itself has no end
NAMES: Names = {
    "embed": "transformer.word_embeddings",
    "embed_norm": "transformer.word_embeddings_layernorm",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "blocks.{}.attention_norm": "transformer.h.{}.input_layernorm",
    "blocks.{}.attention.qkv": "transformer.h.{}.self_attention.query_key_value",
    "blocks.{}.attention.o": "transformer.h.{}.self_attention.dense",
    "blocks.{}.feedforward_norm": "transformer.h.{}.post_attention_layernorm",
    "blocks.{}.feedforward.up": "transformer.h.{}.mlp.dense_h_to_4h",
    "blocks.{}.feedforward.down": "transformer.h.{}.mlp.dense_4h_to_h",
}
ALWAYS: Values = {"norm": "layernorm", "positions": "alibi", "bias": True, "activation": "gelu", "embedding_norm": True}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours."""
    neutral(values, where, apply_residual_connection_post_layernorm=False, hidden_dropout=0.0)
    width = values.get("hidden_size") or values["n_embed"]
    heads = values.get("n_head") or values["num_attention_heads"]
    return ModelConfig(
        vocab_size=values["vocab_size"],
        layers=values.get("n_layer") or values["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        feedforward=4 * width,
        norm_epsilon=values.get("layer_norm_epsilon", 1e-5),
        max_length=values.get("seq_length", LENGTH),
        tied=values.get("tie_word_embeddings", True),
        **ALWAYS,
    )


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where BLOOM's class computes exactly this."""
    if not only(config, SHAPE, **ALWAYS) or not square(config) or config.feedforward != 4 * config.width:
        return None
    return {
        "model_type": "bloom",
        "architectures": ["BloomForCausalLM"],
        "vocab_size": config.vocab_size,
        "n_layer": config.layers,
        "hidden_size": config.width,
        "n_head": config.heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "seq_length": config.max_length,
        "tie_word_embeddings": config.tied,
    }


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours, queries, keys and values apart."""
    named = load_names(tensors, NAMES, "transformer.")
    return split(named, NAMES, "attention.qkv", QKV, 3 * config.width, by_head(config.heads)[0])


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(join(tensors, "attention.qkv", QKV, by_head(config.heads)[1]), NAMES)
