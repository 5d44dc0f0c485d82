"""Near-duplicates by MinHash: candidates that share a band, verified by true Jaccard, joined by union-find.

Broder 1997 for the signatures, Leskovec et al., *Mining of Massive Datasets*, chapter 3 for the bands. Looking at a
task leaves three columns: the band keys, the sets of shingles and the ids. Deciding groups all band keys on disk,
compares each pair that meets, and joins those that are alike; only the keys of a bucket, the sets of a slice of pairs
and the tree of clusters (four bytes a document that has a partner) are in memory.

Every pair that is joined has been verified, so nothing goes without a chain of documents at least ``threshold`` alike
to the one that stays. What is missed is known: `catch_probability`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from danlu.base.errors import require
from danlu.text.corpus import Verdict
from danlu.text.dedup.clusters import Clusters, apply_verdicts, write_verdicts
from danlu.text.dedup.columns import Columns, Shelf, batches, prefix, prefixes, workplace
from danlu.text.dedup.index import Index, Kept, matches, read_at, run_key
from danlu.text.dedup.jaccard import Jaccard
from danlu.text.dedup.lsh import band_keys, bands_and_rows, catch_probability, signatures
from danlu.text.dedup.shingles import distinct, shingles
from danlu.text.dedup.spill import Spill
from danlu.text.document import Document

RECORD = np.dtype([("key", "<u8"), ("doc", "<u4")])
SHOWN = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # similarities whose probability the report states


@dataclass(frozen=True)
class MinHash:
    """Drop documents whose shingles are nearly those of an earlier one."""

    threshold: float = 0.8
    """Jaccard similarity of the shingle sets from which two documents count as near-duplicates."""
    shingle: int = 5
    """Tokens in a shingle: words, or characters where a script puts no spaces between words."""
    permutations: int = 128
    """Length of a signature; more of them catch the same pairs with fewer needless comparisons."""
    catch: float = 0.99
    """Least probability with which a pair at the threshold has to be found; bands and rows follow from it."""
    bands: int = 0
    """Bands of the signature; 0 derives bands and rows."""
    rows: int = 0
    """Values in a band; 0 derives bands and rows."""
    window: int = 64
    """In a crowd that shares a band, how many places apart two documents may stand and still be compared."""
    index: Path | None = None
    """A folder with what earlier runs kept: judge against it, then add what this run keeps."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("threshold", 0 < self.threshold <= 1, "must be above 0 and at most 1"),
            ("shingle", 1 <= self.shingle <= 100, "must be between 1 and 100"),
            ("permutations", 1 <= self.permutations <= 4096, "must be between 1 and 4096"),
            ("catch", 0 < self.catch < 1, "must be between 0 and 1"),
            ("bands", 0 <= self.bands <= 4096, "must be between 0 and 4096"),
            ("rows", 0 <= self.rows <= 4096, "must be between 0 and 4096"),
            ("rows", (self.rows == 0) == (self.bands == 0), "must be given together with bands, or both be 0"),
            ("window", self.window >= 1, "must be at least 1"),
        )
        self.shape()

    def shape(self) -> tuple[int, int]:
        """Bands and rows: those given, or those derived from ``threshold``, ``permutations`` and ``catch``."""
        return (self.bands, self.rows) if self.bands else bands_and_rows(self.threshold, self.permutations, self.catch)

    def catches(self) -> dict[str, float]:
        """Similarity → the probability that a pair is compared, the threshold among them; for people to read."""
        similarities = sorted({*SHOWN, self.threshold})
        return {f"{s:g}": round(catch_probability(s, *self.shape()), 4) for s in similarities}

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Write band keys, shingle sets and ids."""
        bands, rows = self.shape()
        with Columns(prefix(folder, task)) as columns:
            for batch in batches(documents):
                sets, ends = distinct(*shingles([document.text for document in batch], self.shingle))
                columns.add("bands", band_keys(signatures(sets, ends, bands * rows), bands, rows))
                columns.add_ragged("sets", sets, ends)
                columns.add_texts("ids", [document.id for document in batch])

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Find the clusters, write each task's verdicts, and add what stays to the index."""
        bands, rows = self.shape()
        index = self._open_index()
        with Shelf(prefixes(folder, tasks)) as own, workplace(folder) as work:
            key = run_key(own, "bands", "<u8", bands) if index else ""
            with Shelf([*(index.before(key) if index else ()), *own.parts]) as shelf:
                begin, judge, crowded = shelf.size - own.size, Jaccard(shelf, self.threshold), 0
                spill = _spilled(own, bands, begin, work / "bands")
                with Clusters(work / "parents", shelf.size) as clusters:
                    for bucket in spill.buckets():
                        self._meet_index(bucket, shelf, len(shelf.parts) - tasks, clusters, judge)
                        crowded += clusters.link(bucket, self.window, lambda a, b: judge(a["doc"], b["doc"]))
                    facts = write_verdicts(folder, work, tasks, shelf, clusters, "near_duplicate")
                    if index and own.size:
                        index.add(key, lambda part: _write_segment(part, Kept(own, clusters, begin), spill))
        return facts | {
            "bands": bands,
            "rows": rows,
            "catch_probability": self.catches(),
            "pairs_compared": judge.compared,
            "pairs_unlike": judge.unlike,
            "crowded": crowded,
        }

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """``near_duplicate`` or ``near_duplicate_of_index``, with the id of the document that stays."""
        return apply_verdicts(documents, folder, task)

    def _open_index(self) -> Index | None:
        if self.index is None:
            return None
        bands, rows = self.shape()
        return Index(self.index, {"kind": "minhash", "shingle": self.shingle, "bands": bands, "rows": rows})

    def _meet_index(
        self, bucket: np.ndarray[Any, Any], shelf: Shelf, segments: int, clusters: Clusters, judge: Jaccard
    ) -> None:
        """Join the bucket's documents with those of the index that share a band and are alike."""
        if not segments:
            return
        ordered = bucket[np.argsort(bucket["key"], kind="stable")]
        keys = np.ascontiguousarray(ordered["key"])
        for part, base in zip(shelf.parts[:segments], shelf.bases, strict=False):
            for new, places in matches(part, "key", keys, self.window):
                old = read_at(part, "doc", "<u4", places).astype(np.int64) + base
                fresh = ordered["doc"][new].astype(np.int64)
                settled = clusters.roots(fresh) == clusters.roots(old)
                old, fresh = old[~settled], fresh[~settled]
                alike = judge(old, fresh)
                clusters.join(old[alike], fresh[alike])


def _spilled(own: Shelf, bands: int, begin: int, folder: Path) -> Spill:
    """Every band key of every document, the documents numbered from ``begin``."""
    spill = Spill(folder, RECORD, own.size * bands)
    for first, keys in own.blocks("bands", "<u8", bands):
        records = np.empty(keys.size, RECORD)
        records["key"] = keys.ravel()
        records["doc"] = np.repeat(np.arange(first, first + len(keys)) + begin, bands)
        spill.add(records[records["key"] != 0])
    return spill


def _write_segment(part: Path, kept: Kept, spill: Spill) -> None:
    with Columns(part) as columns:
        kept.copy_sorted(columns, spill, ("key", "doc"))
        kept.copy_ragged(columns, "sets", "<u4")
        kept.copy_ragged(columns, "ids", np.uint8)
