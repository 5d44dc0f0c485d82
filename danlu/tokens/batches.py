"""Batches, and the sources that deal them out forever and can be stopped and taken up anywhere.

The mask convention of the package: ``mask[t]`` is the weight of ``ids[t]`` as a target, predicted from
``t - 1``; the first token of a segment has weight 0. Shapes: B rows, T tokens.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.seed import generator
from danlu.tokens.chat import Rendered
from danlu.tokens.curriculum import NONE, Curriculum, Packing, difficulty, paced
from danlu.tokens.pack import GROUP, Array, BestFit, Dealt, Items, Packer, Row

PAIR_MULTIPLE = 32  # widths of pair batches: few distinct shapes, little padding


@dataclass
class Batch:
    """Rows to train on; for preference pairs ``[B, 2, T]``, index 0 chosen and 1 rejected."""

    ids: Tensor  # [B, T] int64
    mask: Tensor  # [B, T] float32: weight of each id as a target
    segments: Tensor  # [B, T] int32: which packed item, -1 for padding
    extra: dict[str, Tensor] = field(default_factory=dict)  # anything else a row has, B first
    names: tuple[str, ...] = ()  # where each row came from, for a log

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, parts: int) -> list["Batch"]:
        """``parts`` micro-batches of consecutive rows, their sizes at most one apart."""
        if not 1 <= parts <= len(self):
            raise UserError(f"a batch of {len(self)} rows cannot be split in {parts}", remedy="Accumulate fewer steps")
        ends = [len(self) * (i + 1) // parts for i in range(parts)]
        return [self._rows(slice(begin, end)) for begin, end in zip([0, *ends], ends)]

    def _rows(self, rows: slice) -> "Batch":
        extra = {name: value[rows] for name, value in self.extra.items()}
        return Batch(self.ids[rows], self.mask[rows], self.segments[rows], extra, self.names[rows])

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        extra = {name: value.to(device) for name, value in self.extra.items()}
        return Batch(self.ids.to(device), self.mask.to(device), self.segments.to(device), extra, self.names)

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.segments >= 0).sum())


class Source(Protocol):
    """An endless iterator of batches whose state is small, JSON-able and complete."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class _Order:
    """The order of ``count`` items in each epoch: a fresh shuffle from the seed and the epoch's number.

    ``first``, if given, orders the first epoch with a generator of its own: a curriculum.
    """

    def __init__(self, seed: int, count: int, first: Callable[[np.random.Generator], Array] | None = None) -> None:
        self.seed, self.count, self.first = seed, count, first
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __call__(self, epoch: int) -> Array:
        if epoch != self._epoch:
            if epoch == 0 and self.first is not None:
                self._order = self.first(generator(self.seed, "curriculum"))
            else:
                self._order = generator(self.seed, "epoch", epoch).permutation(self.count)
            self._epoch = epoch
        return self._order


class PackedBatches:
    """Items packed into ``batch_size`` rows of ``length`` tokens, shuffled anew each epoch, without end.

    A row may hold the end of one epoch and the beginning of the next, unless ``packing`` is best_fit. A ``curriculum``
    orders the first epoch; the share of the run that it lasts is of ``run_tokens``. Without one, rows of documents,
    which go on from row to row, are dealt out of order (`danlu.tokens.pack`). Which rows come next follows from the
    seed and a few numbers, so the rows are the same however many a batch holds and whoever takes which.
    """

    def __init__(
        self,
        items: Items,
        *,
        batch_size: int,
        length: int,
        pad_id: int,
        seed: int,
        split: bool,
        packing: Packing = "concat",
        curriculum: Curriculum = NONE,
        run_tokens: int = 0,
    ) -> None:
        _check_batch_size(batch_size)
        self._identity: dict[str, Any] = {"items": len(items), "digest": items.digest, "seed": seed, "split": split}
        first = None
        if curriculum != NONE:
            hard = difficulty(items, curriculum)
            first = partial(paced, curriculum, hard, items.lengths(), run_tokens)
            self._identity["curriculum"] = curriculum.identity(run_tokens)
        order = _Order(seed, len(items), first)
        shape: dict[str, Any] = {"length": length, "pad_id": pad_id, "split": split}
        self._packer: Packer | Dealt | BestFit
        if packing == "concat" and split and curriculum == NONE:
            self._identity |= {"packing": f"dealt by {GROUP}", "length": length}
            self._packer = Dealt(Packer(items, order, **shape), partial(_dealt, seed))
        elif packing == "concat":
            self._packer = Packer(items, order, **shape)
        else:
            self._identity |= {"packing": packing, "length": length}  # the window's rows depend on their length
            self._packer = BestFit(items, order, partial(_dealt, seed), **shape)
        self._batch_size = batch_size

    @property
    def epoch(self) -> float:
        """How far it is, in epochs."""
        return self._packer.progress

    def __iter__(self) -> "PackedBatches":
        return self

    def __next__(self) -> Batch:
        rows = (self._packer.row() for _ in range(self._batch_size))
        return _stack([row for row in rows if row is not None])

    def state_dict(self) -> dict[str, Any]:
        """Where the next row is, and of what."""
        return {**self._packer.state(), "data": dict(self._identity)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; a `UserError` if the data, the seed, the packing or the curriculum is another."""
        _check_identity(state, self._identity)
        self._packer.load(state)


def _dealt(seed: int, epoch: int, position: int, count: int) -> Array:
    return generator(seed, "rows", epoch, position).permutation(count)


class PairBatches:
    """Preference pairs ``(chosen, rejected)``, shuffled anew each epoch, without end.

    Rows are padded to the longest of their batch, rounded up to a multiple of 32, at most ``length``.
    """

    def __init__(
        self, pairs: Sequence[tuple[Rendered, Rendered]], *, batch_size: int, length: int, pad_id: int, seed: int
    ) -> None:
        _check_batch_size(batch_size)
        if not pairs:
            raise UserError("there are no preference pairs", remedy="Check the data")
        digest = hashlib.sha256()
        for i, pair in enumerate(pairs):
            for side, rendered in zip(("chosen", "rejected"), pair):
                if len(rendered) > length:
                    raise UserError(f"pair {i}, {side}: {len(rendered)} tokens do not fit in {length}")
                if not any(rendered.mask[1:]):
                    raise UserError(f"pair {i}, {side}: no token to learn")
                digest.update(repr((rendered.ids, rendered.mask)).encode())
        self._pairs, self._order = pairs, _Order(seed, len(pairs))
        self._batch_size, self._length, self._pad_id = batch_size, length, pad_id
        self._epoch = self._position = 0
        self._identity = {"items": len(pairs), "digest": digest.hexdigest(), "seed": seed}

    @property
    def epoch(self) -> float:
        """How far it is, in epochs."""
        return self._epoch + self._position / len(self._pairs)

    def __iter__(self) -> "PairBatches":
        return self

    def __next__(self) -> Batch:
        chosen: list[tuple[Rendered, Rendered]] = []
        names: list[str] = []
        for _ in range(self._batch_size):
            number = int(self._order(self._epoch)[self._position])
            chosen.append(self._pairs[number])
            names.append(f"epoch {self._epoch}, pair {number}")
            self._position += 1
            if self._position == len(self._pairs):
                self._epoch, self._position = self._epoch + 1, 0
        return collate_pairs(chosen, length=self._length, pad_id=self._pad_id, names=names)

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins."""
        return {"epoch": self._epoch, "position": self._position, "data": dict(self._identity)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; a `UserError` if the pairs or the seed are others."""
        _check_identity(state, self._identity)
        self._epoch, self._position = state["epoch"], state["position"]


def collate_pairs(
    pairs: Sequence[tuple[Rendered, Rendered]], *, length: int, pad_id: int, names: Sequence[str] = ()
) -> Batch:
    """Pairs as one batch ``[B, 2, T]``; T is the longest, rounded up to a multiple of 32, at most ``length``."""
    longest = max(len(rendered) for pair in pairs for rendered in pair)
    width = max(longest, min(length, -(-longest // PAIR_MULTIPLE) * PAIR_MULTIPLE))
    ids = np.full((len(pairs), 2, width), pad_id, np.int64)
    mask = np.zeros((len(pairs), 2, width), np.float32)
    segments = np.full((len(pairs), 2, width), -1, np.int32)
    for b, pair in enumerate(pairs):
        for side, rendered in enumerate(pair):
            n = len(rendered)
            ids[b, side, :n], mask[b, side, :n], segments[b, side, :n] = rendered.ids, rendered.mask, 0
    mask[:, :, 0] = 0
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(segments), names=tuple(names))


def sequential(items: Items, *, batch_size: int, length: int, pad_id: int, split: bool) -> Iterator[Batch]:
    """One pass over the items in their order, for evaluation; the last batch may have fewer rows."""
    _check_batch_size(batch_size)
    packer = Packer(items, lambda _: range(len(items)), length=length, pad_id=pad_id, split=split, epochs=1)

    def batches() -> Iterator[Batch]:
        rows: list[Row] = []
        while (row := packer.row()) is not None:
            rows.append(row)
            if len(rows) == batch_size:
                yield _stack(rows)
                rows = []
        if rows:
            yield _stack(rows)

    return batches()


def _stack(rows: list[Row]) -> Batch:
    return Batch(
        torch.from_numpy(np.stack([row.ids for row in rows])),
        torch.from_numpy(np.stack([row.mask for row in rows])),
        torch.from_numpy(np.stack([row.segments for row in rows])),
        names=tuple(row.name for row in rows),
    )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size} is not positive")


def _check_identity(state: dict[str, Any], identity: dict[str, Any]) -> None:
    saved = state["data"]
    changed = [name for name in {**identity, **saved} if saved.get(name) != identity.get(name)]
    if changed:
        first = [name for name in ("split", "curriculum", "packing") if name in changed]  # which change others
        what = "data" if {"items", "digest"} & set(changed) else (first or changed)[0]
        raise UserError(
            f"the {what} changed since the checkpoint ({saved.get('items')} items then, {identity['items']} now)",
            remedy="Continue with what the run began with, or start over with --fresh",
        )
