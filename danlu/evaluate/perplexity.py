"""How well a model predicts text: perplexity, bits per byte and bits per character.

Bits per byte does not depend on the tokenizer: minus log2 of the probability of all tokens, the end of the
document included, over the UTF-8 bytes of the text. Documents longer than the model's context are read in
windows that overlap by half, and each token is scored once, with at least half a window before it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import sequential
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import Array, ListItems
from danlu.tokens.shards import Shards


@dataclass(frozen=True)
class Fit:
    """Sums over some text, and the rates that follow from them."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        """e to the loss."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """The yardstick across tokenizers."""
        return self.nats / math.log(2) / max(self.bytes, 1)

    def bits_per_character(self, characters: int) -> float:
        """The same over characters."""
        return self.nats / math.log(2) / max(characters, 1)

    def __add__(self, other: "Fit") -> "Fit":
        return Fit(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


def windows(ids: Array, length: int) -> list[tuple[Array, Array]]:
    """Cut one document ``[n]`` into (ids, mask) of at most ``length``; every token but the first counts once."""
    first = np.ones(min(len(ids), length), np.float32)
    first[0] = 0
    pieces = [(ids[:length], first)]
    scored = len(pieces[0][0])
    while scored < len(ids):
        fresh = min(length - length // 2, len(ids) - scored)
        piece = ids[max(scored + fresh - length, 0) : scored + fresh]
        mask = np.zeros(len(piece), np.float32)
        mask[-fresh:] = 1
        pieces.append((piece, mask))
        scored += fresh
    return pieces


@torch.no_grad()
def fit(model: Transformer, documents: list[tuple[Array, int]], *, pad_id: int, rows: int = 8) -> Fit:
    """Score documents given as (ids, bytes of text). The model's dtype and device are used as they are."""
    length, objective = model.config.max_length, NextToken()
    pieces = [piece for ids, _ in documents for piece in windows(ids, length)]
    nats = tokens = 0.0
    items = ListItems([Rendered(ids.tolist(), mask.tolist()) for ids, mask in pieces])
    for batch in sequential(items, batch_size=rows, length=length, pad_id=pad_id, split=False):
        moved = batch.to(model.embed.weight.device)
        nats += float(objective(model, moved)[0])
        tokens += objective.weight(moved)
    return Fit(nats, round(tokens), sum(size for _, size in documents))


def by_source(model: Transformer, shards: Shards, *, pad_id: int, most_bytes: int = 0) -> dict[str, Fit]:
    """`fit` for each source of a validation set, at most ``most_bytes`` of text each (0: all)."""
    groups: dict[str, list[tuple[Array, int]]] = {}
    taken: dict[str, int] = {}
    for index in range(len(shards)):
        source = shards.source_of(index)
        if most_bytes and taken.get(source, 0) >= most_bytes:
            continue
        groups.setdefault(source, []).append((shards[index], shards.bytes_of(index)))
        taken[source] = taken.get(source, 0) + shards.bytes_of(index)
    return {source: fit(model, documents, pad_id=pad_id) for source, documents in sorted(groups.items())}


def total(fits: dict[str, Fit]) -> Fit:
    """All sources together."""
    return sum(fits.values(), Fit(0.0, 0, 0))
