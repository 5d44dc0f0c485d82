"""Scaled dot-product attention with grouped heads, for training, prefill and decoding.

torch's SDPA is used wherever it is fast: on a GPU, and without gradients. On a CPU its backward takes eight
times its forward, so training runs `_Blocked`, the same mathematics as matrix products over blocks of
queries: 61 against 127 ms forward and backward for 8 x 8 heads of 512 tokens in bf16 (LOG.md). Blocks skip
most of the upper triangle, and all that lies outside a window, or, of packed rows, outside a document
(`danlu.model.ragged`). Probabilities are kept for the backward pass, but beyond
`LONGEST_KEPT` tokens, where they would dominate memory, each block computes its own again. SDPA cannot cap scores
(Gemma 2), so capped scores always go through the blocks. Probabilities are dropped (Vaswani et al. 2017's code) only
where a run asks for it (`danlu.model.dropout`), and then by torch's own autograd: what drops is slower on a CPU.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.linear import Linear
from danlu.model.moe import Ledger
from danlu.model.norm import RMSNorm
from danlu.model.positions import Positions
from danlu.model.ragged import Part

BLOCK = 256  # 64 and 128 lose more to small products than they save in the triangle; 512 skips nothing
LONGEST_KEPT = 2048


@dataclass(frozen=True)
class Scores:
    """What a model does to its scores, and which keys a query can see at all."""

    scale: float = 0.0
    """Multiplied by; 0 is 1/√W."""
    cap: float = 0.0
    """Capped by tanh at plus and minus so much; 0 caps nothing."""
    causal: bool = True
    """Queries see no later keys."""
    window: int = 0
    """Queries see so many keys, their own included; 0 is all."""

    def keys(self, start: int, stop: int, length: int, ahead: int = 0) -> slice:
        """Those that queries ``start`` to ``stop`` may see, of ``length``; the rest of a mask is in the bias.

        Before the queries' own keys stand ``ahead`` others, which are seen from the first query on.
        """
        if not self.window:
            return slice(0, ahead + (stop if self.causal else length))
        first = 0 if ahead else max(start - self.window + 1, 0)  # a document's place in a row is not its position
        return slice(first, ahead + (stop if self.causal else min(stop + self.window - 1, length)))


@dataclass(frozen=True)
class Context:
    """What a block reads beside the stream. Layers of one kind share one."""

    ids: Tensor  # [B, T]
    where: Positions
    positions: Tensor  # [B, T]
    bias: Tensor | list[Part] | None  # [B, 1 or H, T, S], or by parts of one row; None is plain causal
    segments: Tensor | None  # [B, T]; below 0 is padding
    first: Tensor  # [B, T, D]: the stream as it began
    cache: Cache | None
    ledger: Ledger | None = None  # where routers write what they did


class _Blocked(torch.autograd.Function):
    """softmax(q kᵀ + bias) v, a part at a time. q: [B, K, G, T, W]; k, v: [B, K, S, W]; q already scaled."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, cap: float, parts: list[Part]) -> Tensor:
        out, kept = torch.empty_like(q), []
        longest = max(part.bias.shape[-1] for part in parts)
        for part in parts:
            made = _weights(q[:, :, :, part.rows], k[:, :, part.keys], part.bias, cap)
            product = made[0].flatten(2, 3) @ v[:, :, part.keys]
            out[:, :, :, part.rows] = product.unflatten(2, made[0].shape[2:4])
            if longest <= LONGEST_KEPT:
                kept += made
        ctx.save_for_backward(q, k, v, *kept)
        ctx.cap, ctx.parts = cap, parts
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        left = iter(kept)
        for rows, keys, bias in ((part.rows, part.keys, part.bias) for part in ctx.parts):
            if kept:
                weights, *capped = (next(left) for _ in range(2 if ctx.cap else 1))
            else:
                weights, *capped = _weights(q[:, :, :, rows], k[:, :, keys], bias, ctx.cap)
            grad = grads[0][:, :, :, rows].flatten(2, 3)  # [B, K, G·b, W]
            flat = weights.flatten(2, 3)  # [B, K, G·b, S]
            v_grad[:, :, keys] += flat.transpose(-1, -2) @ grad
            from_values = grad @ v[:, :, keys].transpose(-1, -2)
            product = torch.ops.aten._softmax_backward_data(from_values, flat, -1, flat.dtype)
            if capped:
                product = product.mul_(capped[0].square().neg_().add_(1))  # the slope of tanh
            q_grad[:, :, :, rows] = (product @ k[:, :, keys]).unflatten(2, weights.shape[2:4])
            k_grad[:, :, keys] += product.transpose(-1, -2) @ q[:, :, :, rows].flatten(2, 3)
        return q_grad, k_grad, v_grad, None, None


def _weights(q: Tensor, k: Tensor, bias: Tensor, cap: float) -> list[Tensor]:
    """Of queries [B, K, G, b, W] for keys [B, K, S, W]: [B, K, G, b, S]; and of capped scores their tanh."""
    product = q.flatten(2, 3) @ k.transpose(-1, -2)  # [B, K, G·b, S]
    capped = [product.div_(cap).tanh_()] if cap else []
    if capped:
        product = product * cap
    product = product.unflatten(2, q.shape[2:4]).add_(bias)
    return [torch.softmax(product, dim=-1), *capped]


def _blocks(bias: Tensor, scores: Scores) -> list[Part]:
    """All rows at once, queries by the block, with the keys that they may see. bias: [B, 1 or K, 1 or G, T, S].

    The queries' own keys are the last T of S.
    """
    length = bias.shape[-2]
    found: list[Part] = []  # as torch.compile reads it
    for start in range(0, length, BLOCK):
        rows = slice(start, min(start + BLOCK, length))
        keys = scores.keys(rows.start, rows.stop, length, bias.shape[-1] - length)
        found.append(Part(rows, keys, bias[..., rows, keys]))
    return found


def _capped(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, cap: float) -> Tensor:
    """Over blocks of queries where nothing is learned, or what is new stands at the end. Shapes as in `_Blocked`."""
    out = torch.empty_like(q)
    for start in range(0, q.shape[3], BLOCK):
        rows = slice(start, min(start + BLOCK, q.shape[3]))
        product = torch.tanh(q[:, :, :, rows] @ k.unsqueeze(2).transpose(-1, -2) / cap) * cap
        out[:, :, :, rows] = torch.softmax(product + bias[..., rows, :], dim=-1) @ v.unsqueeze(2)
    return out


def _dropping(q: Tensor, k: Tensor, v: Tensor, cap: float, parts: list[Part], dropout: float) -> Tensor:
    """What `_Blocked` computes of the same parts, but that some of the probabilities are dropped; by autograd."""
    found = []
    for part in parts:
        weights = _weights(q[:, :, :, part.rows], k[:, :, part.keys], part.bias, cap)[0]
        found.append(nn.functional.dropout(weights, dropout) @ v[:, :, part.keys].unsqueeze(2))
    return torch.cat(found, dim=3)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | list[Part] | None,
    scores: Scores = Scores(),
    dropout: float = 0.0,
) -> Tensor:
    """q: [B, H, T, W]; k, v: [B, K, S, W] -> [B, H, T, W].

    bias: [B, 1 or H, T, S], None for plain causal, or the parts of one row of documents. ``dropout`` is the share of
    the probabilities that is dropped; the rest grows accordingly.
    """
    groups = q.shape[1] // k.shape[1]
    learning = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    blocked = (learning or dropout) and (scores.cap or q.device.type == "cpu")
    if isinstance(bias, list) or (bias is not None and blocked):
        parts = bias if isinstance(bias, list) else _blocks(grouped(bias, groups), scores)
        scaled = _scaled(q, groups, scores)
        if dropout:
            return _dropping(scaled, k, v, scores.cap, parts, dropout).flatten(1, 2)
        return _Blocked.apply(scaled, k, v, scores.cap, parts).flatten(1, 2)
    if bias is not None and scores.cap:
        return _capped(_scaled(q, groups, scores), k, v, grouped(bias, groups), scores.cap).flatten(1, 2)
    causal = bias is None and q.shape[2] > 1
    scale = scores.scale or None
    return nn.functional.scaled_dot_product_attention(
        q, k, v, bias, dropout, is_causal=causal, scale=scale, enable_gqa=groups > 1
    )


def grouped(bias: Tensor, groups: int) -> Tensor:
    """[B, 1 or H, T, S] -> [B, 1 or K, 1 or G, T, S]."""
    return bias.unflatten(1, (-1, groups)) if bias.shape[1] > 1 else bias.unsqueeze(2)


def _scaled(q: Tensor, groups: int, scores: Scores) -> Tensor:
    """[B, H, T, W] -> [B, K, G, T, W]."""
    return (q * (scores.scale or q.shape[-1] ** -0.5)).unflatten(1, (-1, groups))


class ValueEmbedding(nn.Module):
    """A second embedding of the token, added to its values (Zhou et al. 2024; Jordan et al. 2024)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.table = nn.Embedding(config.vocab_size, config.kv_heads * config.head_width)
        self.share = nn.Parameter(torch.ones(1))

    def forward(self, v: Tensor, ids: Tensor) -> Tensor:
        """v: [B, T, K·W], ids: [B, T] -> [B, T, K·W]."""
        return v + (self.table(ids) * self.share).to(v.dtype)


class Attention(nn.Module):
    """Multi-head attention whose key and value heads may be fewer than its query heads."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, config.head_width
        self.dropout = 0.0  # of the probabilities, while something is learned
        window = config.window if config.is_local(layer) else 0
        self.scores = Scores(config.attention_scale, config.attention_cap, config.causal, window)
        bias = config.bias or config.qkv_bias
        self.q = Linear(config.width, config.heads * config.head_width, bias)
        self.k = Linear(config.width, config.kv_heads * config.head_width, bias)
        self.v = Linear(config.width, config.kv_heads * config.head_width, bias)
        self.o = Linear(config.heads * config.head_width, config.width, config.bias)
        if config.qk_norm:
            shape = (config.head_width, config.norm_epsilon, config.norm_plus_one, config.norm_weight)
            self.q_norm = RMSNorm(*shape)
            self.k_norm = RMSNorm(*shape)
        self.normed, self.valued = config.qk_norm, config.has_values(layer)
        if self.valued:
            self.values = ValueEmbedding(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        values = self.v(x)
        if self.valued:
            values = self.values(values, context.ids)
        q, k, v = self._heads(self.q(x)), self._heads(self.k(x)), self._heads(values)
        if self.normed:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = context.where.rotate(q, k, context.positions)
        if context.cache is not None:
            k, v = context.cache.append(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        return self.o(attend(q, k, v, context.bias, self.scores, dropout).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
