"""Shapes that people know by name: ``preset("smollm2-135m", vocab_size, max_length)``.

Only those that `ModelConfig` expresses exactly stand here, so that a model trained in such a shape is what it is named.
Vocabulary and length are the family's own unless they are given. Facts are from the configurations that the authors
publish with their weights.
"""

from dataclasses import dataclass
from typing import Any

from danlu.base.errors import UserError, nearest
from danlu.model.config import ModelConfig


@dataclass(frozen=True)
class Published:
    """A shape that somebody published: where, and its fields."""

    source: str
    fields: dict[str, Any]


def _llama(layers: int, width: int, heads: int, kv_heads: int, feedforward: int, **more: Any) -> dict[str, Any]:
    """Rotary positions, gated SiLU, RMSNorm, no biases; heads share the width."""
    own = {"layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "feedforward": feedforward}
    return {**own, "head_width": width // heads, "tied": False, **more}


def _gpt2(layers: int, width: int, heads: int) -> dict[str, Any]:
    """Learned positions, GELU in its tanh form, LayerNorm, biases, four times as wide inside."""
    switches = {"positions": "learned", "activation": "gelu", "norm": "layernorm", "bias": True, "tied": True}
    own = {"layers": layers, "width": width, "heads": heads, "kv_heads": heads, "head_width": width // heads}
    return {**switches, **own, "feedforward": 4 * width, "vocab_size": 50_257, "max_length": 1024}


def _smollm2(layers: int, width: int, heads: int, kv_heads: int, feedforward: int, theta: float) -> dict[str, Any]:
    own = {"vocab_size": 49_152, "max_length": 8192, "rope_theta": theta, "tied": True}
    return _llama(layers, width, heads, kv_heads, feedforward, **own)


def _nanochat(depth: int) -> dict[str, Any]:
    """Norms without weights, one of them after the embedding; ReLU², heads of 128, capped logits."""
    norms = {"embedding_norm": True, "qk_norm": True, "norm_weight": False, "norm_epsilon": 2.0**-23}
    own = {"vocab_size": 65_536, "max_length": 2048, "activation": "relu2", "logit_cap": 15.0}
    return _llama(depth, 64 * depth, depth // 2, depth // 2, 256 * depth, **own, **norms)


def _stories(layers: int, width: int, heads: int, feedforward: int, length: int) -> dict[str, Any]:
    return _llama(layers, width, heads, heads, feedforward, vocab_size=32_000, max_length=length, tied=True)


def _qwen(layers: int, width: int, heads: int, kv_heads: int, feedforward: int, **more: Any) -> dict[str, Any]:
    own = {"vocab_size": 151_936, "rope_theta": 1e6, "norm_epsilon": 1e-6, "tied": True}
    return _llama(layers, width, heads, kv_heads, feedforward, **{**own, **more})


def _pythia(layers: int, width: int, heads: int) -> dict[str, Any]:
    """RoPE on a quarter of each head, both halves of a block side by side, LayerNorm, biases."""
    switches = {"rope_share": 0.25, "activation": "gelu_exact", "norm": "layernorm", "bias": True, "parallel": True}
    return _llama(layers, width, heads, heads, 4 * width, vocab_size=50_304, max_length=2048, **switches)


GPT2, LLAMA = "Radford et al. 2019", "Touvron et al. 2023, arXiv:2302.13971"
SMOLLM2, STORIES = "Allal et al. 2025, arXiv:2502.02737", "karpathy/llama2.c, trained on TinyStories"
NANOCHAT = "karpathy/nanochat, as it was published in October 2025"
PYTHIA = "Biderman et al. 2023, arXiv:2304.01373"
LLAMA3_SCALING = {"rope_theta": 500_000.0, "rope_scaling": "llama3", "rope_factor": 32.0, "rope_original": 8192}
SHAPES: dict[str, Published] = {
    "distilgpt2": Published("Sanh et al. 2019, arXiv:1910.01108", _gpt2(6, 768, 12)),
    "gpt2-124m": Published(GPT2, _gpt2(12, 768, 12)),
    "gpt2-355m": Published(GPT2, _gpt2(24, 1024, 16)),
    "gpt2-774m": Published(GPT2, _gpt2(36, 1280, 20)),
    "gpt2-1.5b": Published(GPT2, _gpt2(48, 1600, 25)),
    "llama-7b": Published(
        LLAMA,
        _llama(32, 4096, 32, 32, 11_008, vocab_size=32_000, max_length=2048, norm_epsilon=1e-6),
    ),
    "llama2-7b": Published(
        "Touvron et al. 2023, arXiv:2307.09288",
        _llama(32, 4096, 32, 32, 11_008, vocab_size=32_000, max_length=4096),
    ),
    "llama3-8b": Published(
        "Grattafiori et al. 2024, arXiv:2407.21783",
        _llama(32, 4096, 32, 8, 14_336, vocab_size=128_256, max_length=8192, rope_theta=500_000.0),
    ),
    "llama3.2-1b": Published(
        "Grattafiori et al. 2024, arXiv:2407.21783",
        _llama(16, 2048, 32, 8, 8192, vocab_size=128_256, max_length=131_072, tied=True, **LLAMA3_SCALING),
    ),
    "minimind-64m": Published(
        "jingyaogong/minimind, version 3",
        _qwen(8, 768, 8, 4, 2432, vocab_size=6400, max_length=32_768, qk_norm=True),
    ),
    "mistral-7b": Published(
        "Jiang et al. 2023, arXiv:2310.06825, version 0.3, which has no sliding window",
        _llama(32, 4096, 32, 8, 14_336, vocab_size=32_768, max_length=32_768, rope_theta=1e6),
    ),
    "nanochat-d12": Published(NANOCHAT, _nanochat(12)),
    "nanochat-d20": Published(NANOCHAT, _nanochat(20)),
    "nanochat-d32": Published(NANOCHAT, _nanochat(32)),
    "nanogpt-char": Published(
        "karpathy/nanoGPT, config/train_shakespeare_char.py",
        {
            **_gpt2(6, 384, 6),
            **{"activation": "gelu_exact", "bias": False, "norm_bias": False, "dropout": 0.2},
            **{"vocab_size": 65, "max_length": 256},
        },
    ),
    "pythia-14m": Published(PYTHIA, _pythia(6, 128, 4)),
    "pythia-70m": Published(PYTHIA, _pythia(6, 512, 8)),
    "pythia-160m": Published(PYTHIA, _pythia(12, 768, 12)),
    "qwen2.5-0.5b": Published(
        "Qwen team 2024, arXiv:2412.15115",
        _qwen(24, 896, 14, 2, 4864, max_length=32_768, qkv_bias=True),
    ),
    "qwen3-0.6b": Published(
        "Qwen team 2025, arXiv:2505.09388",
        _qwen(28, 1024, 16, 8, 3072, max_length=40_960, qk_norm=True, head_width=128),
    ),
    "smollm2-135m": Published(SMOLLM2, _smollm2(30, 576, 9, 3, 1536, 100_000.0)),
    "smollm2-360m": Published(SMOLLM2, _smollm2(32, 960, 15, 5, 2560, 100_000.0)),
    "smollm2-1.7b": Published(SMOLLM2, _smollm2(24, 2048, 32, 32, 8192, 130_000.0)),
    "tinyllama-1.1b": Published(
        "Zhang et al. 2024, arXiv:2401.02385",
        _llama(22, 2048, 32, 4, 5632, vocab_size=32_000, max_length=2048),
    ),
    "tinystories-15m": Published(STORIES, _stories(6, 288, 6, 768, 256)),
    "tinystories-42m": Published(STORIES, _stories(8, 512, 8, 1376, 1024)),
    "tinystories-110m": Published(STORIES, _stories(12, 768, 12, 2048, 1024)),
}


def preset(name: str, vocab_size: int | None = None, max_length: int | None = None) -> ModelConfig:
    """The shape called ``name``, with the family's vocabulary and length or those given."""
    if name not in SHAPES:
        raise UserError(f"there is no shape '{name}'", where="recipe: preset", remedy=nearest(name, SHAPES))
    given = {"vocab_size": vocab_size, "max_length": max_length}
    return ModelConfig(**{**SHAPES[name].fields, **{key: value for key, value in given.items() if value is not None}})
