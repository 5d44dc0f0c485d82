"""A curriculum deals every document once, the easy ones first, and the same again after a stop."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.batches import PackedBatches
from danlu.tokens.chat import Rendered
from danlu.tokens.curriculum import NONE, Curriculum, difficulty, paced
from danlu.tokens.mixture import Mixture, Tokens
from danlu.tokens.pack import ListItems, ShardItems
from danlu.tokens.shards import Encoded, write_shards
from tests.tokens.test_batches import same
from tests.tokens.test_mixture import deal, made  # noqa: F401

DRAW = np.random.default_rng(1)
LENGTHS = np.clip(np.exp(DRAW.normal(3, 1, 2000)), 2, 400).astype(np.int64)
TOTAL = int(LENGTHS.sum())


def order(curriculum: Curriculum, run_tokens: int = TOTAL, seed: int = 0) -> np.ndarray:
    return paced(curriculum, LENGTHS, LENGTHS, run_tokens, np.random.default_rng(seed))


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any),
    share=st.floats(0.01, 1),
    start=st.floats(0.01, 1),
    pacing=st.sampled_from(["root", "linear"]),
    run=st.integers(1, 1000),
)
def test_every_document_exactly_once(lengths: list[int], share: float, start: float, pacing: Any, run: int) -> None:
    sizes = np.asarray(lengths, np.int64)
    curriculum = Curriculum(by="length", share=share, start=start, pacing=pacing)
    found = paced(curriculum, sizes, sizes, run, np.random.default_rng(0))
    assert sorted(found.tolist()) == list(range(len(lengths)))


@pytest.mark.parametrize("pacing", ["root", "linear"])
@pytest.mark.parametrize("run", [0.3, 1.0, 5.0])
def test_short_first_and_no_sooner_than_its_pace(pacing: Any, run: float) -> None:
    """When a share t of the curriculum's tokens is dealt, nothing beyond the open share was."""
    curriculum = Curriculum(by="length", share=0.6, start=0.1, pacing=pacing)
    found = order(curriculum, round(run * TOTAL))
    dealt = np.cumsum(LENGTHS[found]) - LENGTHS[found]
    rank = np.empty(len(LENGTHS), np.int64)
    by_length = np.argsort(LENGTHS, kind="stable")
    rank[by_length] = np.cumsum(LENGTHS[by_length])
    lasts = min(0.6 * run, 1.0) * TOTAL
    inside = dealt < lasts
    time = np.minimum(np.ceil(64 * dealt[inside] / lasts) + 1, 64) / 64
    wide = 12 * LENGTHS.max() / TOTAL  # documents of one length are ranked at random
    assert (rank[found[inside]] / TOTAL <= np.asarray([curriculum.open(t) for t in time]) + wide).all()
    first = LENGTHS[found[dealt < lasts / 8]]
    assert first.mean() < (0.65 if pacing == "root" else 0.5) * LENGTHS.mean()
    after = LENGTHS[found[~inside]]
    if len(after) > 100:  # what comes after is in no order
        assert abs(np.corrcoef(np.arange(len(after)), after)[0, 1]) < 0.1


def test_root_opens_sooner_than_linear() -> None:
    root, linear = (Curriculum(by="length", pacing=name) for name in ("root", "linear"))
    times = [i / 10 for i in range(11)]
    assert all(root.open(t) > linear.open(t) for t in times[1:-1])
    assert [c.open(0) for c in (root, linear)] == pytest.approx([0.1, 0.1])
    assert [c.open(1) for c in (root, linear)] == pytest.approx([1, 1])


@pytest.mark.parametrize("change", [{"share": 0.2}, {"start": 0.5}, {"pacing": "linear"}, {"by": "none"}])
def test_every_setting_changes_the_order(change: dict[str, Any]) -> None:
    values = {} if "by" in change else {"by": "length"}
    batches = [packed(Curriculum(**given)) for given in ({"by": "length"}, {**values, **change})]
    assert not all(same(a, b) for a, b in itertools.islice(zip(*batches), 30))


ITEMS = ListItems([Rendered([i + 1] * n, [1] * n) for i, n in enumerate(LENGTHS[:60].tolist())])


def packed(
    curriculum: Curriculum, *, run_tokens: int = 900, batch_size: int = 2, packing: Any = "concat"
) -> PackedBatches:
    return PackedBatches(
        ITEMS, batch_size=batch_size, length=16, pad_id=0, seed=3, split=True,
        packing=packing, curriculum=curriculum, run_tokens=run_tokens,
    )  # fmt: skip


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_it_goes_on_exactly_at_every_batch(packing: str) -> None:
    source, states, batches = packed(Curriculum(by="length"), packing=packing), [], []
    while source.epoch < 1.5:
        states.append(json.loads(json.dumps(source.state_dict())))
        batches.append(next(source))
    for state, batch, after in zip(states, batches, batches[1:]):
        again = packed(Curriculum(by="length"), packing=packing)
        again.load_state_dict(state)
        assert same(next(again), batch)
        assert same(next(again), after)


def test_the_first_epoch_is_paced_and_later_ones_are_shuffled() -> None:
    source, seen = packed(Curriculum(by="length")), [0]
    while source.epoch < 2.1:
        for token in next(source).ids.flatten().tolist():
            seen += [token] if token != seen[-1] else []
    first, second = seen[1:61], seen[61:121]
    assert sorted(first) == sorted(second) == list(range(1, 61))
    assert first != second


def test_rows_do_not_depend_on_who_takes_them() -> None:
    """One process with batches of four, or four that each take every fourth row: the same rows in the same order."""
    curriculum = Curriculum(by="length")
    together = [ids for batch in itertools.islice(packed(curriculum, batch_size=4), 20) for ids in batch.ids.tolist()]
    one = packed(curriculum, batch_size=1)
    assert [next(one).ids[0].tolist() for _ in range(80)] == together


def test_another_curriculum_is_refused() -> None:
    state = packed(Curriculum(by="length")).state_dict()
    for other in (
        packed(NONE),
        packed(Curriculum(by="length", share=0.3)),
        packed(Curriculum(by="length"), run_tokens=901),
    ):
        with pytest.raises(UserError, match="the curriculum changed since the checkpoint"):
            other.load_state_dict(state)
    with pytest.raises(UserError, match="the packing changed since the checkpoint"):
        packed(NONE, packing="best_fit").load_state_dict(packed(NONE).state_dict())
    with pytest.raises(UserError, match="the packing changed since the checkpoint"):
        packed(NONE).load_state_dict(packed(NONE, packing="best_fit").state_dict())


def test_by_source_the_sources_come_in_turn(tmp_path: Path) -> None:
    documents = [Encoded([1 + i % 3] * (2 + i % 5), 5, "abc"[i % 3]) for i in range(600)]
    write_shards(documents[:3], tmp_path / "validation", 300)
    shards = write_shards(documents, tmp_path / "train", 300)
    curriculum = Curriculum(by="source", sources=("c", "a"), share=1.0, start=0.05, pacing="linear")
    hard = difficulty(ShardItems(shards), curriculum)
    assert [hard[i] for i in range(3)] == [1, 2, 0]
    source = Tokens.open(tmp_path).batches(
        batch_size=1, length=20, pad_id=0, seed=0, curriculum=curriculum, run_tokens=shards.tokens
    )
    rows = [next(source).ids[0].tolist() for _ in range(shards.tokens // 20)]
    third = len(rows) // 3
    for token, part in zip((3, 1, 2), (rows[:third], rows[third : 2 * third], rows[2 * third :])):
        assert sum(t == token for row in part for t in row) > 0.85 * 20 * len(part)
    with pytest.raises(UserError, match=r"no source is called 'd'.*There are: a, b, c"):
        Tokens.open(tmp_path).batches(
            batch_size=1, length=20, pad_id=0, seed=0, curriculum=Curriculum(by="source", sources=("d",)), run_tokens=9
        )


def test_a_mixture_by_source_keeps_its_shares(made: Path) -> None:  # noqa: F811
    """The first half of the tokens source by source, y first: 3/4 of it; then the shares hold as always."""
    curriculum = Curriculum(by="source", sources=("y",), share=0.5)
    shape: dict[str, Any] = {"batch_size": 1, "length": 16, "pad_id": 0, "seed": 0}
    source = Mixture.open(made).batches(**shape, curriculum=curriculum, run_tokens=3200)
    names, states = [], []
    for _ in range(200):
        states.append(json.loads(json.dumps(source.state_dict())))
        names.append(next(source).names[0].split(":")[0])
    assert names[:75] == ["y"] * 75
    assert names[75:100] == ["x"] * 25
    assert abs(names[100:].count("y") - 75) <= 1
    again = Mixture.open(made).batches(**shape, curriculum=curriculum, run_tokens=3200)
    again.load_state_dict(states[90])
    assert next(again).names[0].startswith("x")
    with pytest.raises(UserError, match="the curriculum changed"):
        deal(made).load_state_dict(states[90])


def test_a_mixture_by_length_orders_each_source(made: Path) -> None:  # noqa: F811
    shape: dict[str, Any] = {"batch_size": 1, "length": 16, "pad_id": 0, "seed": 0}
    curriculum = Curriculum(by="length", share=1.0, start=0.01, pacing="linear")
    source = Mixture.open(made).batches(**shape, curriculum=curriculum, run_tokens=2000)
    for name in "xy":
        rows = [row for row in itertools.islice(source, 40) if row.names[0].startswith(f"{name}: epoch 0")]
        counts = [int(row.segments.max()) + 1 for row in rows]
        half = len(counts) // 2
        assert sum(counts[:half]) > 1.2 * sum(counts[half : 2 * half])  # short documents, so more of them in a row
        source = Mixture.open(made).batches(**shape, curriculum=curriculum, run_tokens=2000)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"share": 0.3}, "the order is not paced"),
        ({"by": "length", "sources": ("a",)}, "has no use for the names of sources"),
        ({"by": "source"}, "names no sources"),
        ({"by": "length", "share": 0.0}, "above 0 and at most 1"),
        ({"by": "length", "start": 1.5}, "above 0 and at most 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Curriculum(**given)


def test_a_run_without_length_and_documents_without_source_are_refused() -> None:
    with pytest.raises(UserError, match="how long the run is"):
        next(packed(Curriculum(by="length"), run_tokens=0))
    with pytest.raises(UserError, match="these documents have no sources"):
        packed(Curriculum(by="source", sources=("a",)))
