"""What llama.cpp computes, written out plainly in NumPy and Python: the reference for the import of its files.

Shared by the tests and by ``bench/gguf_import.py``. Nothing here is Danlu's: the forward pass turns neighbours (2i, 2i + 1)
of the rows as they lie in the file; the tokenizers do the merging that ``llama-vocab.cpp`` does, one pair at a
time. Slow, and meant to be read.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def normed(x: Array, weight: Array, epsilon: float) -> Array:
    """RMSNorm."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def turned(x: Array, theta: float, neighbours: bool) -> Array:
    """RoPE on [T, heads, W]: pairs (2i, 2i + 1) as in llama.cpp, or (i, i + W/2) as in Hugging Face."""
    length, _, width = x.shape
    angles = np.arange(length)[:, None] * theta ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    first, second = (
        (slice(0, None, 2), slice(1, None, 2)) if neighbours else (slice(width // 2), slice(width // 2, None))
    )
    out = np.empty_like(x)
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def logits(
    weights: Mapping[str, Array], shape: Mapping[str, Any], ids: Sequence[int], *, neighbours: bool = True
) -> Array:
    """[T, V] of a ``llama`` file. ``shape``: layers, heads, kv_heads, theta, epsilon."""
    length, heads, kv_heads = len(ids), shape["heads"], shape["kv_heads"]
    x = weights["token_embd.weight"][list(ids)]
    future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
    for layer in range(shape["layers"]):

        def part(name: str, given: Array, block: str = f"blk.{layer}.") -> Array:
            bias = weights.get(f"{block}{name}.bias")
            out = given @ weights[f"{block}{name}.weight"].T
            return out if bias is None else out + bias.reshape(-1)

        h = normed(x, weights[f"blk.{layer}.attn_norm.weight"], shape["epsilon"])
        q, k, v = (part(name, h) for name in ("attn_q", "attn_k", "attn_v"))
        q, k, v = q.reshape(length, heads, -1), k.reshape(length, kv_heads, -1), v.reshape(length, kv_heads, -1)
        q, k = turned(q, shape["theta"], neighbours), turned(k, shape["theta"], neighbours)
        k, v = k.repeat(heads // kv_heads, 1), v.repeat(heads // kv_heads, 1)
        scores = np.einsum("thw,shw->hts", q, k) / math.sqrt(q.shape[-1]) + future
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + part("attn_output", np.einsum("hts,shw->thw", shares, v).reshape(length, -1))
        h = normed(x, weights[f"blk.{layer}.ffn_norm.weight"], shape["epsilon"])
        gate = part("ffn_gate", h)
        x = x + part("ffn_down", gate / (1 + np.exp(-gate)) * part("ffn_up", h))
    x = normed(x, weights["output_norm.weight"], shape["epsilon"])
    return x @ weights.get("output.weight", weights["token_embd.weight"]).T


def loss(scores: Array, ids: Sequence[int]) -> float:
    """Nats a token, the first one given."""
    scores = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    right = scores[np.arange(len(ids) - 1), list(ids)[1:]]
    return float((np.log(np.exp(scores).sum(-1))[:-1] - right).mean())


def byte_pairs(words: Sequence[str], ids: Mapping[str, int], ranks: Mapping[tuple[str, str], int]) -> list[int]:
    """BPE of words already spelled in GPT-2's letters: the lowest rank first, the leftmost of equals."""
    out: list[int] = []
    for word in words:
        symbols = list(word)
        while True:
            pairs = [(ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
            if not pairs:
                break
            _, i = min(pairs)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        out += [ids[symbol] for symbol in symbols if symbol in ids]
    return out


def sentence_pieces(text: str, pieces: Mapping[str, int], scores: Sequence[float], *, prefix: bool = True) -> list[int]:
    """SentencePiece's BPE: the pair whose piece scores best first, the leftmost of equals; bytes for the rest.

    ``pieces`` are the normal ones only; a byte's piece is ``<0x0A>``.
    """
    symbols = list((" " + text if prefix else text).replace(" ", "▁")) if text else []
    while True:
        pairs = [
            (-scores[pieces[left + right]], i)
            for i, (left, right) in enumerate(pairwise(symbols))
            if left + right in pieces
        ]
        if not pairs:
            break
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    out: list[int] = []
    for symbol in symbols:
        known = pieces.get(symbol)
        out += [known] if known is not None else [pieces[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return out
