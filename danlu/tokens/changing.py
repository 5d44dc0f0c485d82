"""Texts slightly changed, for objectives that compare what is said of both.

Some tokens are dropped and others replaced by tokens drawn as often as they occur (the word replacement of UDA: Xie et
al. 2020, arXiv:1904.12848, without its TF-IDF). What is drawn depends on the seed and the row's number alone, as masks
do, so a cut batch or a stopped run changes nothing. Left out: back-translation, which needs a translator.
"""

from typing import Any

import numpy as np

from danlu.base.seed import generator
from danlu.tokens.batches import Batch
from danlu.tokens.examples import padded

CHANGED, CHANGED_SEGMENTS = "changed", "changed_segments"  # among a batch's extra tensors, [B, T]


class Changer:
    """Changes rows of batches. ``kept`` are ids that stay where they are; ``weights`` say how often each id occurs."""

    def __init__(self, counts: dict[int, int], kept: set[int], *, share: float, pad_id: int, seed: int) -> None:
        ids = sorted(set(counts) - kept)
        self._ids = np.asarray(ids, np.int64)
        self._sums = np.cumsum(np.asarray([counts[i] for i in ids], np.float64))
        self._kept, self._share, self._pad_id, self._seed = np.asarray(sorted(kept), np.int64), share, pad_id, seed

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be taken up."""
        return {"share": self._share, "seed": self._seed, "ids": len(self._ids)}

    def __call__(self, batch: Batch, row: int) -> Batch:
        """``batch`` with a changed copy of each row beside it; its first row is number ``row``."""
        rows = []
        for i in range(len(batch)):
            ids = batch.ids[i][batch.segments[i] >= 0].numpy()
            draw = generator(self._seed, "change", row + i)
            fate = np.where(np.isin(ids, self._kept), 1.0, draw.random(len(ids)))
            other = self._ids[np.searchsorted(self._sums, draw.random(len(ids)) * self._sums[-1], side="right")]
            changed = np.where(fate < self._share, other, ids)
            left = changed[fate >= self._share / 2]
            rows.append((left if len(left) else ids).tolist())
        made, segments = padded(rows, self._pad_id)
        extra = {**batch.extra, CHANGED: made, CHANGED_SEGMENTS: segments}
        return Batch(batch.ids, batch.mask, batch.segments, extra, batch.names)
