"""Exact repeated passages across the corpus: cut from every place but the first, whole sentences only.

Lee et al. 2022 (arXiv:2107.06499) find them with a suffix array, which wants the corpus in memory several times over;
`passages` finds the same ones through files. Cuts follow sentences because cuts anywhere else leave halves of words
and, made in bytes, of characters, as users of other tools found. A sentence goes if it lies in one repeated passage
wholly, so it still stands where the passage stood first; a document that is left with too little goes whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import require
from danlu.text.corpus import Verdict
from danlu.text.dedup.columns import Columns, Shelf, batches, place, prefix, prefixes, workplace
from danlu.text.dedup.passages import CUT, anchors, repeats
from danlu.text.dedup.sentences import sentences
from danlu.text.dedup.spill import write_by_task
from danlu.text.document import Document, Dropped, changed


@dataclass(frozen=True)
class Substring:
    """Cut passages that stand word for word in an earlier place of the corpus."""

    length: int = 200
    """Characters of the shortest passage that counts as a repeat."""
    left: int = 100
    """Characters that a document must have left after a cut; with fewer it is dropped."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("length", 10 <= self.length <= 10_000, "must be between 10 and 10000"),
            ("left", self.left >= 1, "must be at least 1"),
        )

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write anchors, texts and ids."""
        with Columns(prefix(folder, task)) as columns:
            for batch in batches(documents):
                texts = [document.text for document in batch]
                columns.add_ragged("anchors", *anchors(texts, self.length))
                columns.add_texts("texts", texts)
                columns.add_texts("ids", [document.id for document in batch])

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Find the repeated passages of every document and write them for each task."""
        with Shelf(prefixes(folder, tasks)) as shelf, workplace(folder) as work:
            facts = {"documents": shelf.size, "repeated_passages": 0, "repeated_characters": 0}
            lots = _counted(repeats(shelf, work, self.length), facts, self.length)
            write_by_task(folder, "cuts", shelf.bases, lots, CUT)
        return facts

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """The documents with repeated sentences cut (counted as ``repeated_sentence``), or ``left_too_short``."""
        cuts = np.fromfile(place(prefix(folder, task), "cuts"), CUT)
        edges = np.searchsorted(cuts["row"], np.arange(int(cuts["row"].max(initial=0)) + 2))
        for row, document in enumerate(documents):
            here = cuts[edges[row] : edges[row + 1]] if row + 1 < len(edges) else cuts[:0]
            yield document, self._cut(document, here) if len(here) else document

    def _cut(self, document: Document, cuts: NDArray[Any]) -> Document | Dropped:
        text, parts, kept = document.text, sentences(document.text), list[str]()
        begin, end = cuts["at"], cuts["at"].astype(np.int64) + cuts["count"] + self.length - 1
        for start, stop in parts:
            part = text[start:stop]
            first, last = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
            passage = (
                int(np.searchsorted(begin, first, "right")) - 1
            )  # of those it could be in, the one that goes on longest
            if first >= last or passage < 0 or last > end[passage]:
                kept.append(part)
        if len(kept) == len(parts):
            return document
        left = "".join(kept).strip()
        if len(left) < self.left:
            return Dropped("left_too_short")
        return changed(document, left, {"repeated_sentence": len(parts) - len(kept)})


def _counted(lots: Iterable[NDArray[Any]], facts: dict[str, int], length: int) -> Iterator[NDArray[Any]]:
    for lot in lots:
        begin = lot["row"].astype(np.int64) << 32 | lot["at"]
        end = begin + lot["count"] + length - 1
        end[:-1] = np.minimum(end[:-1], begin[1:])  # passages may overlap
        facts["repeated_passages"] += len(lot)
        facts["repeated_characters"] += int((end - begin).sum())
        yield lot
