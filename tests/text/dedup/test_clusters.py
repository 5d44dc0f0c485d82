"""Union-find, and linking all pairs of a group without looking at them all."""

import random
from pathlib import Path

import numpy as np
import pytest

from danlu.text.dedup.clusters import Clusters

RECORD = np.dtype([("key", "<u8"), ("doc", "<u4")])


def components(size: int, edges: list[tuple[int, int]]) -> list[int]:
    """The least member of each number's component, by flooding."""
    found = list(range(size))
    while True:
        before = found.copy()
        for a, b in edges:
            found[a] = found[b] = min(found[a], found[b])
        if found == before:
            return found


@pytest.mark.parametrize("seed", range(8))
def test_roots_are_the_first_of_each_component(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    edges = [(rng.randrange(60), rng.randrange(60)) for _ in range(rng.randrange(80))]
    clusters = Clusters(tmp_path / "parents", 60)
    for start in range(0, len(edges), 7):
        part = np.array(edges[start : start + 7], np.int64).reshape(-1, 2)
        clusters.join(part[:, 0], part[:, 1])
    assert clusters.roots(np.arange(60)).tolist() == components(60, edges)


@pytest.mark.parametrize("seed", range(5))
def test_link_finds_the_components_of_all_pairs(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    keys, docs, kinds = rng.integers(0, 30, 200), np.sort(rng.integers(0, 120, 200)), rng.integers(0, 3, 120)
    records = np.rec.fromarrays([keys, docs], dtype=RECORD)
    clusters = Clusters(tmp_path / "parents", 120)
    left = clusters.link(records, 200, lambda a, b: kinds[a["doc"]] == kinds[b["doc"]])
    pairs = [
        (int(docs[i]), int(docs[j]))
        for i in range(200) for j in range(i)
        if keys[i] == keys[j] and kinds[docs[i]] == kinds[docs[j]]
    ]  # fmt: skip
    assert left == 0
    assert clusters.roots(np.arange(120)).tolist() == components(120, pairs)


def test_a_group_of_copies_takes_one_comparison_each(tmp_path: Path) -> None:
    asked = 0

    def judge(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(first)
        return np.ones(len(first), bool)

    records = np.rec.fromarrays([np.full(100_000, 3), np.arange(100_000)], dtype=RECORD)
    clusters = Clusters(tmp_path / "parents", 100_000)
    assert clusters.link(records, 64, judge) == 0
    assert asked == 99_999
    assert not clusters.roots(np.arange(100_000)).any()


def test_a_crowd_is_compared_within_the_window_only(tmp_path: Path) -> None:
    asked = set[tuple[int, int]]()

    def judge(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.update(zip(first["doc"].tolist(), second["doc"].tolist(), strict=True))
        return np.zeros(len(first), bool)

    records = np.rec.fromarrays([np.full(50, 3), np.arange(50)], dtype=RECORD)
    assert Clusters(tmp_path / "parents", 50).link(records, 4, judge) == 50
    assert asked == {(a, b) for a in range(50) for b in range(a + 1, min(a + 5, 50))}
