"""Scaled dot-product attention with grouped heads, for training, prefill and decoding.

torch's SDPA is used wherever it is fast: on a GPU, and without gradients. On a CPU its backward takes eight
times its forward, so training runs `_Blocked`, the same mathematics as matrix products over blocks of
queries: 61 against 127 ms forward and backward for 8 x 8 heads of 512 tokens in bf16 (LOG.md). Blocks skip
most of the upper triangle. Probabilities are kept for the backward pass, so beyond `LONGEST_BLOCKED`
tokens, where they would dominate memory, SDPA takes over again.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.linear import Linear
from danlu.model.positions import Positions

BLOCK = 256  # 64 and 128 lose more to small products than they save in the triangle; 512 skips nothing
LONGEST_BLOCKED = 2048


class _Blocked(torch.autograd.Function):
    """softmax(q kᵀ + bias) v over blocks of queries. q: [B, K, G, T, W]; k, v: [B, K, T, W]; q already scaled."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        out, kept = torch.empty_like(q), []
        for start in range(0, q.shape[3], BLOCK):
            stop = min(start + BLOCK, q.shape[3])
            rows = q[:, :, :, start:stop]  # [B, K, G, b, W]
            scores = rows.flatten(2, 3) @ k[:, :, :stop].transpose(-1, -2)  # [B, K, G·b, S]
            scores = scores.unflatten(2, rows.shape[2:4]).add_(bias[..., start:stop, :stop])
            weights = torch.softmax(scores, dim=-1)
            out[:, :, :, start:stop] = (weights.flatten(2, 3) @ v[:, :, :stop]).unflatten(2, rows.shape[2:4])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for start, weights in zip(range(0, q.shape[3], BLOCK), kept, strict=True):
            stop = min(start + BLOCK, q.shape[3])
            grad = grads[0][:, :, :, start:stop].flatten(2, 3)  # [B, K, G·b, W]
            flat = weights.flatten(2, 3)  # [B, K, G·b, S]
            v_grad[:, :, :stop] += flat.transpose(-1, -2) @ grad
            from_values = grad @ v[:, :, :stop].transpose(-1, -2)
            scores = torch.ops.aten._softmax_backward_data(from_values, flat, -1, flat.dtype)
            q_grad[:, :, :, start:stop] = (scores @ k[:, :, :stop]).unflatten(2, weights.shape[2:4])
            k_grad[:, :, :stop] += scores.transpose(-1, -2) @ q[:, :, :, start:stop].flatten(2, 3)
        return q_grad, k_grad, v_grad, None


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """q: [B, H, T, W]; k, v: [B, K, S, W]; bias: [B, 1 or H, T, S] or None for plain causal -> [B, H, T, W]."""
    groups = q.shape[1] // k.shape[1]
    learning = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    if bias is not None and learning and q.device.type == "cpu" and q.shape[2] <= LONGEST_BLOCKED:
        by_group = bias.unflatten(1, (-1, groups)) if bias.shape[1] > 1 else bias.unsqueeze(2)
        scaled = (q * q.shape[-1] ** -0.5).unflatten(1, (-1, groups))  # [B, K, G, T, W]
        return _Blocked.apply(scaled, k, v, by_group).flatten(1, 2)
    causal = bias is None and q.shape[2] > 1
    return nn.functional.scaled_dot_product_attention(q, k, v, bias, is_causal=causal, enable_gqa=groups > 1)


class Attention(nn.Module):
    """Multi-head attention whose key and value heads may be fewer than its query heads."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, config.head_width
        self.q = Linear(config.width, config.heads * config.head_width, config.bias)
        self.k = Linear(config.width, config.kv_heads * config.head_width, config.bias)
        self.v = Linear(config.width, config.kv_heads * config.head_width, config.bias)
        self.o = Linear(config.heads * config.head_width, config.width, config.bias)

    def forward(
        self, x: Tensor, where: Positions, positions: Tensor, bias: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """x: [B, T, D], positions: [B, T], bias as in `attend` -> [B, T, D]."""
        q, k, v = (self._heads(project(x)) for project in (self.q, self.k, self.v))
        q, k = where.rotate(q, k, positions)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        return self.o(attend(q, k, v, bias).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
