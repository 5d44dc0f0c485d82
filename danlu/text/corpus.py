"""A step that must see every document before it judges one: deduplication, keeping the best tenth.

It works in three acts, because the documents lie in tasks that many workers, or many machines, take in any order:
each task is looked at, then one process decides, then each task is cut to what was decided. Only files pass between
the acts, so a run that stops goes on, and no act holds the texts of the whole set in memory.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from danlu.text.document import Document, Dropped

Verdict = tuple[Document, Document | Dropped]  # a document as it came, and what became of it


@runtime_checkable
class CorpusStep(Protocol):
    """What it decides depends on the order of the documents (task, then row) and never on who worked on them."""

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write to ``folder``, in files named by ``task``, what is needed of these documents; each file whole."""
        ...

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Read what ``tasks`` looks wrote and write a decision for each; returns facts for the report."""
        ...

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """The documents of one task, as ``look`` saw them and in that order, each with its verdict."""
        ...
