"""Tiny random models of every native family: what the tests of families and of their files share."""

from typing import Any, NamedTuple

import torch
import transformers

SHAPE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
HEIRS = {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IDS = torch.randint(5, 61, (2, 21), generator=torch.Generator().manual_seed(0))
LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 24}


class Case(NamedTuple):
    """A class of transformers and what it is made with; ``written`` is the class that ours is saved as."""

    kind: str
    values: dict[str, Any]
    written: str


def heir(kind: str, written: str, **values: Any) -> Case:
    return Case(kind, {**HEIRS, **TOKENS, **values}, written)


def scaled(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **values}}


CAUSAL = {
    "llama2": heir("Llama", "Llama"),
    "llama3": heir("Llama", "Llama", tie_word_embeddings=True, head_dim=6, **scaled("llama3", **LLAMA3)),
    "llama-linear": heir("Llama", "Llama", **scaled("linear", factor=3.0)),
    "llama-yarn": heir("Llama", "Llama", **scaled("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-yarn-ramp": heir(
        *("Llama", "Llama"),
        **scaled("yarn", factor=4.0, original_max_position_embeddings=24, beta_fast=8.0, beta_slow=0.5),
    ),
    "mistral": heir("Mistral", "Mistral", sliding_window=5, head_dim=6),
    "qwen2": heir("Qwen2", "Qwen2", tie_word_embeddings=True),
    "qwen2-window": heir("Qwen2", "Qwen2", use_sliding_window=True, sliding_window=5, max_window_layers=0),
    "qwen3": heir("Qwen3", "Qwen3", head_dim=10),
    "smollm3": heir("SmolLM3", "SmolLM3", num_hidden_layers=5),
    "smollm3-window": heir(
        *("SmolLM3", "SmolLM3"), no_rope_layer_interval=2, use_sliding_window=True, sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "gemma2": heir("Gemma2", "Gemma2", num_hidden_layers=3, head_dim=6, sliding_window=5, query_pre_attn_scalar=16,
                   final_logit_softcapping=3.0, attn_logit_softcapping=2.0, ),
    "gemma3": heir("Gemma3Text", "Gemma3", num_hidden_layers=7, head_dim=8, sliding_window=5, query_pre_attn_scalar=8),
    "gemma3-scaled": heir(
        *("Gemma3Text", "Gemma3"), head_dim=8, sliding_window=5, query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 900.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    ),
    "phi3-part": heir("Phi3", "Phi3", sliding_window=7, rope_parameters={
        "rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}),
    "phi3": heir("Phi3", "Mistral", sliding_window=7),
    "gpt2": Case("GPT2", {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **TOKENS}, "GPT2"),
    "gpt2-wide": Case(
        "GPT2", {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 40, "n_positions": 64,
                 "tie_word_embeddings": False, "activation_function": "gelu", **TOKENS}, "GPT2"),
    "gpt_neox": Case(
        "GPTNeoX", {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 64, **TOKENS,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}},
        "GPTNeoX"),
    "gpt_neox-serial": Case(
        "GPTNeoX", {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 64, **TOKENS,
                    "use_parallel_residual": False, "hidden_act": "gelu_new", "tie_word_embeddings": True}, "GPTNeoX"),
    "bloom": Case("Bloom", {"vocab_size": 61, "hidden_size": 36, "n_layer": 2, "n_head": 6, "seq_length": 64, **TOKENS},
                  "Bloom"),
}  # fmt: skip
ENCODER = {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 64, **TOKENS}
MASKED = {
    "bert": Case("Bert", ENCODER, "Bert"),
    "bert-tanh": Case("Bert", {**ENCODER, "hidden_act": "gelu_new"}, "Bert"),
    "roberta": Case("Roberta", {**ENCODER, "type_vocab_size": 1, "pad_token_id": 1}, "Roberta"),
}
CASES = CAUSAL | MASKED
HEADS = {"GPT2": "GPT2LMHeadModel", "Bert": "BertForMaskedLM", "Roberta": "RobertaForMaskedLM",
         "Gemma3Text": "Gemma3ForCausalLM"}  # fmt: skip


def class_of(kind: str) -> Any:
    return getattr(transformers, HEADS.get(kind, f"{kind}ForCausalLM"))
