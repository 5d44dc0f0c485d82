"""Packed rows as one row of documents: no padding anywhere, no scores between documents, and no prefix twice.

While something is learned on a CPU, the tokens of all rows that are not padding are laid in one row, and attention
works on parts: a block of one document's queries with the keys that they may see, or several short documents together.
A row of padding costs as much as a row of text, and so does a score that a mask hides. What comes out is the same. It
is only done where it saves something (`laid_out`), since products over all rows at once are a little faster.

Documents that begin alike (a system's message, a question with two answers, the turns of one conversation as samples)
share what they have in common: in a causal model a token's state depends on those before it alone. So a document is a
branch that grows from others, its stems, and its gradient goes into theirs. Nothing is shared where a token's state is
drawn anew each time, as with dropout.

Legend: B rows, T tokens of a row, M tokens that are not padding, N of them computed, K key-value heads, G query
heads of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

LONGEST = 256  # queries of a part; of the blocks of `danlu.model.attention` the same was measured
SHORT = 128  # documents that have no more tokens together share a part
FEWEST = 16  # tokens that documents have to have in common
FILLED, SCORED = 0.95, 0.7  # the share of tokens, or of scores, below which one row is worth it

Stretch = tuple[int, int]  # the first of some tokens of the one row, and the one after the last


class Branch(NamedTuple):
    """A stretch of the one row, and the branches it grows from, by their numbers, the first token's first."""

    start: int
    stop: int
    stems: tuple[int, ...] = ()


class Span(NamedTuple):
    """Queries ``start`` to ``stop`` of the one row, and their keys."""

    start: int
    stop: int
    keys: tuple[Stretch, ...]


@dataclass(frozen=True)
class Part:
    """Queries, their keys, and what is added to the scores, [1, 1 or K, 1 or G, b, S]."""

    rows: slice
    keys: slice | Tensor
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """Where tokens of the one row come from among B · T, where they go to, and which documents they belong to."""

    shape: torch.Size
    kept: Tensor  # [M]: those that are not padding, among B · T
    back: Tensor  # [M]: and where they are in the row
    where: Tensor  # [N]: the row's tokens among B · T
    branches: list[Branch]
    number: Tensor  # [N]: of the branch

    def take(self, values: Tensor) -> Tensor:
        """[B, T, ...] -> [1, N, ...]."""
        return values.flatten(0, 1).index_select(0, self.where).unsqueeze(0)

    def give(self, values: Tensor) -> Tensor:
        """[1, N, ...] -> [B, T, ...], zero where padding is."""
        rows = values.new_zeros(self.shape.numel(), *values.shape[2:])
        found = values.squeeze(0)
        if len(self.back) > len(self.where):
            found = found.index_select(0, self.back)
        return rows.index_copy(0, self.kept, found).unflatten(0, self.shape)

    def parts(
        self, found: list[Span], causal: bool, bias: Callable[[Tensor, slice, slice | Tensor], Tensor]
    ) -> list[Part]:
        """What attention works on; ``bias`` makes scores [1, 1 or H, b, S] of what is visible, [1, b, S]."""
        place, made = torch.arange(len(self.number), device=self.number.device), list[Part]()
        kin = torch.eye(len(self.branches), dtype=torch.bool, device=place.device)  # who sees whom
        for number, branch in enumerate(self.branches):
            kin[number, list(branch.stems)] = True
        for span in found:
            rows, keys = slice(span.start, span.stop), _index(span.keys, place)
            visible = kin[self.number[rows]][:, self.number[keys]]
            if causal:
                visible &= place[rows, None] >= place[None, keys]
            made.append(Part(rows, keys, bias(visible.unsqueeze(0), rows, keys)))
        return made


def _index(keys: tuple[Stretch, ...], place: Tensor) -> slice | Tensor:
    """One stretch is a slice, which copies nothing."""
    if len(keys) == 1:
        return slice(*keys[0])
    return torch.cat([place[first:last] for first, last in keys])


def laid_out(segments: Tensor, keys: Callable[[int, int, int], slice], ids: Tensor | None = None) -> Layout | None:
    """The layout of packed rows [B, T]; None where one row would save nothing. ``keys`` as in `spans`.

    With ``ids`` [B, T], documents that begin alike share their beginning.
    """
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    valid = segments >= 0
    kept = valid.flatten().nonzero().squeeze(1)
    starts = (begins & valid).flatten()[kept].nonzero().squeeze(1).tolist()
    documents = list(pairwise([*starts, len(kept)]))
    if not documents:
        return None
    tokens = None if ids is None else ids.flatten()[kept].tolist()
    branches, back, taken = grown(documents, tokens)
    rows, length = segments.shape
    scores = _scores(spans(branches, keys)) / (rows * _scores(spans([Branch(0, length)], keys)))
    # Short documents that share a part see more masked scores than in rows that are shorter still.
    if scores > SCORED and (scores > 1 or len(taken) > FILLED * rows * length):
        return None
    place = torch.tensor([branch.stop - branch.start for branch in branches], device=kept.device)
    number = torch.arange(len(branches), device=kept.device).repeat_interleave(place)
    sources = kept[torch.tensor(taken, device=kept.device)]
    return Layout(segments.shape, kept, torch.tensor(back, device=kept.device), sources, branches, number)


def grown(documents: list[Stretch], tokens: list[int] | None) -> tuple[list[Branch], list[int], list[int]]:
    """Documents of M tokens as branches; where each of the M is in the row; and which of them the N of the row are.

    Without ``tokens`` nothing is shared, and the row is the documents as they stand.
    """
    branches, back, taken = list[Branch](), [-1] * sum(stop - start for start, stop in documents), list[int]()

    def add(first: int, last: int, stems: tuple[int, ...]) -> None:
        if last > first:
            branches.append(Branch(len(taken), len(taken) + last - first, stems))
            back[first:last] = range(*branches[-1][:2])
            taken.extend(range(first, last))

    left: list[tuple[list[Stretch], int, tuple[int, ...]]] = [(documents, 0, ())]
    while left:
        group, depth, stems = left.pop()  # documents, how many of their tokens are done, and the branches these are in
        alike = dict[object, list[Stretch]]()
        for start, stop in group:
            following = None if tokens is None else tuple(tokens[start + depth : min(start + depth + FEWEST, stop)])
            alone = following is None or len(following) < FEWEST
            alike.setdefault(start if alone else following, []).append((start, stop))
        for same in alike.values():
            first = same[0][0]
            if len(same) == 1 or tokens is None:
                add(first + depth, same[0][1], stems)
                continue
            common = depth + FEWEST
            least = min(stop - start for start, stop in same)
            while common < least and len({tokens[start + common] for start, _ in same}) == 1:
                common += 1
            add(first + depth, first + common, stems)
            for start, _ in same[1:]:
                back[start + depth : start + common] = range(*branches[-1][:2])
            left.append((same, common, (*stems, len(branches) - 1)))
    return branches, back, taken


def _scores(found: list[Span]) -> int:
    """How many there are, masked ones included."""
    return sum((span.stop - span.start) * (last - first) for span in found for first, last in span.keys)


def spans(branches: list[Branch], keys: Callable[[int, int, int], slice]) -> list[Span]:
    """The branches in parts; ``keys`` are those that some queries of a document may see (`Scores.keys`)."""
    found, group = list[Span](), list[int]()  # the short ones that may share a part

    def close() -> None:
        if group:
            start, stop = branches[group[0]].start, branches[group[-1]].stop
            stems = {stem for number in group for stem in branches[number].stems} - {*group}
            found.append(Span(start, stop, _joined([*(branches[stem][:2] for stem in sorted(stems)), (start, stop)])))
            group.clear()

    for number, branch in enumerate(branches):
        length = branch.stop - branch.start
        if group:
            near = {*group, *branches[group[0]].stems}.issuperset(branch.stems)
            if not near or length > SHORT or branch.stop - branches[group[0]].start > SHORT:
                close()
        if length <= SHORT:
            group.append(number)
            continue
        path = [branches[stem][:2] for stem in branch.stems]
        ahead, count = sum(last - first for first, last in path), -(-length // LONGEST)
        cuts = [length * i // count for i in range(count + 1)]
        for first, last in pairwise(cuts):
            seen = keys(ahead + first, ahead + last, ahead + length)
            own = _within([*path, branch[:2]], seen)
            found.append(Span(branch.start + first, branch.start + last, _joined(own)))
    close()
    return found


def _within(path: list[Stretch], seen: slice) -> list[Stretch]:
    """Of a document that lies in these stretches, its tokens ``seen``."""
    found, before = list[Stretch](), 0
    for first, last in path:
        start, stop = max(seen.start - before, 0), min(seen.stop - before, last - first)
        if start < stop:
            found.append((first + start, first + stop))
        before += last - first
    return found


def _joined(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Those that follow one another as one."""
    found = list[Stretch]()
    for first, last in stretches:
        if found and found[-1][1] == first:
            first = found.pop()[0]
        found.append((first, last))
    return tuple(found)
