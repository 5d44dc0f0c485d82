"""The probabilities are the published ones, and signatures keep to them."""

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.dedup.lsh import band_keys, bands_and_rows, catch_probability, signatures
from danlu.text.dedup.shingles import factors


@pytest.mark.parametrize(
    ("bands", "rows", "similarity", "probability"),
    [
        # FineWeb's 14 bands of 8 and others', as worked out in the project's reference from 1 - (1 - s^r)^b.
        (14, 8, 0.5, 0.053), (14, 8, 0.75, 0.772), (14, 8, 0.8, 0.924),
        (20, 13, 0.8, 0.677), (32, 8, 0.7, 0.850), (26, 11, 0.75, 0.674),
    ],
)  # fmt: skip
def test_golden_probabilities(bands: int, rows: int, similarity: float, probability: float) -> None:
    assert catch_probability(similarity, bands, rows) == pytest.approx(probability, abs=5e-4)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.95])
@pytest.mark.parametrize("permutations", [64, 128, 256])
def test_the_most_rows_that_catch_enough(threshold: float, permutations: int) -> None:
    bands, rows = bands_and_rows(threshold, permutations, 0.95)
    assert bands * rows <= permutations
    assert catch_probability(threshold, bands, rows) >= 0.95
    assert catch_probability(threshold, permutations // (rows + 1), rows + 1) < 0.95


def test_too_few_permutations_are_refused() -> None:
    with pytest.raises(UserError, match=r"0\.875 at most"):
        bands_and_rows(0.5, 3, 0.99)


def pair(similarity: float, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two random sets of ``size`` each whose Jaccard similarity is nearly that."""
    shared = round(2 * size * similarity / (1 + similarity))
    values = np.unique(rng.integers(0, 2**32, 3 * size, dtype=np.uint32))
    rng.shuffle(values)
    one, two = values[:size], np.concatenate([values[:shared], values[size : 2 * size - shared]])
    return np.sort(one), np.sort(two)


def signs(sets: list[np.ndarray], permutations: int) -> np.ndarray:
    return signatures(np.concatenate(sets), np.cumsum([len(s) for s in sets], dtype=np.int64), permutations)


@pytest.mark.parametrize("similarity", [0.3, 0.7, 0.9])
def test_agreement_has_the_mean_and_spread_of_theory(similarity: float) -> None:
    """A share of 128 draws: mean s, variance s(1 - s)/128. Bounds are four standard errors of 400 pairs."""
    rng = np.random.default_rng(0)
    sets = [half for _ in range(400) for half in pair(similarity, 150, rng)]
    found = signs(sets, 128)
    agreement = (found[::2] == found[1::2]).mean(1)
    true = np.mean([len(np.intersect1d(a, b)) / len(np.union1d(a, b)) for a, b in zip(sets[::2], sets[1::2])])
    variance = true * (1 - true) / 128
    assert abs(agreement.mean() - true) < 4 * (variance / 400) ** 0.5
    assert abs(agreement.var() / variance - 1) < 4 * (2 / 400) ** 0.5


def test_pairs_meet_in_a_band_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    keys = band_keys(signs([half for _ in range(1500) for half in pair(0.75, 120, rng)], 112), 14, 8)
    met = (keys[::2] == keys[1::2]).any(1).mean()
    expected = catch_probability(0.75, 14, 8)
    assert abs(met - expected) < 4 * (expected * (1 - expected) / 1500) ** 0.5


def test_a_signature_is_its_definition_whatever_stands_around() -> None:
    rng = np.random.default_rng(2)
    sets = [np.unique(rng.integers(0, 2**32, n, dtype=np.uint32)) for n in (1, 5, 0, 70_000, 0, 3)]
    odd = (factors(9, salt=1) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    wanted = [[int((s * factor).min()) if len(s) else 2**32 - 1 for factor in odd] for s in sets]
    assert signs(sets, 9).tolist() == wanted


def test_band_keys_tell_bands_apart_and_leave_out_the_empty() -> None:
    same = np.full((1, 6), 7, np.uint32)
    keys = band_keys(np.concatenate([same, np.full((1, 6), 2**32 - 1, np.uint32)]), 3, 2)
    assert len(set(keys[0].tolist())) == 3
    assert keys[1].tolist() == [0, 0, 0]
