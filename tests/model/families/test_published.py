"""The configurations of published models, and their sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.model import families
from danlu.model.hub import to_hub_config

# The published configurations, as far as they say anything, and the sizes that their pages on the hub state.
PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "llama3.2-1b": (
        1235814400,
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "intermediate_size": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 5e5,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
        },
    ),
    "smollm2-135m": (
        134515008,
        {
            "model_type": "llama",
            "vocab_size": 49152,
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "rope_theta": 1e5,
            "tie_word_embeddings": True,
            "max_position_embeddings": 8192,
        },
    ),
    "mistral-7b": (
        7241732096,
        {
            "model_type": "mistral",
            "vocab_size": 32000,
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "sliding_window": 4096,
            "max_position_embeddings": 32768,
        },
    ),
    "qwen2.5-0.5b": (
        494032768,
        {
            "model_type": "qwen2",
            "vocab_size": 151936,
            "hidden_size": 896,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "intermediate_size": 4864,
            "tie_word_embeddings": True,
            "rope_theta": 1e6,
            "max_window_layers": 24,
            "sliding_window": 32768,
            "use_sliding_window": False,
        },
    ),
    "qwen3-0.6b": (
        596049920,
        {
            "model_type": "qwen3",
            "vocab_size": 151936,
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "tie_word_embeddings": True,
            "attention_bias": False,
            "rope_theta": 1e6,
        },
    ),
    "smollm3-3b": (
        3075098624,
        {
            "model_type": "smollm3",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "intermediate_size": 11008,
            "no_rope_layers": [1, 1, 1, 0] * 9,
            "rope_theta": 5e6,
            "sliding_window": None,
            "max_position_embeddings": 65536,
        },
    ),
    "gemma2-2b": (
        2614341888,
        {
            "model_type": "gemma2",
            "vocab_size": 256000,
            "hidden_size": 2304,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "intermediate_size": 9216,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
        },
    ),
    "gemma3-1b": (
        999885952,
        {
            "model_type": "gemma3_text",
            "vocab_size": 262144,
            "hidden_size": 1152,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "intermediate_size": 6912,
            "query_pre_attn_scalar": 256,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "max_position_embeddings": 32768,
        },
    ),
    "phi3-mini": (
        3821079552,
        {
            "model_type": "phi3",
            "vocab_size": 32064,
            "hidden_size": 3072,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "intermediate_size": 8192,
            "sliding_window": 2047,
            "rope_scaling": None,
        },
    ),
    "gpt2": (
        124439808,
        {
            "model_type": "gpt2",
            "vocab_size": 50257,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_ctx": 1024,
            "n_positions": 1024,
        },
    ),
    "pythia-70m": (
        70426624,
        {
            "model_type": "gpt_neox",
            "vocab_size": 50304,
            "hidden_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "intermediate_size": 2048,
            "rotary_pct": 0.25,
            "rotary_emb_base": 10000,
        },
    ),
    "bloom-560m": (
        559214592,
        {"model_type": "bloom", "vocab_size": 250880, "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16},
    ),
    "bert-base": (
        109514298,
        {
            "model_type": "bert",
            "vocab_size": 30522,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
    ),
    "roberta-base": (
        124697433,
        {
            "model_type": "roberta",
            "vocab_size": 50265,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_published_size(name: str) -> None:
    size, values = PUBLISHED[name]
    family = families.reading(values["model_type"])
    assert family is not None
    config = family.read(values, Path("config.json"))
    assert config.parameters() == size
    written = to_hub_config(config, {})
    again = families.reading(written["model_type"])
    assert again is not None
    assert again.read(json.loads(json.dumps(written)), Path("config.json")) == config
