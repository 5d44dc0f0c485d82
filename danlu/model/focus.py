"""FOCUS (Dobler and de Melo 2023, arXiv:2305.14481): a new row is a sparse mixture of the old rows most like it.

Which are like it, vectors say that are trained on the new corpus as the new tokenizer writes it, so that old and new
pieces stand in one space. The weights of a new piece are the sparsemax (Martins and Astudillo 2016, arXiv:1602.02068)
of its cosines to the old pieces that the corpus holds; old rows stay. As in the paper, a new piece without a vector
is drawn from a normal distribution around the old rows; here that is their mean, which needs no seed to be good.

Deviation: the vectors are not fastText's. Skip-gram with negative sampling factorises a shifted matrix of pointwise
mutual information (Levy and Goldberg 2014), and here that matrix is factorised itself: positive PMI with smoothed
contexts (power 0.75) and singular values to the power of a half, which Levy, Goldberg and Dagan (2015) found as good.
It needs no other library and gives the same vectors every time; what it lacks are fastText's character n-grams.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.base.seed import derive

WINDOW = 5  # neighbours on each side, fastText's default
LEAST = 10  # a piece seen less often has no vector, the paper's setting
WIDTH = 300  # of the vectors, the paper's setting
SMOOTHING = 0.75
CHUNK = 256  # new pieces at a time

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Vectors(NamedTuple):
    """``ids`` [n] of the pieces that have a vector, in order, and the vectors [n, W] of length one."""

    ids: Ids
    values: Floats


def vectors(documents: Sequence[NDArray[np.int32]], *, seed: int, width: int = WIDTH, least: int = LEAST) -> Vectors:
    """Train on documents of ids. Pieces rarer than ``least`` are skipped as if they were not there."""
    flat = np.concatenate([*documents, np.zeros(0, np.int32)]).astype(np.int64)
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    ids, index, counts = np.unique(flat, return_inverse=True, return_counts=True)
    common = counts >= least
    place = np.cumsum(common) - 1
    kept = common[index]
    flat, owner, ids = place[index][kept], owner[kept], ids[common]
    if len(ids) < 2:
        return Vectors(ids, np.zeros((len(ids), 0), np.float32))
    rows, columns, together = _together(flat, owner, len(ids))
    found = _factors(rows, columns, _ppmi(rows, columns, together, len(ids)), len(ids), width, seed)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    seen = length[:, 0] > 1e-6 * max(float(length.max(initial=0.0)), 1e-30)
    return Vectors(ids[seen], (found / np.maximum(length, 1e-30))[seen].astype(np.float32))


def _together(flat: Ids, owner: Ids, size: int) -> tuple[Ids, Ids, NDArray[np.float64]]:
    """How often two pieces stand within the window: (row, column, times), both ways round."""
    pairs, times = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for apart in range(1, WINDOW + 1):
        same = owner[apart:] == owner[:-apart]
        keys, found = np.unique(flat[:-apart][same] * size + flat[apart:][same], return_counts=True)
        merged, place = np.unique(np.concatenate((pairs, keys)), return_inverse=True)
        times = np.bincount(place, np.concatenate((times, found)), len(merged)).astype(np.int64)
        pairs = merged
    row, column = np.divmod(pairs, size)
    both, place = np.unique(np.concatenate((pairs, column * size + row)), return_inverse=True)
    total = np.bincount(place, np.concatenate((times, times)).astype(np.float64), len(both))
    return both // size, both % size, np.asarray(total, np.float64)


def _ppmi(rows: Ids, columns: Ids, together: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """max(0, log of how much more often than by chance)."""
    times = np.bincount(rows, together, size)
    context = times**SMOOTHING
    chance = times[rows] * context[columns] / max(context.sum(), 1e-30)
    return np.maximum(np.log(together / chance), 0.0)


def _factors(rows: Ids, columns: Ids, values: NDArray[np.float64], size: int, width: int, seed: int) -> Floats:
    """The first left singular vectors times the roots of their values, by random projection (Halko et al. 2011)."""
    kept = values > 0
    where = torch.from_numpy(np.stack((rows[kept], columns[kept])))
    cells = torch.from_numpy(values[kept].astype(np.float32))
    matrix = torch.sparse_coo_tensor(where, cells, (size, size), check_invariants=False).coalesce()
    width = min(width, size)
    draw = torch.Generator().manual_seed(derive(seed, "focus"))
    basis = torch.randn(size, min(width + 10, size), generator=draw)
    turned = matrix.t().coalesce()
    for _ in range(3):  # of the power iteration: each one sharpens the gap between what is kept and what is not
        basis, _ = torch.linalg.qr(torch.sparse.mm(matrix, basis))
        basis, _ = torch.linalg.qr(torch.sparse.mm(turned, basis))
    left, singular, _ = torch.linalg.svd(torch.sparse.mm(matrix, basis), full_matrices=False)
    return np.asarray((left[:, :width] * singular[:width].sqrt()).numpy(), np.float32)


def sparsemax(scores: Floats) -> Floats:
    """[n, m] → the nearest point of the simplex, by row: most weights are exactly 0."""
    ordered = -np.sort(-scores.astype(np.float64), axis=1)
    sums = np.cumsum(ordered, axis=1)
    steps = np.arange(1, scores.shape[1] + 1)
    inside = 1 + steps * ordered > sums
    size = inside.sum(axis=1)
    threshold = (sums[np.arange(len(sums)), size - 1] - 1) / size
    return np.maximum(scores - threshold[:, None], 0).astype(np.float32)


def weights(found: Vectors, new: Sequence[int], old: int) -> list[tuple[Ids, Floats]]:
    """For each new id: old ids (below ``old``) and their weights; none for one without a vector."""
    known = found.ids < old
    anchors, table = found.ids[known], found.values[known]
    place = {int(i): row for row, i in enumerate(found.ids)}
    result: list[tuple[Ids, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(new)
    having = [(index, place[i]) for index, i in enumerate(new) if i in place and len(anchors)]
    for start in range(0, len(having), CHUNK):
        part = having[start : start + CHUNK]
        shares = sparsemax(found.values[[row for _, row in part]] @ table.T)
        for (index, _), share in zip(part, shares, strict=True):
            chosen = np.flatnonzero(share)
            result[index] = (anchors[chosen], share[chosen])
    return result
