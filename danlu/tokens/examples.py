"""Rows for tasks with labels: one text, or one window of a text, each, padded to the longest of their batch.

They are dealt without end, shuffled anew each epoch; within a window of several batches rows of similar length come
together, which saves most of the padding, and the batches of a window come in random order. Of several tasks each has
its own shuffle and a fixed share of the rows, the one that is furthest behind being next, so the shares hold at every
moment and the state is a few numbers.

Legend: B rows, T tokens, G groups, P pairs of a group, S sides of a pair.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.seed import generator
from danlu.tokens.batches import Batch

MULTIPLE = 8  # widths are rounded up to it: few shapes, little padding
WINDOW = 16  # batches sorted by length together
TOKENS = {"tags": -1, "types": 0}  # values with one number a token, and what stands on padding
MISSING = {"label": -1, "tags": -1, "span": -1}  # what stands where a row of another task has no such value

Value = int | float | list[int] | list[float]
Collate = Callable[[Sequence["Example"], Sequence[str]], Batch]


@dataclass(frozen=True)
class Example:
    """A row, and what is to be learned of it; ``owner`` is the number of the sample that it is a part of."""

    ids: list[int]
    values: dict[str, Value] = field(default_factory=dict)
    owner: int = 0
    places: tuple[Any, ...] = ()  # of each token: its word's number, or its characters; what a row alone cannot say
    sides: tuple[list[int], ...] = ()  # of a pair of texts apart: the second, and what belongs to neither

    def __len__(self) -> int:
        return max(len(self.ids), *(len(side) for side in self.sides)) if self.sides else len(self.ids)


def collate(examples: Sequence[Example], names: Sequence[str] = (), *, pad_id: int) -> Batch:
    """Rows as one batch [B, T]. Every token of a text counts in ``mask``; ``extra`` has what the examples hold."""
    rows = [example.ids for example in examples]
    ids, segments = padded(rows, pad_id)
    keys = sorted({key for example in examples for key in example.values})
    extra = {key: _stacked(key, [example.values.get(key) for example in examples], ids.shape[1]) for key in keys}
    return Batch(ids, (segments >= 0).float(), segments, extra, tuple(names))


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """ids and segments [B, T]; T is the longest row's, rounded up."""
    width = -(-max(map(len, rows)) // MULTIPLE) * MULTIPLE
    ids, segments = np.full((len(rows), width), pad_id, np.int64), np.full((len(rows), width), -1, np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)], segments[i, : len(row)] = row, 0
    return torch.from_numpy(ids), torch.from_numpy(segments)


def _stacked(key: str, values: Sequence[Value | None], width: int) -> Tensor:
    fill = TOKENS.get(key, MISSING.get(key, 0))
    lists = [value for value in values if isinstance(value, list)]
    if not lists:
        plain = [fill if value is None else value for value in values]
        return torch.tensor(plain, dtype=torch.float32 if any(isinstance(v, float) for v in plain) else torch.int64)
    width = width if key in TOKENS else max(map(len, lists))
    rows = [[*value, *[fill] * (width - len(value))] if isinstance(value, list) else [fill] * width for value in values]
    whole = all(isinstance(number, int) for row in rows for number in row)
    return torch.tensor(rows, dtype=torch.int64 if whole else torch.float32)


def collate_groups(examples: Sequence[Example], names: Sequence[str] = (), *, pad_id: int, group: int) -> Batch:
    """Pairs as one batch [G, P, S, T]: a group's pairs see one another, and a micro-batch holds whole groups."""
    sides = 1 + max(len(example.sides) for example in examples)
    rows = [side for example in examples for side in [example.ids, *example.sides][:sides]]
    ids, segments = padded(rows, pad_id)
    shape = (len(examples) // group, group, sides, ids.shape[1])
    keys = sorted({key for example in examples for key in example.values})
    extra = {k: _stacked(k, [e.values.get(k) for e in examples], 0).unflatten(0, shape[:2]) for k in keys}
    named = tuple("; ".join(names[i : i + group]) for i in range(0, len(names), group))
    return Batch(ids.view(shape), (segments >= 0).float().view(shape), segments.view(shape), extra, named)


class ExampleBatches:
    """Batches of ``batch_size`` examples of one task or several, without end; ``shares`` are of the rows."""

    def __init__(
        self,
        tasks: Mapping[str, Sequence[Example]],
        *,
        batch_size: int,
        seed: int,
        collate: Collate,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        if batch_size < 1 or not tasks:
            raise UserError(f"batch_size {batch_size} is not positive, or there is no task")
        for name, examples in tasks.items():
            if not examples:
                raise UserError("there is nothing to learn from", where=name, remedy="Check the data")
        self._tasks, self._batch_size, self._seed, self._collate = dict(tasks), batch_size, seed, collate
        self._shares = dict(shares or {name: 1 / len(tasks) for name in tasks})
        self.dealt = dict.fromkeys(self._tasks, 0)
        self._orders: dict[str, tuple[int, Any]] = {}
        digest = hashlib.sha256()
        for name, examples in self._tasks.items():
            for e in examples:
                digest.update(repr((name, e.ids, e.sides, sorted(e.values.items()))).encode())
        self._identity = {"digest": digest.hexdigest(), "seed": seed, "shares": self._shares, "rows": batch_size}

    @property
    def epoch(self) -> float:
        """How far the task is that is furthest, in epochs of its own."""
        return max(self.dealt[name] / len(examples) for name, examples in self._tasks.items())

    def __iter__(self) -> "ExampleBatches":
        return self

    def __next__(self) -> Batch:
        chosen: list[Example] = []
        names: list[str] = []
        for _ in range(self._batch_size):
            total = sum(self.dealt.values())
            name = max(self._tasks, key=lambda name: self._shares[name] * (total + 1) - self.dealt[name])
            epoch, position = divmod(self.dealt[name], len(self._tasks[name]))
            number = int(self._order(name, epoch)[position])
            chosen.append(self._tasks[name][number])
            names.append(f"{name}: epoch {epoch}, row {number}")
            self.dealt[name] += 1
        return self._collate(chosen, names)

    def _order(self, name: str, epoch: int) -> Any:
        """The rows of a task in an epoch: shuffled, neighbours of similar length where there is one task."""
        found = self._orders.get(name)
        if found is None or found[0] != epoch:
            examples = self._tasks[name]
            draw = generator(self._seed, name, "epoch", epoch)
            order = draw.permutation(len(examples))
            if len(self._tasks) == 1:
                lengths = np.asarray([len(example) for example in examples])
                order = np.concatenate([_alike(part, lengths, self._batch_size, draw) for part in self._windows(order)])
            found = self._orders[name] = (epoch, order)
        return found[1]

    def _windows(self, order: Any) -> list[Any]:
        size = WINDOW * self._batch_size
        return [order[begin : begin + size] for begin in range(0, len(order), size)]

    def state_dict(self) -> dict[str, Any]:
        """How many rows of each task were dealt."""
        return {"dealt": dict(self.dealt), "data": dict(self._identity)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; a `UserError` if the data, the shares or the seed are others."""
        changed = [key for key, value in self._identity.items() if state.get("data", {}).get(key) != value]
        if changed:
            what = {"digest": "data", "shares": "share of a task", "rows": "batch size"}.get(changed[0], changed[0])
            remedy = "Continue with what the run began with, or start over with --fresh"
            raise UserError(f"the {what} changed since the checkpoint", remedy=remedy)
        self.dealt = {name: int(state["dealt"][name]) for name in self._tasks}


def _alike(order: Any, lengths: Any, size: int, draw: np.random.Generator) -> Any:
    """One window: sorted by length, in batches, the batches shuffled; a last one that is not full stays last."""
    ranked = order[np.argsort(lengths[order], kind="stable")]
    full = len(ranked) // size * size
    batches = ranked[:full].reshape(-1, size)
    return np.concatenate([batches[draw.permutation(len(batches))].reshape(-1), ranked[full:]])
