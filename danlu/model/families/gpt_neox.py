"""GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023): attention and feed-forward in parallel, RoPE in part.

Queries, keys and values of a head lie side by side in one matrix.
"""

from pathlib import Path

from danlu.model.config import Activation, ModelConfig
from danlu.model.families.names import QKV, Names, Tensors, by_head, join, load_names, save_names, split
from danlu.model.families.shape import (
    MAX_LENGTH,
    ROPE,
    SHAPE,
    Values,
    activation,
    neutral,
    only,
    read_rope,
    square,
    write_rope,
)

TYPES = ("gpt_neox",)
NAMES: Names = {
    "embed": "gpt_neox.embed_in",
    "norm": "gpt_neox.final_layer_norm",
    "head": "embed_out",
    "blocks.{}.attention_norm": "gpt_neox.layers.{}.input_layernorm",
    "blocks.{}.attention.qkv": "gpt_neox.layers.{}.attention.query_key_value",
    "blocks.{}.attention.o": "gpt_neox.layers.{}.attention.dense",
    "blocks.{}.feedforward_norm": "gpt_neox.layers.{}.post_attention_layernorm",
    "blocks.{}.feedforward.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "blocks.{}.feedforward.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
}
ALWAYS: Values = {"norm": "layernorm", "bias": True}
FREE = (*SHAPE, *ROPE, "rope_share", "activation", "parallel", "dropout")
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
}
WRITTEN = {"gelu_exact": "gelu", "gelu": "gelu_new"}
DEFAULTS: Values = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "hidden_dropout": 0.0,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours. Before transformers 5 RoPE's keys were rotary_emb_base and rotary_pct."""
    values = DEFAULTS | values
    neutral(values, where, attention_bias=True, is_decoder=False)
    old = {"rope_theta": values.get("rotary_emb_base", 10_000), "partial_rotary_factor": values.get("rotary_pct", 0.25)}
    width, heads = values["hidden_size"], values["num_attention_heads"]
    return ModelConfig(
        vocab_size=values["vocab_size"],
        layers=values["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        feedforward=values["intermediate_size"],
        norm_epsilon=values["layer_norm_eps"],
        max_length=values[MAX_LENGTH],
        tied=values["tie_word_embeddings"],
        parallel=values["use_parallel_residual"],
        activation=activation(values, where, "hidden_act", ACTIVATIONS),
        dropout=float(values["hidden_dropout"]),
        **ALWAYS,
        **read_rope(old | values, where, share=True),
    )


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where GPT-NeoX's class computes exactly this."""
    rope = write_rope(config)
    fits = only(config, FREE, **ALWAYS) and square(config) and config.activation in WRITTEN
    if not fits or rope is None:
        return None
    share = {"partial_rotary_factor": config.rope_share}
    return {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feedforward,
        "hidden_act": WRITTEN[config.activation],
        "layer_norm_eps": config.norm_epsilon,
        "rotary_emb_base": config.rope_theta,
        "rotary_pct": config.rope_share,
        "rope_parameters": rope["rope_parameters"] | share,
        **({"rope_scaling": rope["rope_scaling"] | share} if "rope_scaling" in rope else {}),
        MAX_LENGTH: config.max_length,
        "use_parallel_residual": config.parallel,
        "hidden_dropout": config.dropout,
        "attention_bias": True,
        "tie_word_embeddings": config.tied,
    }


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours, queries, keys and values apart. transformers 5 calls the output layer lm_head."""
    named = load_names(tensors, NAMES, "gpt_neox.", same={"lm_head.weight": "embed_out.weight"})
    return split(named, NAMES, "attention.qkv", QKV, 3 * config.width, by_head(config.heads)[0])


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(join(tensors, "attention.qkv", QKV, by_head(config.heads)[1]), NAMES)
