"""Packed rows as one row of documents: no padding anywhere, and no scores between documents.

While something is learned on a CPU, the tokens of all rows that are not padding are laid in one row, and attention
works on parts: a block of one document's queries with the keys that they may see, or several short documents together.
A row of padding costs as much as a row of text, and so does a score that a mask hides. What comes out is the same. It
is only done where it saves something (`laid_out`), since products over all rows at once are a little faster.

Legend: B rows, T tokens of a row, N tokens that are not padding, K key-value heads, G query heads of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

LONGEST = 256  # queries of a part; of the blocks of `danlu.model.attention` the same was measured
SHORT = 128  # documents that have no more tokens together share a part
FILLED, SCORED = 0.95, 0.7  # the share of tokens, or of scores, below which one row is worth it


class Span(NamedTuple):
    """Queries ``start`` to ``stop`` of the one row, and the first and last of their keys."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Part:
    """Queries, their keys, and what is added to the scores, [1, 1 or K, 1 or G, b, S]."""

    rows: slice
    keys: slice
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the N tokens are among B · T, and the documents as stretches of N."""

    shape: torch.Size
    where: Tensor  # [N]
    documents: list[tuple[int, int]]
    number: Tensor  # [N]: of the document

    def take(self, values: Tensor) -> Tensor:
        """[B, T, ...] -> [1, N, ...]."""
        return values.flatten(0, 1).index_select(0, self.where).unsqueeze(0)

    def give(self, values: Tensor) -> Tensor:
        """[1, N, ...] -> [B, T, ...], zero where padding is."""
        rows = values.new_zeros(self.shape.numel(), *values.shape[2:])
        return rows.index_copy(0, self.where, values.squeeze(0)).unflatten(0, self.shape)

    def parts(self, spans: list[Span], causal: bool, bias: Callable[[Tensor, slice, slice], Tensor]) -> list[Part]:
        """What attention works on; ``bias`` makes scores [1, 1 or H, b, S] of what is visible, [1, b, S]."""
        place, found = torch.arange(len(self.number), device=self.number.device), list[Part]()
        for span in spans:
            rows, keys = slice(span.start, span.stop), slice(span.first, span.last)
            visible = self.number[rows, None] == self.number[None, keys]
            if causal:
                visible &= place[rows, None] >= place[None, keys]
            found.append(Part(rows, keys, bias(visible.unsqueeze(0), rows, keys)))
        return found


def laid_out(segments: Tensor, keys: Callable[[int, int, int], slice]) -> Layout | None:
    """The layout of packed rows [B, T]; None where one row would save nothing. ``keys`` as in `spans`."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    kept = segments >= 0
    where = kept.flatten().nonzero().squeeze(1)
    firsts = (begins & kept).flatten()[where]
    starts = firsts.nonzero().squeeze(1).tolist()
    documents = list(pairwise([*starts, len(where)]))
    rows, length = segments.shape
    scores = _scores(spans(documents, keys)) / (rows * _scores(spans([(0, length)], keys)))
    # Short documents that share a part see more masked scores than in rows that are shorter still.
    worth = scores <= SCORED or (scores <= 1 and len(where) <= FILLED * rows * length)
    return Layout(segments.shape, where, documents, firsts.cumsum(0)) if documents and worth else None


def _scores(found: list[Span]) -> int:
    """How many there are, masked ones included."""
    return sum((span.stop - span.start) * (span.last - span.first) for span in found)


def spans(documents: list[tuple[int, int]], keys: Callable[[int, int, int], slice]) -> list[Span]:
    """The documents in parts; ``keys`` are those that some queries of a document may see (`Scores.keys`)."""
    found, begin = list[Span](), -1
    for start, stop in documents:
        length = stop - start
        if begin >= 0 and (length > SHORT or stop - begin > SHORT):
            found.append(Span(begin, start, begin, start))
            begin = -1
        if length <= SHORT:
            begin = start if begin < 0 else begin
            continue
        count = -(-length // LONGEST)
        cuts = [length * i // count for i in range(count + 1)]
        for first, last in pairwise(cuts):
            seen = keys(first, last, length)
            found.append(Span(start + first, start + last, start + seen.start, start + seen.stop))
    if begin >= 0:
        found.append(Span(begin, documents[-1][1], begin, documents[-1][1]))
    return found
