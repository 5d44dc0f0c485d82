"""Virtual tokens before every document: a model inserts them into what it reads and leaves them out of what it says.

Batches, objectives, packing and generation know nothing of them: rows of T ids go in, T hidden states come out. In
between the rows are longer. Each document of a packed row gets the n virtual tokens at its beginning, in its own
segment, at positions 0 to n - 1; what is generated gets them once, with the prompt. They are ids beyond the vocabulary,
which the embedding layer, wrapped, answers with learned vectors. What predicts a document's first token is not trained,
here as elsewhere: virtual tokens have no targets.

Legend: B batch, T time, T' time with virtual tokens, D width, n virtual tokens, N documents.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.adapters.common import LONE, Held, another, back, native, shorten
from danlu.model.cache import Cache
from danlu.model.moe import Ledger
from danlu.model.transformer import Transformer

UNMERGED = "virtual tokens are something to read, which no weight of the model can hold"


class Vectors(nn.Module):
    """Virtual tokens that are learned as they are."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(values)

    def forward(self) -> Tensor:
        """[n, D]."""
        return self.vectors


class WithVirtual(nn.Module):
    """An embedding layer [V, D] that answers ids from V on with the vectors that ``maker`` makes.

    They are what an embedding layer gives, so where the model multiplies its embeddings (Gemma) they are divided first:
    peft, too, puts them after that.
    """

    def __init__(self, table: nn.Module, maker: nn.Module, tokens: int, multiplier: float) -> None:
        super().__init__()
        self.table, self.maker, self.tokens, self.multiplier = table, maker, tokens, multiplier

    @property
    def weight(self) -> Tensor:
        """The table alone, [V, D]."""
        found = self.table.weight
        assert isinstance(found, Tensor)
        return found

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [...] -> [..., D]."""
        first = self.weight.shape[0]
        virtual = ids >= first
        if not bool(virtual.any()):  # every token that is generated
            return self.table(ids)
        made = self.maker() / self.multiplier
        own = nn.functional.embedding((ids - first).clamp_min(0), made)
        return torch.where(virtual.unsqueeze(-1), own, self.table(ids.clamp_max(first - 1)))


class Wide(NamedTuple):
    """Rows with virtual tokens, and where each column of the rows without them went."""

    ids: Tensor  # [B, T']
    segments: Tensor  # [B, T']
    place: Tensor  # [B, T]


def widened(ids: Tensor, segments: Tensor, virtual: Tensor) -> Wide:
    """``virtual``, [n], before the first token of each document. ids, segments: [B, T]; segments below 0 get none."""
    count = len(virtual)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    begins &= segments >= 0
    shift = begins.cumsum(dim=1) * count
    place = torch.arange(ids.shape[1], device=ids.device) + shift
    width = ids.shape[1] + int(shift[:, -1].max())
    wide, wide_segments = ids.new_zeros(len(ids), width), segments.new_full((len(ids), width), -1)
    wide.scatter_(1, place, ids)
    wide_segments.scatter_(1, place, segments)
    rows, columns = begins.nonzero(as_tuple=True)  # [N]
    before = place[rows, columns].unsqueeze(1) - count + torch.arange(count, device=ids.device)  # [N, n]
    wide[rows.unsqueeze(1), before] = virtual
    wide_segments[rows.unsqueeze(1), before] = segments[rows, columns].unsqueeze(1)
    return Wide(wide, wide_segments, place)


class Prompted(Transformer):
    """A model with virtual tokens; `give` makes one of any, as `torch.nn.utils.parametrize` does, by its class."""

    @property
    def virtual(self) -> int:
        """n."""
        return _embedding(self).tokens

    def features(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """As `Transformer.features`: of the tokens that were given, [B, T, D]."""
        if cache is not None and cache.length:
            return super().features(ids, segments, cache, ledger)
        Transformer._check_length(self, ids)
        virtual = torch.arange(self.virtual, device=ids.device) + self.embed.weight.shape[0]
        found = widened(ids, torch.zeros_like(ids) if segments is None else segments, virtual)
        if cache is not None:
            cache.widen(self.virtual)
        if ledger is not None:  # virtual tokens do not count for the losses of routers
            weights = ledger.weights.view(ids.shape)
            ledger.weights = weights.new_zeros(found.ids.shape).scatter_(1, found.place, weights).flatten()
        made = super().features(found.ids, None if segments is None else found.segments, cache, ledger)
        return made.gather(1, found.place.unsqueeze(-1).expand(-1, -1, made.shape[-1]))

    def _check_length(self, ids: Tensor) -> None:
        """Rows that were let in stay in: it is documents that have positions, and no document is longer than a row."""


def give(model: Transformer, maker: nn.Module, tokens: int) -> None:
    """Let ``model`` read ``tokens`` virtual tokens, which ``maker`` makes, before every document from now on."""
    native(model)
    if any(model.config.has_values(layer) for layer in range(model.config.layers)):
        what = "the model has a second embedding of tokens in its values, which virtual tokens have not"
        raise UserError(what, remedy="Use --method prefix")
    shorten(model, tokens)
    device = model.embed.weight.device
    wrapped = WithVirtual(model.embed, maker.to(device), tokens, model.config.embedding_multiplier)
    model.add_module("embed", wrapped)
    model.__class__ = Prompted


def tensors(model: Transformer) -> dict[str, Tensor]:
    """The vectors, whatever made them."""
    return {LONE: _embedding(model).maker()}


def _embedding(model: Transformer) -> WithVirtual:
    found: Any = model.embed
    assert isinstance(found, WithVirtual)
    return found


def shape_keys(model: Transformer, tokens: int) -> dict[str, Any]:
    """peft's keys of what stands before a document."""
    return {
        "num_virtual_tokens": tokens,
        "token_dim": model.config.width,
        "num_transformer_submodules": 1,
        "num_attention_heads": model.config.heads,
        "num_layers": model.config.layers,
    }


def place(held: Held, model: Transformer) -> None:
    """Give ``model`` the virtual tokens of the files."""
    found = held.lone()
    if found.shape[1] != model.config.width:
        raise another(
            held.path, f"its virtual tokens have {found.shape[1]} numbers, and the model {model.config.width}"
        )
    give(model, Vectors(found.clone()), len(found))


def remove(model: Transformer) -> None:
    """Take the virtual tokens away."""
    if isinstance(model, Prompted):
        embedding = _embedding(model)
        model.add_module("embed", embedding.table)
        back(model)
        shorten(model, -embedding.tokens)
