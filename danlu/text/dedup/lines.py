"""Lines or paragraphs that stand in many documents: menus, notices, signatures.

CCNet (Wenzek et al. 2020) drops paragraphs that were seen before; here a line counts as boilerplate only when more
than a number of documents have it (a line twice in one document counts once), because lines of two documents are often
a quotation. Lines are compared by 64 bits of a hash of their text, case and white space aside.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import require
from danlu.text.corpus import Verdict
from danlu.text.dedup.columns import Columns, Shelf, batches, place, prefix, prefixes, workplace
from danlu.text.dedup.spill import ByDocument, Spill, repeated, starts, write_by_task
from danlu.text.document import Document, Dropped, changed

Unit = Literal["line", "paragraph"]
Keep = Literal["first", "none"]
SEEN = np.dtype([("key", "<u8"), ("doc", "<u4")])
FOUND = np.dtype([("key", "<u8"), ("doc", "<u4"), ("line", "<u8")])
CUT = np.dtype([("row", "<u4"), ("line", "<u8")])
_BETWEEN = {"line": re.compile(r"(\n)"), "paragraph": re.compile(r"(\n[^\S\n]*+\n\s*+)")}


@dataclass(frozen=True)
class Lines:
    """Cut lines or paragraphs that stand in many documents."""

    unit: Unit = "line"
    """What is compared: a line, or a paragraph (lines up to an empty one)."""
    more_than: int = 5
    """How many documents may have a line before it counts as boilerplate."""
    keep: Keep = "first"
    """Whether the first document keeps it, or none."""
    least: int = 20
    """Characters of the shortest line that is compared; shorter ones ("Yes.", "---") stay."""
    left: int = 100
    """Characters that a document must have left after a cut; with fewer it is dropped."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("unit", self.unit in get_args(Unit), "must be line or paragraph"),
            ("more_than", 1 <= self.more_than <= 100_000, "must be between 1 and 100000"),
            ("keep", self.keep in get_args(Keep), "must be first or none"),
            ("least", self.least >= 1, "must be at least 1"),
            ("left", self.left >= 1, "must be at least 1"),
        )

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write the hashes of each document's lines, and ids."""
        with Columns(prefix(folder, task)) as columns:
            for batch in batches(documents):
                rows = [sorted(set(self._hashes(self._units(document.text))) - {0}) for document in batch]
                ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
                columns.add_ragged("lines", np.array([key for row in rows for key in row], "<u8"), ends)
                columns.add_texts("ids", [document.id for document in batch])

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Find the lines of many documents and write for each task which of its documents lose which."""
        with Shelf(prefixes(folder, tasks)) as shelf, workplace(folder) as work:
            facts = {"documents": shelf.size, "boilerplate": 0, "cut": 0}
            total = sum(len(keys) for _, keys, _ in shelf.ragged_blocks("lines", "<u8"))
            spill = Spill(work / "lines", SEEN, total)
            for first, keys, ends in shelf.ragged_blocks("lines", "<u8"):
                records = np.empty(len(keys), SEEN)
                records["key"] = keys
                records["doc"] = np.repeat(np.arange(first, first + len(ends)), np.diff(ends, prepend=0))
                spill.add(records)
            found = ByDocument(work / "found", FOUND, shelf.size, total // 4)
            for bucket in spill.buckets():
                self._find(repeated(bucket), found, facts)
            lots = (np.rec.fromarrays([lot["doc"], lot["line"]], dtype=CUT) for lot in found.lots())
            write_by_task(folder, "cuts", shelf.bases, lots, CUT)
        return facts

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """The documents without these lines (counted as ``repeated_line``), or ``left_too_short``."""
        cuts = np.fromfile(place(prefix(folder, task), "cuts"), CUT)
        edges = np.searchsorted(cuts["row"], np.arange(int(cuts["row"].max(initial=0)) + 2))
        for row, document in enumerate(documents):
            here = cuts["line"][edges[row] : edges[row + 1]].tolist() if row + 1 < len(edges) else ()
            yield document, self._cut(document, set(here)) if here else document

    def _units(self, text: str) -> list[str]:
        """The units, each with the line ends after it: joined they are the text."""
        parts = [*_BETWEEN[self.unit].split(text), ""]
        return [unit + end for unit, end in zip(parts[::2], parts[1::2], strict=True)]

    def _hashes(self, units: list[str]) -> Iterator[int]:
        """A hash of each unit; 0 of one that is not compared."""
        for unit in units:
            words = " ".join(unit.casefold().split())
            digest = blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            yield int.from_bytes(digest, "little") if len(words) >= self.least else 0

    def _find(self, rows: NDArray[Any], found: ByDocument, facts: dict[str, int]) -> None:
        begin = starts(rows["key"])
        sizes = np.diff(np.append(begin, len(rows)))
        many = np.repeat(sizes > self.more_than, sizes)
        facts["boilerplate"] += int((sizes > self.more_than).sum())
        if self.keep == "first":
            many[begin] = False
        chosen = np.empty(int(many.sum()), FOUND)
        chosen["doc"], chosen["line"] = rows["doc"][many], rows["key"][many]
        facts["cut"] += len(chosen)
        found.add(chosen)

    def _cut(self, document: Document, lines: set[int]) -> Document | Dropped:
        units, kept, lost, gap = self._units(document.text), list[str](), 0, False
        for unit, key in zip(units, self._hashes(units), strict=True):
            if key in lines:
                lost, gap = lost + 1, True
            elif unit.strip() or not gap or (kept and kept[-1].strip()):  # a hole leaves one empty line, not two
                kept.append(unit)
                gap = gap and not unit.strip()
        left = "".join(kept).strip()
        if len(left) < self.left:
            return Dropped("left_too_short")
        return changed(document, left, {f"repeated_{self.unit}": lost})
