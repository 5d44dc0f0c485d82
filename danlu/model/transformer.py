"""The decoder: embedding, pre-norm blocks, final norm, output layer.

One class for every combination of switches in `ModelConfig`; families differ in configuration, techniques
wrap it from outside. Weights are float32; activations take ``compute_dtype``.

Legend: B batch, T time, D width, H query heads, K key-value heads, W head width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from danlu.base.errors import UserError
from danlu.model.attention import Attention
from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.feedforward import FeedForward
from danlu.model.init import initialise
from danlu.model.linear import Linear
from danlu.model.norm import make_norm
from danlu.model.positions import Positions
from danlu.model.positions.alibi import Alibi
from danlu.model.positions.learned import Learned
from danlu.model.positions.rope import Rope
from danlu.model.positions.sinusoidal import Sinusoidal

POSITIONS = {"rope": Rope, "alibi": Alibi, "learned": Learned, "sinusoidal": Sinusoidal}


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = make_norm(config), Attention(config, layer)
        self.feedforward_norm, self.feedforward = make_norm(config), FeedForward(config)

    def forward(
        self, x: Tensor, where: Positions, positions: Tensor, bias: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        x = x + self.attention(self.attention_norm(x), where, positions, bias, cache)
        return x + self.feedforward(self.feedforward_norm(x))


class Transformer(nn.Module):
    """A causal language model. ``checkpointing`` recomputes each block in the backward pass to save memory."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.checkpointing = False
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.positions = POSITIONS[config.positions](config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = make_norm(config)
        if not config.tied:
            self.head = Linear(config.width, config.vocab_size, bias=False)
        initialise(self, seed)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix, [V, D]."""
        return self.embed.weight if self.config.tied else self.head.weight

    def forward(self, ids: Tensor, segments: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """ids: [B, T] -> logits: [B, T, V]."""
        hidden = self.hidden(ids, segments, cache)
        return nn.functional.linear(hidden, self.output_weight.to(hidden.dtype))

    def hidden(self, ids: Tensor, segments: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """What the output layer reads. ids, segments: [B, T] -> [B, T, D].

        Tokens see only earlier tokens of their own segment, and positions count from the segment's start.
        With a cache, ``segments`` below 0 mark padding on the left.
        """
        if ids.shape[1] > self.config.max_length:
            raise UserError(
                f"a sequence of {ids.shape[1]} tokens is longer than the model's {self.config.max_length}",
                remedy="Cut the text, or train with a larger max_length",
            )
        positions, bias = self._order(ids, segments, cache)
        x = self.positions.embed(self.embed(ids).to(self.compute_dtype), positions)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, self.positions, positions, bias, cache, use_reentrant=False)
            else:
                x = block(x, self.positions, positions, bias, cache)
        return self.norm(x)

    def _order(self, ids: Tensor, segments: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor | None]:
        """Positions [B, T], and what is added to the scores: [B, 1 or H, T, S], or None for plain causal."""
        if cache is not None:
            positions = cache.open(torch.ones_like(ids, dtype=torch.bool) if segments is None else segments >= 0)
            start = cache.length - ids.shape[1]
            columns = torch.arange(cache.length, device=ids.device)
            visible = columns <= columns[start:, None]  # [T, S]
            visible = visible & cache.valid[:, None, : cache.length]  # [B, T, S]
            # A padding token sees itself, so that its softmax has something to divide by.
            visible = visible | (columns == columns[start:, None])
            return positions, self._bias(visible, positions, cache.positions[:, : cache.length])
        index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        causal = index[:1, :, None] >= index[:1, None, :]  # [1, T, T]
        if segments is None:
            return index, self._bias(causal, index, index) if self._needs_bias(ids) else None
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        positions = index - torch.where(begins, index, 0).cummax(dim=1).values
        visible = causal & (segments[:, :, None] == segments[:, None, :])
        return positions, self._bias(visible, positions, positions)

    def _needs_bias(self, ids: Tensor) -> bool:
        """Plain causal masks come for free with SDPA; ALiBi, and training on a CPU, need them written out."""
        return self.config.positions == "alibi" or (torch.is_grad_enabled() and ids.device.type == "cpu")

    def _bias(self, visible: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """visible: [B, T, S] -> [B, 1 or H, T, S] in the compute dtype: 0 or the position's bias, -inf if hidden."""
        hidden = torch.full((), float("-inf"), dtype=self.compute_dtype, device=visible.device)
        added = self.positions.bias(queries, keys)
        base = torch.zeros((), dtype=self.compute_dtype, device=visible.device) if added is None else added
        return torch.where(visible.unsqueeze(1), base.to(self.compute_dtype), hidden)
