"""MinHash drops what true Jaccard and union-find drop, and nothing else."""

import random
from itertools import combinations
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text.dedup import columns, jaccard, spill
from danlu.text.dedup.minhash import MinHash
from tests.text.dedup.running import documents, dropped, edited, passages, run
from tests.text.dedup.test_clusters import components


def jaccards(texts: list[str], width: int) -> dict[tuple[int, int], float]:
    """Of all pairs, by Python's sets of word n-grams."""
    sets = []
    for text in texts:
        words = text.casefold().split()
        sets.append({tuple(words[i : i + width]) for i in range(max(1, len(words) - width + 1))})
    return {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in combinations(range(len(texts)), 2)}


def planted(seed: int = 0, bases: int = 60) -> list[str]:
    """Passages of plain words and copies of them with a few words changed, shuffled."""
    rng = random.Random(seed)
    plain = [" ".join(word for word in text.split() if word.isalpha()) for text in passages(120, bases)]
    texts = [copy for text in plain for copy in (text, *(edited(text, rng.randrange(9), rng) for _ in range(2)))]
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_with_enough_bands_it_is_brute_force(threshold: float, width: int, tmp_path: Path) -> None:
    texts = planted()
    edges = [pair for pair, similarity in jaccards(texts, width).items() if similarity >= threshold]
    roots = components(len(texts), edges)
    step = MinHash(threshold, width, bands=100, rows=2)  # a pair at 0.5 is missed once in 3 * 10^12
    found, facts = run(step, documents(texts), tmp_path, 3)
    assert dropped(found) == {n: ("near_duplicate", f"d:{root}") for n, root in enumerate(roots) if root != n}
    assert 20 < len(dropped(found)) < 150
    assert facts["pairs_unlike"] > 0


def test_neither_tasks_nor_batches_nor_memory_change_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = documents(planted())
    wanted = run(MinHash(), given, tmp_path / "1")
    assert dropped(wanted[0])
    assert run(MinHash(), given, tmp_path / "7", 7) == wanted
    monkeypatch.setattr(spill, "BUCKET", 2000)
    monkeypatch.setattr(jaccard, "AT_ONCE", 500)
    monkeypatch.setattr(columns, "BLOCK", 10)
    monkeypatch.setattr(columns.batches, "__defaults__", (1000,))
    assert run(MinHash(), given, tmp_path / "small", 4) == wanted


def test_clusters_chain_and_the_first_stays(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(300)]
    ladder = [" ".join([*words[: 20 * n], *(f"v{m}" for m in range(20 * n)), *words[20 * n :]]) for n in range(4)]
    similar = jaccards(ladder, 1)
    assert similar[0, 1] > 0.85 < similar[1, 2]
    assert similar[0, 3] < 0.85
    found, _ = run(MinHash(0.85, 1), documents(ladder), tmp_path)
    assert dropped(found) == dict.fromkeys((1, 2, 3), ("near_duplicate", "d:0"))


def test_copies_are_not_compared_with_each_other(tmp_path: Path) -> None:
    text = next(iter(passages()))
    found, facts = run(MinHash(), documents([text] * 2000), tmp_path, 4)
    assert len(dropped(found)) == 1999
    assert facts["pairs_compared"] == 1999
    assert facts["largest_clusters"] == [["d:0", 2000]]


def test_chinese_goes_by_characters(tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + n * 7) for n in range(200))
    near, far = text[:100] + "新" + text[101:], "".join(chr(0x4E00 + n * 11) for n in range(200))
    assert 191 / 201 > 0.8  # of 196 shingles a new character takes five and brings five
    found, _ = run(MinHash(), documents([text, near, far]), tmp_path)
    assert dropped(found) == {1: ("near_duplicate", "d:0")}


@pytest.mark.parametrize("given", [[], [""], ["", "!", "\0", "\ud800", "a", "A.", "x" * 200_000]])
def test_odd_texts_go_through_and_only_words_make_copies(given: list[str], tmp_path: Path) -> None:
    found, _ = run(MinHash(index=tmp_path / "index"), documents(given), tmp_path / "run", 2)
    assert dropped(found) == ({5: ("near_duplicate", "d:4")} if len(given) > 1 else {})


def test_shape_follows_from_threshold_permutations_and_catch() -> None:
    assert MinHash().shape() == (21, 6)
    assert MinHash(threshold=0.9).shape()[1] > 6
    assert MinHash(permutations=256).shape()[1] > 6
    assert MinHash(catch=0.9).shape()[1] > 6
    assert MinHash(bands=14, rows=8).shape() == (14, 8)
    assert MinHash(bands=14, rows=8).catches()["0.8"] == pytest.approx(0.924, abs=1e-3)
    assert MinHash(threshold=0.83).catches()["0.83"] > 0.99


def test_the_window_bounds_a_crowd(tmp_path: Path) -> None:
    # One band of one value: many unlike documents meet in it, and two copies stand far apart among them.
    texts = [f"same {n} {n + 1000} {n + 2000} {n + 3000}" for n in range(200)]
    step = {"threshold": 0.9, "shingle": 1, "bands": 40, "rows": 1}
    _, narrow = run(MinHash(**step, window=2), documents(texts), tmp_path / "narrow")
    _, wide = run(MinHash(**step, window=1000), documents(texts), tmp_path / "wide")
    assert narrow["crowded"] > 0 == wide["crowded"]
    assert narrow["pairs_compared"] < wide["pairs_compared"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"threshold": 0}, "threshold"), ({"threshold": 1.1}, "threshold"), ({"shingle": 0}, "shingle"),
        ({"permutations": 0}, "permutations"), ({"catch": 1.0}, "catch"), ({"bands": 3}, "rows"),
        ({"rows": 3}, "rows"), ({"window": 0}, "window"),
    ],
)  # fmt: skip
def test_senseless_settings_are_refused(settings: dict[str, float], key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}"):
        MinHash(**settings)  # type: ignore[arg-type]
