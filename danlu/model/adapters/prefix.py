"""Prefix tuning (Li and Liang 2021, arXiv:2101.00190): a cache that is trained.

Each layer's attention sees learned keys and values before those of every document, at positions 0 to n - 1; the
document begins at position n. Every document of a packed row sees the prefix, which stands in the row once. For
generation it is what a cache holds before anything was read. Blocks and attention know nothing of it: they are given a
cache, whose gradients the prefix gets.

With a projection the numbers come from a table through two linear layers with a tanh between (section 4.3), and what is
saved are the numbers alone, as peft saves them. Without, the keys and values that the model itself makes of real tokens
are a better beginning than small random numbers (section 7.4); of a text, they are that text.

Legend: B batch, T time, S tokens that can be looked at, L layers, K key-value heads, W head width, n virtual tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.seed import derive
from danlu.model.adapters.common import LONE, Held, another, back, first_ids, initialise, native, shorten
from danlu.model.adapters.method_settings import Prefix
from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.moe import Ledger
from danlu.model.transformer import Transformer

TYPE = "PREFIX_TUNING"
UNMERGED = "a prefix is keys and values before a document, which no weight of the model can hold"
SPREAD = 0.02  # of random first values: as large as a new model's weights


class Keeper(nn.Module):
    """The prefix: a table [n, 2·L·K·W], or with ``hidden`` a table [n, K·W] and the network that makes it of it."""

    def __init__(self, config: ModelConfig, tokens: int, hidden: int = 0) -> None:
        super().__init__()
        each = config.kv_heads * config.head_width
        self.shape = 2 * config.layers, config.kv_heads, config.head_width
        every = 2 * config.layers * each
        self.embedding = nn.Embedding(tokens, each if hidden else every)
        self.transform: nn.Sequential | None = None
        if hidden:
            self.transform = nn.Sequential(nn.Linear(each, hidden), nn.Tanh(), nn.Linear(hidden, every))

    @property
    def tokens(self) -> int:
        """n."""
        return self.embedding.num_embeddings

    def flat(self) -> Tensor:
        """[n, 2·L·K·W], as peft lays it out."""
        table = self.embedding.weight
        return table if self.transform is None else self.transform(table)

    def forward(self) -> Tensor:
        """[L, 2, K, n, W]: each layer's keys and values."""
        return self.flat().unflatten(1, self.shape).permute(1, 2, 0, 3).unflatten(0, (-1, 2))


class Ahead(Cache):
    """What attention is given while all of a document is read at once: the prefix, and nothing is stored."""

    def __init__(self, layers: Tensor) -> None:
        self.layers = layers  # [L, 2, K, n, W]

    @property
    def tokens(self) -> int:
        """n."""
        return self.layers.shape[3]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v: [B, K, T, W] -> [B, K, n + T, W]."""
        first = self.layers[layer].to(k.dtype).unsqueeze(1).expand(-1, len(k), -1, -1, -1)
        return torch.cat((first[0], k), dim=2), torch.cat((first[1], v), dim=2)


class Prefixed(Transformer):
    """A model with a prefix. `give` makes one of any other, as `torch.nn.utils.parametrize` does: by its class."""

    prefix: Keeper

    def features(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """As `Transformer.features`; a cache that is empty gets the prefix first."""
        if cache is None:
            return super().features(ids, segments, Ahead(self.prefix()), ledger)
        if not cache.length:
            self._begin(cache)
        return super().features(ids, segments, cache, ledger)

    def _begin(self, cache: Cache) -> None:
        layers, count = self.prefix(), self.prefix.tokens
        cache.widen(count)
        cache.open(torch.ones(len(cache.valid), count, dtype=torch.bool, device=cache.valid.device))
        cache.keys[:, :, :, :count] = layers[:, 0].unsqueeze(1)
        cache.values[:, :, :, :count] = layers[:, 1].unsqueeze(1)

    def _order(self, ids: Tensor, segments: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor | None, Tensor]:
        if not isinstance(cache, Ahead):
            return super()._order(ids, segments, cache)
        positions, visible, columns = super()._order(ids, segments, None)
        if visible is None:  # plain causal
            visible = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        ahead = torch.arange(cache.tokens, device=ids.device).expand(len(ids), -1)
        seen = visible.new_ones(len(visible), ids.shape[1], cache.tokens)
        shifted = columns + cache.tokens
        return positions + cache.tokens, torch.cat((seen, visible), dim=2), torch.cat((ahead, shifted), dim=1)


def check(model: Transformer) -> None:
    """A `UserError` for a model that has other layers than of attention, or is not native."""
    native(model)
    if model.config.state_space is not None:
        raise UserError("a Mamba-2 layer has no keys and values that a prefix could stand before",
                        remedy="Use --method prompt")  # fmt: skip


def give(model: Transformer, prefix: Keeper) -> None:
    """Let ``model`` have the prefix from now on."""
    shorten(model, prefix.tokens)
    model.add_module("prefix", prefix.to(model.embed.weight.device))
    model.__class__ = Prefixed


def add(model: Transformer, settings: Prefix, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and give it a prefix; ``words`` are the ids of the settings' text."""
    check(model)
    config = model.config
    hidden = (settings.hidden or config.kv_heads * config.head_width) if settings.projection else 0
    prefix = Keeper(config, settings.tokens, hidden)
    initialise(prefix, seed, "prefix")
    if not settings.projection:
        with torch.no_grad():
            prefix.embedding.weight.copy_(_beginning(model, settings, seed, words))
    model.requires_grad_(False)
    give(model, prefix)
    return ()


def _beginning(model: Transformer, settings: Prefix, seed: int, words: Sequence[int]) -> Tensor:
    """First values, [n, 2·L·K·W]: what the model keeps of real tokens, or small random numbers."""
    config = model.config
    if settings.start == "random":
        draw = torch.Generator().manual_seed(derive(seed, "prefix", "random"))
        size = 2 * config.layers * config.kv_heads * config.head_width
        return torch.randn(settings.tokens, size, generator=draw) * SPREAD
    device, was = model.embed.weight.device, model.training
    ids = first_ids(settings.tokens, config.vocab_size, words, seed, "prefix").to(device)
    cache = Cache(config, 1, settings.tokens, torch.float32, device)
    model.eval()
    model.hidden(ids.unsqueeze(0), None, cache)
    model.train(was)
    kept = torch.stack((cache.keys[:, 0], cache.values[:, 0]), dim=1)  # [L, 2, K, n, W]
    return kept.permute(3, 0, 1, 2, 4).flatten(1)


def tensors(model: Transformer) -> dict[str, Tensor]:
    """The numbers, whatever made them."""
    assert isinstance(model, Prefixed)
    return {LONE: model.prefix.flat()}


def config(model: Transformer, settings: Prefix, layers: tuple[str, ...]) -> dict[str, Any]:
    """peft's keys of its own."""
    shape = model.config
    each = shape.kv_heads * shape.head_width
    return {
        "num_virtual_tokens": settings.tokens,
        "token_dim": each,
        "num_transformer_submodules": 1,
        "num_attention_heads": shape.kv_heads,
        "num_layers": shape.layers,
        "prefix_projection": settings.projection,
        "encoder_hidden_size": settings.hidden or each,
    }


def place(held: Held, model: Transformer) -> None:
    """Give ``model`` the prefix of the files."""
    check(model)
    found, config = held.lone(), model.config
    prefix = Keeper(config, len(found))
    wanted = prefix.embedding.weight
    if found.shape != wanted.shape:
        each = f"{config.layers} layers of {config.kv_heads} key-value heads of {config.head_width}"
        raise another(held.path, f"its prefix has {found.shape[1]} numbers a token, and {each} need {wanted.shape[1]}")
    with torch.no_grad():
        wanted.copy_(found)
    give(model, prefix)


def remove(model: Transformer) -> None:
    """Take the prefix away."""
    if isinstance(model, Prefixed):
        tokens = model.prefix.tokens
        del model.prefix
        back(model)
        shorten(model, -tokens)
