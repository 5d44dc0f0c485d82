"""True Jaccard similarities are those of Python's sets, and nothing unlike is asked twice."""

import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from danlu.text.dedup import jaccard as module
from danlu.text.dedup.columns import Columns, Shelf
from danlu.text.dedup.jaccard import Jaccard


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_pairs_are_judged_as_sets_are(
    threshold: float, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    rng = random.Random(0)
    sets = [sorted(rng.sample(range(12), rng.randrange(1, 12))) for _ in range(40)]
    with Columns(tmp_path / "00000") as columns:
        columns.add_ragged("sets", np.fromiter(chain.from_iterable(sets), "<u4"), np.cumsum([len(s) for s in sets]))
        columns.add_texts("ids", ["x"] * 40)
    pairs = np.array([(a, b) for b in range(40) for a in range(b)])
    wanted = [len({*sets[a]} & {*sets[b]}) / len({*sets[a]} | {*sets[b]}) >= threshold for a, b in pairs.tolist()]
    assert 0 < sum(wanted) < len(wanted)
    with Shelf([tmp_path / "00000"]) as shelf:
        judge = Jaccard(shelf, threshold)
        for _ in range(2):
            assert judge(pairs[:, 0], pairs[:, 1]).tolist() == wanted
        assert wanted.count(False) <= judge.unlike <= wanted.count(False) + 5  # remembered, unless two share a slot
        twice = np.repeat(pairs[:5], 2, axis=0)
        assert judge(twice[:, 0], twice[:, 1]).tolist() == np.repeat(wanted[:5], 2).tolist()
