"""FOCUS's parts, each against its definition."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from danlu.model.focus import SMOOTHING, WINDOW, Vectors, _factors, _ppmi, _together, sparsemax, vectors, weights


@given(arrays(np.float32, (3, 6), elements=st.floats(-2, 2, width=32)))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: np.ndarray) -> None:
    found = sparsemax(scores)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found >= 0).all()
    for row, point in zip(scores, found, strict=True):  # against every support there is
        best = math.inf
        for size in range(1, 7):
            for support in itertools.combinations(range(6), size):
                share = np.zeros(6)
                share[list(support)] = row[list(support)] - (row[list(support)].sum() - 1) / size
                if (share >= 0).all():
                    best = min(best, float(((share - row) ** 2).sum()))
        assert ((point - row) ** 2).sum() <= best + 1e-5


def test_sparsemax_of_equals_and_of_one_far_ahead() -> None:
    found = sparsemax(np.array([[0.3, 0.3], [2.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, np.array([[0.5, 0.5], [1, 0]]))


def test_pairs_are_counted_both_ways_within_the_window_and_the_document() -> None:
    documents = [[0, 1, 2, 1, 0, 2, 2, 1], [2, 0]]
    flat, owner = np.array([*documents[0], *documents[1]]), np.array([0] * 8 + [1] * 2)
    wanted = np.zeros((3, 3))
    for document in documents:
        for i, j in itertools.permutations(range(len(document)), 2):
            if abs(i - j) <= WINDOW:
                wanted[document[i], document[j]] += 1
    rows, columns, times = _together(flat, owner, 3)
    found = np.zeros((3, 3))
    found[rows, columns] = times
    np.testing.assert_array_equal(found, wanted)
    chance = wanted.sum(0) ** SMOOTHING / (wanted.sum(0) ** SMOOTHING).sum()
    with np.errstate(divide="ignore"):
        ppmi = np.maximum(np.log(wanted / wanted.sum(1, keepdims=True) / chance), 0)
    np.testing.assert_allclose(_ppmi(rows, columns, times, 3), ppmi[rows, columns], rtol=1e-12)


def test_the_factors_are_those_of_the_singular_value_decomposition() -> None:
    draw = np.random.default_rng(0)
    dense = np.maximum(draw.standard_normal((40, 6)) @ draw.standard_normal((6, 40)), 0)
    rows, columns = np.nonzero(dense)
    found = _factors(rows, columns, dense[rows, columns], 40, 40, seed=0)
    left, singular, _ = np.linalg.svd(dense)
    wanted = left * np.sqrt(singular)
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-3)


def test_pieces_that_stand_in_the_same_places_have_like_vectors() -> None:
    draw = np.random.default_rng(0)
    groups = [range(0, 6), range(6, 12)]
    documents = [draw.choice(list(groups[n % 2]), 60).astype(np.int32) for n in range(40)]
    found = vectors(documents, seed=0, width=4)
    assert list(found.ids) == list(range(12))
    cosines = found.values @ found.values.T
    assert cosines[:6, :6].min() > cosines[:6, 6:].max() + 0.5
    again = vectors(documents, seed=0, width=4)
    np.testing.assert_array_equal(found.values, again.values)


def test_rare_pieces_have_no_vector() -> None:
    documents = [np.array([1, 2] * 20 + [7] * 3, np.int32)]
    assert set(vectors(documents, seed=0, least=4).ids) <= {1, 2}
    assert 7 in vectors(documents, seed=0, least=3).ids
    assert len(vectors([], seed=0).ids) == 0


def test_weights_are_the_sparsemax_of_the_cosines_to_old_pieces() -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((5, 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    found = Vectors(np.array([2, 5, 9, 20, 21]), values)  # 20 and 21 are new
    shares = weights(found, [20, 21, 22], 10)
    for index, row in ((0, 3), (1, 4)):
        dense = np.zeros(3, np.float32)
        dense[np.searchsorted([2, 5, 9], shares[index][0])] = shares[index][1]
        np.testing.assert_allclose(dense, sparsemax(values[row : row + 1] @ values[:3].T)[0], rtol=1e-6)
    assert len(shares[2][0]) == 0  # without a vector: the mean
