"""Exact deduplication: of texts that differ only in case and white space, the first one stays.

`Exact` sees a whole corpus through files: 16 bytes a document are grouped on disk, so memory does not depend on how
many there are. A collision of 128-bit hashes is expected after 2^64 documents.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from danlu.text.corpus import Verdict
from danlu.text.dedup.clusters import Clusters, apply_verdicts, write_verdicts
from danlu.text.dedup.columns import Columns, Shelf, batches, prefix, prefixes, workplace
from danlu.text.dedup.index import Index, Kept, matches, read_at, run_key
from danlu.text.dedup.spill import Spill
from danlu.text.document import Document, fingerprint

RECORD = np.dtype([("key", "<u8"), ("low", "<u8"), ("doc", "<u4")])


@dataclass(frozen=True)
class Exact:
    """Drop documents that an earlier one equals, case and white space aside."""

    index: Path | None = None
    """A folder with what earlier runs kept: judge against it, then add what this run keeps."""

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write fingerprints and ids."""
        with Columns(prefix(folder, task)) as columns:
            for batch in batches(documents):
                hashes = b"".join(fingerprint(document.text) for document in batch)
                columns.add("fingerprints", np.frombuffer(hashes, "<u8"))
                columns.add_texts("ids", [document.id for document in batch])

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Find the copies, write each task's verdicts, and add what stays to the index."""
        index = Index(self.index, {"kind": "exact"}) if self.index else None
        with Shelf(prefixes(folder, tasks)) as own, workplace(folder) as work:
            key = run_key(own, "fingerprints", "<u8", 2) if index else ""
            with Shelf([*(index.before(key) if index else ()), *own.parts]) as shelf:
                begin = shelf.size - own.size
                spill = Spill(work / "fingerprints", RECORD, own.size)
                for first, halves in own.blocks("fingerprints", "<u8", 2):
                    numbers = np.arange(first, first + len(halves)) + begin
                    spill.add(np.rec.fromarrays([halves[:, 0], halves[:, 1], numbers], dtype=RECORD))
                with Clusters(work / "parents", shelf.size) as clusters:
                    for bucket in spill.buckets():
                        _meet_index(bucket, shelf, len(shelf.parts) - tasks, clusters)
                        clusters.link(bucket, 1, lambda a, b: a["low"] == b["low"])
                    facts = write_verdicts(folder, work, tasks, shelf, clusters, "duplicate")
                    if index and own.size:
                        index.add(key, lambda part: _write_segment(part, Kept(own, clusters, begin), spill))
        return facts

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """``duplicate`` or ``duplicate_of_index``, with the id of the document that stays."""
        return apply_verdicts(documents, folder, task)


def _meet_index(bucket: np.ndarray[Any, Any], shelf: Shelf, segments: int, clusters: Clusters) -> None:
    """Join the bucket's documents with their copies in the index."""
    if not segments:
        return
    ordered = bucket[np.argsort(bucket["key"], kind="stable")]
    keys = np.ascontiguousarray(ordered["key"])
    for part, base in zip(shelf.parts[:segments], shelf.bases, strict=False):
        for new, places in matches(part, "key", keys, 1):
            same = read_at(part, "low", "<u8", places) == ordered["low"][new]
            old = read_at(part, "doc", "<u4", places)[same].astype(np.int64) + base
            clusters.join(old, ordered["doc"][new][same].astype(np.int64))


def _write_segment(part: Path, kept: Kept, spill: Spill) -> None:
    with Columns(part) as columns:
        kept.copy_sorted(columns, spill, ("key", "low", "doc"))
        kept.copy_ragged(columns, "ids", np.uint8)
