"""Packing: items one after another into rows of one length, told apart by segment numbers.

Rows without padding waste nothing, and segments keep packed documents from seeing each other (Krell 2021,
arXiv:2107.02027), so packing changes no document's loss. Items keep the order given: best-fit packing saves
nothing where items are split and, where they are not, would make the rows depend on the whole epoch, and with
them the state that an exact resume has to hold. Here that state is three numbers.

Shapes: T is the length of a row.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from danlu.base.errors import UserError
from danlu.tokens.chat import Rendered
from danlu.tokens.shards import Shards

Array = npt.NDArray[Any]
NAMED_ITEMS = 4


class Items(Protocol):
    """What can be packed: ids and target weights of equal length by number, and a hash of them all."""

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[Array, Array]: ...


class ShardItems:
    """Documents of token shards; every id is a target."""

    def __init__(self, shards: Shards) -> None:
        self.shards, self.digest = shards, shards.digest
        self.tokens = shards.tokens

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        ids = self.shards[i]
        return ids, np.ones(len(ids), np.float32)


class ListItems:
    """Rendered conversations, held in memory."""

    def __init__(self, items: Sequence[Rendered]) -> None:
        self._items = [(np.asarray(r.ids, np.int32), np.asarray(r.mask, np.float32)) for r in items]
        self.tokens = sum(len(ids) for ids, _ in self._items)
        digest = hashlib.sha256()
        for ids, mask in self._items:
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + mask.tobytes())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        return self._items[i]


@dataclass
class Row:
    """One packed row. Positions, where needed, count from 0 in each segment."""

    ids: Array  # [T] int64
    mask: Array  # [T] float32: weight of ids[t] as the target predicted from t-1
    segments: Array  # [T] int32: 0, 1, 2, ... within the row; -1 is padding
    name: str  # which items it holds, for a log


class Packer:
    """Fills rows with the items of epoch after epoch; ``epoch, position, offset`` say where the next row begins.

    With ``split`` an item that is longer than the space left is continued in the next row, as a new segment
    whose first token is the last one before, seen again as context: so every token but an item's first is a
    target exactly once. Without it the item starts a new row, and the rest of the row is padding.
    """

    def __init__(
        self,
        items: Items,
        order: Callable[[int], Sequence[int] | Array],
        *,
        length: int,
        pad_id: int,
        split: bool,
        epochs: int | None = None,
    ) -> None:
        check_items(items, length, split)
        self.items, self.order, self.epochs = items, order, epochs
        self.length, self.pad_id, self.split = length, pad_id, split
        self.epoch = self.position = self.offset = 0

    def row(self) -> Row | None:
        """The next row, or None after the last epoch."""
        row = Row(
            np.full(self.length, self.pad_id, np.int64),
            np.zeros(self.length, np.float32),
            np.full(self.length, -1, np.int32),
            "",
        )
        filled, segment, epoch, held = 0, 0, self.epoch, list[str]()
        while filled < self.length and (item := self._current()) is not None:
            ids, mask = self.items[item]
            begin, end = self.offset, min(len(ids), self.offset + self.length - filled)
            if end < len(ids) and not self.split:
                break
            if end > begin:
                place = slice(filled, filled + end - begin)
                row.ids[place], row.mask[place], row.segments[place] = ids[begin:end], mask[begin:end], segment
                row.mask[filled] = 0  # nothing predicts the first token of a segment
                held.append(_name(item, begin, end, len(ids)))
                filled, segment = place.stop, segment + 1
            if end < len(ids):
                self.offset = end - 1
            else:
                self.position, self.offset = self.position + 1, 0
        more = f" and {len(held) - NAMED_ITEMS} more" if len(held) > NAMED_ITEMS else ""
        row.name = f"epoch {epoch}, items {', '.join(held[:NAMED_ITEMS])}{more}"
        return row if filled else None

    def _current(self) -> int | None:
        """The number of the item at hand, an epoch further on where one has ended."""
        if self.position >= len(self.items):
            self.epoch, self.position, self.offset = self.epoch + 1, 0, 0
        if self.epochs is not None and self.epoch >= self.epochs:
            return None
        return int(self.order(self.epoch)[self.position])


def _name(item: int, begin: int, end: int, length: int) -> str:
    return str(item) if (begin, end) == (0, length) else f"{item}[{begin}:{end}]"


def check_items(items: Items, length: int, split: bool) -> None:
    """Refuse what cannot be trained on: nothing, no target, or an item that fits in no row."""
    if length < 2:
        raise UserError(f"a row of {length} tokens predicts nothing", remedy="Use a length of at least 2")
    learned = False
    for i in range(len(items)):
        ids, mask = items[i]
        learned = learned or bool(mask[1:].any())
        if not split and len(ids) > length:
            raise UserError(f"item {i} has {len(ids)} tokens and a row {length}", remedy="Shorten it or drop it")
        if learned and split:
            return
    if not learned:
        raise UserError("the data holds no token to learn", remedy="Check the documents, the length and the loss mask")
