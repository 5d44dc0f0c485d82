"""The best share of all documents by a number in their ``meta``: quality, bits per byte, toxicity, length.

Where to cut is only known when every document has been seen, so these are `CorpusStep`s. The cut is exact, not an
estimate: of ``n`` documents ``ceil(share * n)`` stay, and of those that are equal at the cut the first ones. It is
found by radix selection over the numbers on disk, a byte in each of eight passes; memory is 2 kB a group and what one
task wrote, however many documents there are. Documents without a number are dropped as ``no_score``.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError
from danlu.base.files import atomic, write_text
from danlu.text.corpus import Verdict
from danlu.text.document import Document, Dropped

Best = Literal["highest", "lowest"]
Within = Literal["all", "language", "source"]
MOST_GROUPS = 100_000  # 200 MB of counters
ROW = np.dtype([("rank", "<u8"), ("group", "<u4")])
Rows = NDArray[Any]


def score(document: Document, key: str) -> float | None:
    """The document's number, or None if it has none that can be compared."""
    found = document.meta.get(key)
    number = float(found) if isinstance(found, int | float) and not isinstance(found, bool) else math.nan
    return None if math.isnan(number) else number


def rank(number: float, best: Best) -> int:
    """A 64-bit number that is the smaller, the better ``number`` is (the order of IEEE 754 as integers)."""
    bits = int(np.float64(number + 0.0).view(np.uint64))  # + 0.0: minus zero is zero
    rising = bits ^ ((1 << 64) - 1) if bits >> 63 else bits | (1 << 63)
    return rising if best == "lowest" else rising ^ ((1 << 64) - 1)


def group(document: Document, within: Within) -> str:
    """Documents compete with those of the same group."""
    return "" if within == "all" else document.source if within == "source" else str(document.meta.get("language", ""))


@dataclass(frozen=True)
class Ranked(ABC):
    """What the two steps share: the number, which end of it is better, and who competes with whom."""

    key: str = "quality"
    """The number in meta to go by."""
    best: Best = "highest"
    """Which end of it is better."""
    within: Within = "all"
    """Who competes: all documents, those of one language, or those of one source."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        if not self.key:
            raise UserError("must not be empty", where="recipe: key")
        for name, choices in (("best", ("highest", "lowest")), ("within", ("all", "language", "source"))):
            if getattr(self, name) not in choices:
                raise UserError(f"must be one of {', '.join(choices)}", where=f"recipe: {name}")

    @abstractmethod
    def shares(self) -> tuple[float, ...]:
        """Where to cut, rising: the parts of the documents that are better than each cut."""

    @abstractmethod
    def verdict(self, document: Document, band: int) -> Document | Dropped:
        """What becomes of a document below ``band`` of the cuts."""

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write the rank and the group of each document that has a number."""
        names: dict[str, int] = {}
        rows = []
        for document in documents:
            number = score(document, self.key)
            if number is not None:
                rows.append((rank(number, self.best), names.setdefault(group(document, self.within), len(names))))
        with atomic(folder / f"{task:05d}.ranks", "wb") as handle:
            handle.write(np.array(rows, ROW).tobytes())
        write_text(folder / f"{task:05d}.groups.json", json.dumps(list(names), ensure_ascii=False))

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Find the cuts of each group and write, for each task, how many equal to a cut still are above it."""
        names: dict[str, int] = {}
        maps = []
        for task in range(tasks):
            local = json.loads((folder / f"{task:05d}.groups.json").read_text(encoding="utf-8"))
            maps.append(np.array([names.setdefault(name, len(names)) for name in local], np.int64))
        if len(names) > MOST_GROUPS:
            what = f"{len(names)} groups are more than the {MOST_GROUPS} that can be told apart"
            raise UserError(what, where="recipe: within", remedy="Use language, or all")
        if not names:
            what = f"not one document has a number under '{self.key}'"
            raise UserError(what, where="recipe: key", remedy="Put the step that writes it before this one")
        read = _Reader(folder, maps)
        sizes = read.sizes(len(names))
        chosen = []
        for share in self.shares():
            wanted = np.array([math.ceil(share * size - 1e-9) for size in sizes.tolist()])
            chosen.append((*_select(read, wanted), wanted))
        for task, mapped in enumerate(maps):
            write_text(folder / f"{task:05d}.cuts.json", json.dumps(_cuts(read, task, mapped, names, chosen)))
        return {
            "scored": int(sizes.sum()),
            "above": {name: [int(wanted[i]) for *_, wanted in chosen] for name, i in list(names.items())[:100]},
        }

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """Each document with its verdict."""
        cuts = json.loads((folder / f"{task:05d}.cuts.json").read_text(encoding="utf-8"))
        for document in documents:
            number = score(document, self.key)
            if number is None:
                yield document, Dropped("no_score")
                continue
            own, band = rank(number, self.best), 0
            for cut in cuts[group(document, self.within)]:
                equal = own == cut["rank"]
                cut["left"] -= equal
                band += own > cut["rank"] or (equal and cut["left"] < 0)
            yield document, self.verdict(document, band)


class _Reader:
    """The ranks that the tasks wrote, with groups numbered for all tasks together."""

    def __init__(self, folder: Path, maps: list[NDArray[np.int64]]) -> None:
        self.folder, self.maps = folder, maps

    def task(self, number: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        rows: Rows = np.fromfile(self.folder / f"{number:05d}.ranks", ROW)
        return rows["rank"], self.maps[number][rows["group"]] if len(rows) else np.zeros(0, np.int64)

    def sizes(self, groups: int) -> NDArray[np.int64]:
        return sum(
            (np.bincount(self.task(t)[1], minlength=groups) for t in range(len(self.maps))), np.zeros(groups, int)
        )


def _select(read: _Reader, wanted: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Of each group the ``wanted``-th smallest rank, and how many of those equal to it are still among them."""
    prefix, left = np.zeros(len(wanted), np.uint64), wanted.copy()
    for shift in range(56, -8, -8):
        counts = np.zeros((len(wanted), 256), np.int64)
        for task in range(len(read.maps)):
            ranks, groups = read.task(task)
            if shift < 56:
                inside = ranks >> np.uint64(shift + 8) == prefix[groups]
                ranks, groups = ranks[inside], groups[inside]
            digit = (ranks >> np.uint64(shift)).astype(np.int64) & 255
            counts += np.bincount(groups * 256 + digit, minlength=counts.size).reshape(counts.shape)
        below = np.cumsum(counts, axis=1)
        digit = np.minimum((below < left[:, None]).sum(axis=1), 255)
        left -= np.where(digit > 0, below[np.arange(len(wanted)), digit - 1], 0)
        prefix = prefix << np.uint64(8) | digit.astype(np.uint64)
    return prefix, left


def _cuts(
    read: _Reader,
    task: int,
    mapped: NDArray[np.int64],
    names: dict[str, int],
    chosen: list[tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]],
) -> dict[str, list[dict[str, int]]]:
    """The cuts of the groups in one task. Those equal to a cut are used up task by task."""
    ranks, groups = read.task(task)
    spelled = list(names)
    found: dict[str, list[dict[str, int]]] = {spelled[i]: [] for i in mapped.tolist()}
    for cut, left, _ in chosen:
        equal = np.bincount(groups[ranks == cut[groups]], minlength=len(left))
        for i in mapped.tolist():
            found[spelled[i]].append({"rank": int(cut[i]), "left": int(max(min(left[i], equal[i]), 0))})
        left -= equal
    return found


@dataclass(frozen=True)
class TopShare(Ranked):
    """Keep the best share of the documents."""

    share: float = 0.1
    """The part of the documents that stays."""
    skip: float = 0.0
    """The part at the very top that goes, before the share is counted: what is too good to be true."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise UserError(f"must be above 0 and at most 1, found {self.share}", where="recipe: share")
        if self.skip < 0 or self.skip + self.share > 1 + 1e-9:  # 0.9 + 0.1 may be a little more than 1
            raise UserError(f"must be at least 0 and leave room for the share, found {self.skip}", where="recipe: skip")

    def shares(self) -> tuple[float, ...]:
        """Above what is skipped, and below what is kept."""
        return (self.skip, self.skip + self.share)

    def verdict(self, document: Document, band: int) -> Document | Dropped:
        """The document, ``below_top_share`` or ``above_top_share``."""
        return document if band == 1 else Dropped("below_top_share" if band == 2 else "above_top_share")


@dataclass(frozen=True)
class Bands(Ranked):
    """Sort the documents into equal bands, as CCNet does by perplexity, and keep some of them."""

    key: str = "bits_per_byte"
    """The number in meta to go by."""
    best: Best = "lowest"
    """Which end of it is better."""
    names: tuple[str, ...] = ("head", "middle", "tail")
    """The bands, the best one first; each gets the same number of documents, and its name under 'band' in meta."""
    keep: tuple[str, ...] = ("head", "middle", "tail")
    """The bands that stay."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        super().__post_init__()
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise UserError("needs at least two different names", where="recipe: names")
        if not self.keep or not set(self.keep) <= set(self.names):
            raise UserError(f"must be some of {', '.join(self.names)}", where="recipe: keep")

    def shares(self) -> tuple[float, ...]:
        """The borders between the bands."""
        return tuple(i / len(self.names) for i in range(1, len(self.names)))

    def verdict(self, document: Document, band: int) -> Document | Dropped:
        """The document with its band, or ``low_band``."""
        name = self.names[band]
        return (
            replace(document, meta={**document.meta, "band": name}) if name in self.keep else Dropped("low_band", name)
        )
