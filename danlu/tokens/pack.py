"""Packing: items into rows of one length, told apart by segment numbers.

Segments keep packed documents from seeing each other (Krell 2021, arXiv:2107.02027), so packing changes no document's
loss. Two ways, and each needs three numbers to be taken up again exactly:

`Packer` lays items one after another in the order given. No row has padding, and documents are cut where a row happens
to end. `Dealt` shuffles its rows, `GROUP` at a time, or a long document would be several batches in a row: of 400 steps
of 4 rows of 256 tokens of Chinese documents, 531 tokens on average, the loss was 6.45 in order, 6.26 dealt (LOG.md).
`BestFit` cuts only what is longer than a row (Ding et al. 2024, arXiv:2404.10830, where models so trained read
better and made up less) and lets the pieces find the row that they fill best, among the items of a window: no token is
lost, and the state stays small, because the rows of a window follow from the order of the items alone. Of documents as
long as the web's (log-normal, median 400 tokens) rows of 1,024 cut 49 % where 20 % are longer than a row; best fit
pads 0.14 %. Where most documents are a little shorter than a row it pads more: 11 % in the worst case met (LOG.md).

Shapes: T is the length of a row.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from danlu.base.errors import UserError
from danlu.tokens.chat import Rendered
from danlu.tokens.shards import Shards

Array = npt.NDArray[Any]
Piece = tuple[int, int, int]  # an item's number, and from which of its tokens to which
NAMED_ITEMS = 4
GROUP = 256  # rows shuffled together: in memory at once, and made again when a run is taken up in their middle
WINDOW = 1024  # items fitted together: of rows of 1,024 then 0.14 % is padding; 0.49 % with 256, 0.04 % with 4,096


class Items(Protocol):
    """What can be packed: ids and target weights of equal length by number, and a hash of them all."""

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[Array, Array]: ...

    def lengths(self) -> Array:
        """Tokens of each item."""
        ...


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

    def lengths(self) -> Array:
        """Tokens of each document."""
        return np.diff(np.load(self.shards.path / "offsets.npy", mmap_mode="r"))

    def sources(self) -> tuple[list[str], Array]:
        """The names of the sources, and for each document which one it is from."""
        return self.shards.sources, np.load(self.shards.path / "sources.npy", mmap_mode="r")


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

    def lengths(self) -> Array:
        """Tokens of each conversation."""
        return np.asarray([len(ids) for ids, _ in self._items], np.int64)


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

    @property
    def progress(self) -> float:
        """How far it is, in epochs."""
        return self.epoch + self.position / len(self.items)

    def state(self) -> dict[str, int]:
        """Where the next row begins. Nothing is buffered between rows, so there is nothing else to hold."""
        return {"epoch": self.epoch, "position": self.position, "offset": self.offset}

    def load(self, state: dict[str, int]) -> None:
        """Go on from a `state`."""
        self.epoch, self.position, self.offset = state["epoch"], state["position"], state["offset"]

    def row(self) -> Row | None:
        """The next row, or None after the last epoch."""
        filled, epoch, pieces = 0, self.epoch, list[Piece]()
        while filled < self.length and (item := self._current()) is not None:
            size = len(self.items[item][0])
            begin, end = self.offset, min(size, self.offset + self.length - filled)
            if end < size and not self.split:
                break
            if end > begin:
                pieces.append((item, begin, end))
                filled += end - begin
            if end < size:
                self.offset = end - 1
            else:
                self.position, self.offset = self.position + 1, 0
        return laid(self.items, pieces, self.length, self.pad_id, epoch) if pieces else None

    def _current(self) -> int | None:
        """The number of the item at hand, an epoch further on where one has ended."""
        if self.position >= len(self.items):
            self.epoch, self.position, self.offset = self.epoch + 1, 0, 0
        if self.epochs is not None and self.epoch >= self.epochs:
            return None
        return int(self.order(self.epoch)[self.position])


class Dealt:
    """The rows of a packer, shuffled a group at a time; ``number`` says which of the group comes next.

    A group ends with its epoch, so that no item comes twice before all have come once; a row that holds the end of one
    and the beginning of the next stays between them. ``shuffle(epoch, position, count)`` is the order of the ``count``
    rows of the group that begins there.
    """

    def __init__(self, packer: Packer, shuffle: Callable[[int, int, int], Array]) -> None:
        self.packer, self.shuffle = packer, shuffle
        self.number, self._rows = 0, list[Row]()
        self._begin, self._from = packer.state(), packer.progress

    @property
    def progress(self) -> float:
        """How far it is, in epochs."""
        return self._from + (self.packer.progress - self._from) * self.number / max(len(self._rows), 1)

    def state(self) -> dict[str, int]:
        """Where the group begins and which row is next: the group is made again from the order."""
        return {**self._begin, "number": self.number}

    def load(self, state: dict[str, int]) -> None:
        """Go on from a `state`."""
        self.packer.load(state)
        self.number, self._rows = state["number"], []
        self._begin, self._from = self.packer.state(), self.packer.progress
        if self.number:
            self._deal()

    def row(self) -> Row:
        """The next row; there is no last one."""
        if self.number == len(self._rows):
            self.number, self._begin, self._from = 0, self.packer.state(), self.packer.progress
            self._deal()
        row = self._rows[self.number]
        self.number += 1
        return row

    def _deal(self) -> None:
        packer, rows, bridge = self.packer, list[Row](), list[Row]()
        # At an epoch's end the packer's own number of it goes up with the first row of the next.
        begin = packer.state() if packer.position < len(packer.items) else {"epoch": packer.epoch + 1, "position": 0}
        while len(rows) < GROUP and packer.progress < begin["epoch"] + 1 and (row := packer.row()) is not None:
            rows.append(row)
        if packer.epoch > begin["epoch"]:
            bridge.append(rows.pop())
        order = self.shuffle(begin["epoch"], begin["position"], len(rows))
        self._rows = [rows[int(i)] for i in order] + bridge


class BestFit:
    """Fills rows with the items of a window at a time; ``epoch, position, number`` say which row is next.

    ``position`` is the window's first item. With ``split`` an item longer than a row is cut into rows and a rest, each
    beginning with the last token before, as in `Packer`. The rows of a window are dealt in the order ``shuffle`` gives,
    or long items would always come first; a curriculum's order holds from window to window.
    """

    def __init__(
        self,
        items: Items,
        order: Callable[[int], Sequence[int] | Array],
        shuffle: Callable[[int, int, int], Array],
        *,
        length: int,
        pad_id: int,
        split: bool,
    ) -> None:
        """``shuffle(epoch, position, count)`` is the order of that window's ``count`` rows."""
        check_items(items, length, split)
        self.items, self.order, self.shuffle = items, order, shuffle
        self.length, self.pad_id = length, pad_id
        self.epoch = self.position = self.number = 0
        self._planned, self._rows = (-1, -1), list[list[Piece]]()

    @property
    def progress(self) -> float:
        """How far it is, in epochs."""
        rows = self._window() if self.number else []
        begun = min(WINDOW, len(self.items) - self.position) * self.number / max(len(rows), 1)
        return self.epoch + (self.position + begun) / len(self.items)

    def state(self) -> dict[str, int]:
        """Where the next row is: the window is made again from the order."""
        return {"epoch": self.epoch, "position": self.position, "number": self.number}

    def load(self, state: dict[str, int]) -> None:
        """Go on from a `state`."""
        self.epoch, self.position, self.number = state["epoch"], state["position"], state["number"]

    def row(self) -> Row:
        """The next row; there is no last one."""
        while not (rows := self._window()):  # every item of it is empty
            self._turn()
        epoch, pieces = self.epoch, rows[self.number]
        self.number += 1
        if self.number == len(rows):
            self._turn()
        return laid(self.items, pieces, self.length, self.pad_id, epoch)

    def _turn(self) -> None:
        self.position, self.number = self.position + WINDOW, 0
        if self.position >= len(self.items):
            self.epoch, self.position = self.epoch + 1, 0

    def _window(self) -> list[list[Piece]]:
        """The rows of the window at hand: a function of its place alone."""
        if self._planned != (self.epoch, self.position):
            pieces: list[Piece] = []
            for item in self.order(self.epoch)[self.position : self.position + WINDOW]:
                pieces += cut(int(item), len(self.items[int(item)][0]), self.length)
            rows = best_fit([end - begin for _, begin, end in pieces], self.length)
            dealt = self.shuffle(self.epoch, self.position, len(rows))
            self._rows = [[pieces[i] for i in rows[int(row)]] for row in dealt]
            self._planned = self.epoch, self.position
        return self._rows


def cut(item: int, size: int, length: int) -> list[Piece]:
    """An item of ``size`` tokens in pieces of at most ``length``: each but the first sees one token again."""
    begins = range(0, max(size - 1, min(size, 1)), length - 1)
    return [(item, begin, min(begin + length, size)) for begin in begins]


def best_fit(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of ``sizes`` in rows of at most ``room``: the largest first, each into the fullest row that it fits in.

    Never more than 11/9 of the fewest rows possible, and 4 (Johnson et al. 1974); of rows equally full, the latest.
    """
    rows: list[list[int]] = []
    free: dict[int, list[int]] = {}  # space left → rows with it
    spaces: list[int] = []  # the keys of free, in order
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        place = bisect_left(spaces, sizes[i])
        if place == len(spaces):
            row, left = len(rows), room - sizes[i]
            rows.append([])
        else:
            space = spaces[place]
            row, left = free[space].pop(), space - sizes[i]
            if not free[space]:
                del free[space], spaces[place]
        rows[row].append(i)
        if left:
            if left not in free:
                insort(spaces, left)
            free.setdefault(left, []).append(row)
    return rows


def laid(items: Items, pieces: Sequence[Piece], length: int, pad_id: int, epoch: int) -> Row:
    """A row of pieces one after another, each a segment."""
    row = Row(np.full(length, pad_id, np.int64), np.zeros(length, np.float32), np.full(length, -1, np.int32), "")
    filled, held = 0, list[str]()
    for segment, (item, begin, end) in enumerate(pieces):
        ids, mask = items[item]
        place = slice(filled, filled + end - begin)
        row.ids[place], row.mask[place], row.segments[place] = ids[begin:end], mask[begin:end], segment
        row.mask[filled] = 0  # nothing predicts the first token of a segment
        held.append(_name(item, begin, end, len(ids)))
        filled = place.stop
    more = f" and {len(held) - NAMED_ITEMS} more" if len(held) > NAMED_ITEMS else ""
    row.name = f"epoch {epoch}, items {', '.join(held[:NAMED_ITEMS])}{more}"
    return row


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
