"""The model: embedding, blocks, final norm, output layer.

One class for every combination of switches in `ModelConfig`; families differ in configuration, techniques
wrap it from outside. Weights are float32; activations take ``compute_dtype``.

Legend: B batch, T time, S tokens that can be looked at, D width, H query heads, K key-value heads, W head width,
V vocabulary.
"""

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.attention import Attention, Context, Scores, grouped
from danlu.model.cache import Cache
from danlu.model.compiling import Compiled, compiled
from danlu.model.config import ModelConfig
from danlu.model.feedforward import FeedForward, activate
from danlu.model.init import initialise
from danlu.model.linear import Linear
from danlu.model.mamba import Mamba
from danlu.model.moe import Ledger, Mixture
from danlu.model.norm import make_norm
from danlu.model.positions import Positions
from danlu.model.positions.alibi import Alibi
from danlu.model.positions.learned import Learned
from danlu.model.positions.rope import Rope
from danlu.model.positions.sinusoidal import Sinusoidal
from danlu.model.products import product
from danlu.model.ragged import Layout, Part, laid_out, spans
from danlu.model.recompute import recomputed


def positions_of(config: ModelConfig) -> Positions:
    """How the model knows order."""
    if config.positions == "none":
        return Positions()
    return {"rope": Rope, "alibi": Alibi, "learned": Learned, "sinusoidal": Sinusoidal}[config.positions](config)


class Residual(nn.Module):
    """What the kinds of block have in common: a feed-forward layer of either kind, and dropout of what is added."""

    feedforward: nn.Module

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.dropout, self.mixed = config.dropout, config.has_experts(layer)

    def _make(self, config: ModelConfig) -> nn.Module:
        return Mixture(config) if self.mixed else FeedForward(config)

    def _fed(self, x: Tensor, context: Context) -> Tensor:
        return self.feedforward(x, context.ledger) if self.mixed else self.feedforward(x)

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout) if self.dropout and self.training else x


class Block(Residual):
    """Attention and feed-forward, each added to the stream, with norms where the config puts them.

    pre: x + f(norm(x)). post: norm(x + f(x)). sandwich: x + norm(f(norm(x))). In parallel: x + f(norm(x)) + g(norm(x)).
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.place, self.parallel = config.norm_place, config.parallel
        self.attention_norm, self.attention = make_norm(config), Attention(config, layer)
        self.feedforward_norm, self.feedforward = make_norm(config), self._make(config)
        if config.norm_place == "sandwich":
            self.attention_after, self.feedforward_after = make_norm(config), make_norm(config)
        self.mixture = nn.Parameter(torch.tensor([1.0, 0.0])) if config.residual_scalars else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        if self.mixture is not None:
            stream, first = self.mixture.to(x.dtype)
            x = stream * x + first * context.first
        if self.parallel:
            added = self._drop(self.attention(self.attention_norm(x), context))
            return x + added + self._drop(self._fed(self.feedforward_norm(x), context))
        if self.place == "post":
            x = self.attention_norm(x + self._drop(self.attention(x, context)))
            return self.feedforward_norm(x + self._drop(self._fed(x, context)))
        attended = self.attention(self.attention_norm(x), context)
        if self.place == "sandwich":
            x = x + self._drop(self.attention_after(attended))
            return x + self._drop(self.feedforward_after(self._fed(self.feedforward_norm(x), context)))
        x = x + self._drop(attended)
        return x + self._drop(self._fed(self.feedforward_norm(x), context))


class Recurrent(Residual):
    """A Mamba-2 layer, and a feed-forward layer if its kind has one, each x + f(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.fed = config.has_feedforward(layer)
        self.mamba_norm, self.mamba = make_norm(config), Mamba(config, layer)
        if self.fed:
            self.feedforward_norm, self.feedforward = make_norm(config), self._make(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        x = x + self._drop(self.mamba(self.mamba_norm(x), context))
        return x + self._drop(self._fed(self.feedforward_norm(x), context)) if self.fed else x


class Transform(nn.Module):
    """What BERT does between its last block and the output layer: linear, activation, norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.linear, self.norm = Linear(config.width, config.width), make_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        return self.norm(activate(self.linear(x), self.activation))


class OutputBias(nn.Module):
    """The bias of the output layer, whose matrix may be the embedding's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


def drops(model: nn.Module) -> bool:
    """Does anything in it drop, while it is trained? LoRA's counts."""
    rates = [getattr(module, "dropout", 0.0) for module in model.modules()]
    rates += [module.p for module in model.modules() if isinstance(module, nn.Dropout | nn.Dropout1d)]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


class Transformer(nn.Module):
    """A language model. ``checkpointing`` (none, selective or full) recomputes blocks to save memory."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.checkpointing: bool | str = "none"
        self.dropout = config.dropout  # of the embedding
        self.compiled: list[Compiled] = []  # called in place of the blocks while something is learned
        self.embed = nn.Embedding(config.vocab_size, config.width)
        if config.token_types:
            self.type_table = nn.Embedding(config.token_types, config.width)
        self.positions = positions_of(config)
        if config.rope_local_theta:
            self.local_positions = Rope(config, local=True)
        if config.embedding_norm:
            self.embed_norm = make_norm(config)
        self.blocks = nn.ModuleList(
            Recurrent(config, layer) if config.is_recurrent(layer) else Block(config, layer)
            for layer in range(config.layers)
        )
        self.norm = nn.Identity() if config.norm_place == "post" else make_norm(config)
        if config.head_transform:
            self.transform = Transform(config)
        if not config.tied:
            self.head = Linear(config.width, config.vocab_size, bias=False)
        if config.head_bias:
            self.head_bias = OutputBias(config)
        initialise(self, seed)

    def compile_blocks(self) -> None:
        """Train through compiled blocks from now on (`danlu.model.compiling`)."""
        self.compiled = compiled(self.blocks)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix, [V, D]."""
        return self.embed.weight if self.config.tied else self.head.weight

    @property
    def output_bias(self) -> Tensor | None:
        """The output layer's bias, [V]."""
        return self.head_bias.bias if self.config.head_bias else None

    def forward(self, ids: Tensor, segments: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """ids: [B, T] -> logits: [B, T, V]."""
        return self.logits(self.hidden(ids, segments, cache))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [..., D], of `hidden` -> [..., V]."""
        bias = None if self.output_bias is None else self.output_bias.to(hidden.dtype)
        logits = product(hidden, self.output_weight.to(hidden.dtype), bias)
        if self.config.logit_scale != 1.0:
            logits = logits * self.config.logit_scale
        cap = self.config.logit_cap
        return torch.tanh(logits / cap) * cap if cap else logits

    def hidden(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """What the output layer reads. ids, segments: [B, T] -> [B, T, D].

        Tokens see only tokens of their own segment, earlier ones in a causal model, and positions count from the
        segment's start. With a cache, ``segments`` below 0 mark padding on the left. In a ``ledger`` the routers of
        experts write what they did.
        """
        x = self.features(ids, segments, cache, ledger)
        return self.transform(x) if self.config.head_transform else x

    def features(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """What the last block made, normed: what another head than the output layer reads. Shapes as in `hidden`."""
        self._check_length(ids)
        positions, visible, columns = self._order(ids, segments, cache)
        x = self._embed(ids, positions)
        layout = self._layout(ids, segments, cache, ledger)
        if layout is not None:
            ids, positions, x = layout.take(ids), layout.take(positions), layout.take(x)
        kinds = dict[tuple[bool, bool, bool], Context]()
        for layer, block in enumerate(self.blocks):
            attends = not self.config.is_recurrent(layer)
            kind = attends, attends and self.config.is_local(layer), attends and self.config.is_turned(layer)
            if kind not in kinds:
                bias: Tensor | list[Part] | None = None
                if layout is not None:
                    bias = self._parts(layout, positions, local=kind[1])
                elif attends:
                    bias = self._bias(visible, positions, columns, local=kind[1])
                kinds[kind] = Context(ids, self._where(*kind[1:]), positions, bias, segments, x, cache, ledger)
            call = self.compiled[layer] if self.compiled and torch.is_grad_enabled() else block
            if self.checkpointing not in (False, "none") and torch.is_grad_enabled():
                x = recomputed(call, x, kinds[kind], kind=self.checkpointing)
            else:
                x = call(x, kinds[kind])
        x = self.norm(x)
        return x if layout is None else layout.give(x)

    def _layout(
        self, ids: Tensor, segments: Tensor | None, cache: Cache | None, ledger: Ledger | None
    ) -> Layout | None:
        """One row in place of several where that is worth it (`danlu.model.ragged`). ids, segments: [B, T]."""
        learning = torch.is_grad_enabled() and not self.compiled
        if segments is None or cache is not None or ledger is not None or not learning or segments.device.type != "cpu":
            return None
        alike = not any(self.config.is_recurrent(layer) for layer in range(self.config.layers))
        if not alike:
            return None
        shares = self.config.causal and not (self.training and drops(self)) and not self.embed._forward_hooks
        return laid_out(segments, Scores(causal=self.config.causal).keys, ids if shares else None)

    def _parts(self, layout: Layout, positions: Tensor, *, local: bool) -> list[Part]:
        """What attention works on. positions: [1, N]."""
        config = self.config
        scores = Scores(causal=config.causal, window=config.window if local else 0)

        def bias(visible: Tensor, rows: slice, keys: slice | Tensor) -> Tensor:
            made = self._bias(visible, positions[:, rows], positions[:, keys], local=local)
            assert made is not None
            return grouped(made, config.heads // config.kv_heads)

        return layout.parts(spans(layout.branches, scores.keys), config.causal, bias)

    def _check_length(self, ids: Tensor) -> None:
        """A `UserError` for rows [B, T] that have more tokens than the model has positions."""
        if ids.shape[1] > self.config.max_length:
            raise UserError(
                f"a sequence of {ids.shape[1]} tokens is longer than the model's {self.config.max_length}",
                remedy="Cut the text, or train with a larger max_length",
            )

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """[B, T] -> [B, T, D], what the first block reads."""
        x = self.embed(ids).to(self.compute_dtype)
        if self.config.embedding_multiplier != 1.0:
            x = x * self.config.embedding_multiplier
        if self.config.token_types:
            x = x + self.type_table.weight[0].to(x.dtype)
        x = self.positions.embed(x, positions)
        if self.config.embedding_norm:
            x = self.embed_norm(x)
        return nn.functional.dropout(x, self.dropout) if self.dropout and self.training else x

    def _where(self, local: bool, turned: bool) -> Positions:
        """What turns queries and keys in layers of a kind."""
        if not turned:
            return Positions()
        return self.local_positions if local and self.config.rope_local_theta else self.positions

    def _order(self, ids: Tensor, segments: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Positions of the queries [B, T], who sees whom apart from windows [B, T, S], positions of the keys [B, S].

        None instead of the second is plain causal, or that no layer looks at others.
        """
        if cache is not None and not self.config.causal:
            raise UserError("an encoder sees all tokens at once and generates none", remedy="Use a causal model")
        if cache is not None:
            positions = cache.open(torch.ones_like(ids, dtype=torch.bool) if segments is None else segments >= 0)
            if not self.config.attends:
                return positions, None, positions
            start = cache.length - ids.shape[1]
            columns = torch.arange(cache.length, device=ids.device)
            visible = columns <= columns[start:, None]  # [T, S]
            visible = visible & cache.valid[:, None, : cache.length]  # [B, T, S]
            # A padding token sees itself, so that its softmax has something to divide by.
            visible = visible | (columns == columns[start:, None])
            return positions, visible, cache.positions[:, : cache.length]
        index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        positions = index
        if segments is not None:
            begins = torch.ones_like(segments, dtype=torch.bool)
            begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
            positions = index - torch.where(begins, index, 0).cummax(dim=1).values
        if not self.config.attends:
            return positions, None, positions
        causal = index[:1, :, None] >= index[:1, None, :]  # [1, T, T]
        if not self.config.causal:
            causal = torch.ones_like(causal)
        if segments is None:
            return index, causal if self._needs_bias(ids) else None, index
        visible = causal & (segments[:, :, None] == segments[:, None, :])
        return positions, visible, positions

    def _needs_bias(self, ids: Tensor) -> bool:
        """Plain causal masks come for free with SDPA; anything else, and training on a CPU, needs them written out."""
        config, length = self.config, ids.shape[1]
        plain = config.causal and config.positions != "alibi" and not config.attention_cap
        plain = plain and not 0 < config.window < length
        return not plain or (torch.is_grad_enabled() and ids.device.type == "cpu")

    def _bias(self, visible: Tensor | None, queries: Tensor, keys: Tensor, *, local: bool) -> Tensor | None:
        """visible: [B, T, S] -> [B, 1 or H, T, S] in the compute dtype: 0 or the position's bias, -inf if hidden."""
        if visible is None:
            return None
        if local and self.config.window < visible.shape[-1]:
            distance = queries.unsqueeze(2) - keys.unsqueeze(1)  # [B, T, S]
            visible = visible & (distance.abs() < self.config.window)
        hidden = torch.full((), float("-inf"), dtype=self.compute_dtype, device=visible.device)
        added = self.positions.bias(queries, keys)
        base = torch.zeros((), dtype=self.compute_dtype, device=visible.device) if added is None else added
        return torch.where(visible.unsqueeze(1), base.to(self.compute_dtype), hidden)
