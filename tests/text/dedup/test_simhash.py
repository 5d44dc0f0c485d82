"""SimHash is its definition, and the tables find every pair within the distance."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.dedup.shingles import shingles
from danlu.text.dedup.simhash import SimHash, bits, simhash, tables
from tests.text.dedup.running import documents, dropped, edited, passages, run
from tests.text.dedup.test_clusters import components


def test_a_hash_is_the_vote_of_its_shingles() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 2**64, size, dtype=np.uint64) for size in (1, 2, 0, 254, 255, 256, 1000, 0)]
    found = simhash(np.concatenate(rows), np.cumsum([len(row) for row in rows]))
    for row, value in zip(rows, found.tolist(), strict=True):
        ones = [sum(int(h) >> bit & 1 for h in row) for bit in range(64)]
        assert value == sum(1 << bit for bit in range(64) if 2 * ones[bit] > len(row))


def test_bits_counts() -> None:
    values = np.random.default_rng(1).integers(0, 2**64, 500, dtype=np.uint64)
    assert bits(values).tolist() == [value.bit_count() for value in values.tolist()]


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 10])
@pytest.mark.parametrize("documents", [1, 10**5, 10**7, 10**9])
def test_any_two_within_the_distance_share_a_table(distance: int, documents: int) -> None:
    rng, masks = random.Random(distance), tables(distance, documents)
    for _ in range(300):
        difference = sum(1 << bit for bit in rng.sample(range(64), distance))
        assert any(difference & int(mask) == 0 for mask in masks)
    least = min(int(mask).bit_count() for mask in masks)
    assert len(masks) <= 64
    assert least >= documents.bit_length() or len(tables(distance, 10**30)) == len(masks)


@pytest.mark.parametrize("distance", [0, 3, 8])
@pytest.mark.parametrize("shingle", [1, 2])
def test_it_drops_what_comparing_all_pairs_drops(distance: int, shingle: int, tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [copy for text in passages(120, 120) for copy in (text, *(edited(text, n, rng) for n in (0, 1, 3)))]
    rng.shuffle(texts)
    hashes = simhash(*shingles(texts, shingle)).tolist()
    edges = [(a, b) for a, b in combinations(range(len(texts)), 2) if (hashes[a] ^ hashes[b]).bit_count() <= distance]
    roots = components(len(texts), edges)
    found, _ = run(SimHash(distance, shingle), documents(texts), tmp_path, 3)
    assert dropped(found) == {n: ("near_duplicate", f"d:{root}") for n, root in enumerate(roots) if root != n}
    assert len(dropped(found)) >= 120


def test_a_changed_word_is_within_reach_and_another_text_is_not(tmp_path: Path) -> None:
    rng, texts = random.Random(0), list(passages(120, 100))
    found, _ = run(SimHash(), documents(texts + [edited(text, 1, rng) for text in texts]), tmp_path)
    assert all(place >= 100 for place in dropped(found))
    assert 60 <= len(dropped(found)) <= 100


@pytest.mark.parametrize("given", [[], [""], ["", "!", "\0", "\ud800"]])
def test_texts_without_words_stay(given: list[str], tmp_path: Path) -> None:
    found, _ = run(SimHash(index=tmp_path / "index"), documents(given), tmp_path / "run", 2)
    assert dropped(found) == {}
    assert len(found) == len(given)


@pytest.mark.parametrize("settings", [{"distance": -1}, {"distance": 17}, {"shingle": 0}])
def test_senseless_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(settings))}"):
        SimHash(**settings)  # type: ignore[arg-type]
