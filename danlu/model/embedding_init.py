"""First values for the rows of new pieces, six ways. Old rows are never touched.

- ``mean``: every new row is the mean of the old rows. Hewitt (2021, "Initializing New Word Embeddings for Pretrained
  Language Models") shows why: it bounds how far the old predictions move. transformers' ``mean_resizing`` is the same
  in effect, since it draws with the covariance times 1e-9 (modeling_utils.py, 5.23).
- ``covariance``: drawn from the normal distribution with the mean and the covariance of the old rows (Hewitt again,
  there as the start of the argument), unscaled.
- ``noise``: the mean, and normal noise of `NOISE` times the standard deviation of each column: rows that are not all
  the same, and nearly so. LLaMA-Factory's 1/√D knows the width alone: on SmolLM2 it is 0.42 of that deviation.
- ``random``: normal with the deviation that the model began with (``initializer_range``): the baseline to beat.
- ``subword``: the mean of the rows of the old pieces by which the piece was written before, byte for byte.
- ``focus``: a weighted mean of old rows, the weights from vectors trained on the new corpus; see `danlu.model.focus`.

The output table, where it is not the input's, is treated in the same way from its own rows. Rows are not stretched to
the length of old ones, though a mean of several is shorter (on SmolLM2 2.2 against 3.2): what is lost is what the
parts do not share, and a longer row of a tied table speaks louder in every prediction, old text's too.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a recipe names the six without torch
    from danlu.model.grow import Rows, Table

Init = Literal["mean", "subword", "covariance", "noise", "random", "focus"]
INITS: tuple[Init, ...] = get_args(Init)
NOISE = 0.1
Weights = Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]  # for each new piece: old ids, and their weights


class Moments(NamedTuple):
    """Of the old rows: mean [D] and covariance [D, D], in float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def moments(table: "Table") -> Moments:
    """In two passes over the rows that belong to ids; the covariance divides by their number, as transformers does."""
    mean = mean_row(table)
    centred: Iterator[NDArray[np.float64]] = (chunk - mean for chunk in table.chunks())
    square = sum((rows.T @ rows for rows in centred), np.zeros((table.width, table.width)))
    return Moments(mean, square / table.used)


def mean_row(table: "Table") -> NDArray[np.float64]:
    """[D], over the rows that belong to ids."""
    return sum((chunk.sum(0, dtype=np.float64) for chunk in table.chunks()), np.zeros(table.width)) / table.used


def initial_rows(
    init: Init, table: "Table", parts: Sequence[tuple[int, ...]], *, seed: int, spread: float, weights: Weights = ()
) -> "Rows":
    """The rows [n, D] of the new pieces, one for each of ``parts``, the old ids that the piece was written with.

    ``spread`` is the model's ``initializer_range``; ``weights`` are `focus`'s. The name of the table is part of the
    seed, so that input and output are drawn apart.
    """
    from danlu.base.seed import generator

    count, draw = len(parts), generator(seed, "extend", init, table.tensor.name)
    if init == "random":
        return (draw.standard_normal((count, table.width)) * spread).astype(np.float32)
    if init == "subword":
        even = [(np.array(ids, np.int64), np.full(len(ids), 1 / len(ids), np.float32)) for ids in parts]
        return combined(table, even)
    if init == "focus":
        return combined(table, weights)
    found = moments(table)
    if init == "covariance":
        return drawn(found, count, draw)
    rows = np.tile(found.mean, (count, 1))
    if init == "noise":
        rows += draw.standard_normal(rows.shape) * NOISE * np.sqrt(np.diagonal(found.covariance))
    return rows.astype(np.float32)


def combined(table: "Table", weights: Weights) -> "Rows":
    """Weighted sums of old rows; the mean of all where there are no weights."""
    rows = np.empty((len(weights), table.width), np.float32)
    mean = mean_row(table) if any(not len(ids) for ids, _ in weights) else None
    for index, (ids, shares) in enumerate(weights):
        rows[index] = shares.astype(np.float64) @ table.rows(ids) if len(ids) else mean
    return rows


def drawn(found: Moments, count: int, draw: np.random.Generator) -> "Rows":
    """From the normal distribution. By eigenvalues and not Cholesky: fewer rows than columns are no trouble."""
    values, vectors = np.linalg.eigh(found.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    noise = draw.standard_normal((count, len(values)))
    return (found.mean + noise @ root.T).astype(np.float32)
