"""A mixture keeps its shares at every moment, sees every document once an epoch, and goes on exactly."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.batches import PackedBatches
from danlu.tokens.chat import Rendered
from danlu.tokens.mixture import (
    MixedBatches,
    Mixture,
    Tokens,
    documents_file,
    list_groups,
    measure_groups,
    save_mixture,
)
from danlu.tokens.pack import ListItems
from danlu.tokens.shards import Encoded, Shards, write_shards
from tests.tokens.test_batches import same

LENGTH = 16


def items(first: int, lengths: list[int]) -> ListItems:
    """Documents whose ids tell which they are: ``first + number``, over and over."""
    return ListItems([Rendered([first + i] * n, [0, *[1] * (n - 1)]) for i, n in enumerate(lengths)])


def mixed(shares: dict[str, float], *, seed: int = 3, batch_size: int = 3, split: bool = True) -> MixedBatches:
    sources = {
        name: PackedBatches(
            items(1000 * (number + 1), [2 + (7 * i) % 13 for i in range(5 + 4 * number)]),
            batch_size=1, length=LENGTH, pad_id=0, seed=seed + number, split=split,
        )
        for number, name in enumerate(shares)
    }  # fmt: skip
    return MixedBatches(sources, shares, batch_size=batch_size)


SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}


@settings(max_examples=25, deadline=None)
@given(consumed=st.integers(0, 40), split=st.booleans())
def test_a_mixture_goes_on_exactly(consumed: int, split: bool) -> None:
    source = mixed(SHARES, split=split)
    for _ in range(consumed):
        next(source)
    state = json.loads(json.dumps(source.state_dict()))
    again = mixed(SHARES, split=split)
    again.load_state_dict(state)
    assert again.state_dict() == source.state_dict()
    assert all(same(a, b) for a, b in itertools.islice(zip(source, again), 12))
    assert again.state_dict() == source.state_dict()


@settings(max_examples=20, deadline=None)
@given(weights=st.lists(st.floats(0.001, 1), min_size=2, max_size=8), split=st.booleans())
def test_the_shares_hold_at_every_moment(weights: list[float], split: bool) -> None:
    """A source is less than one row ahead, and behind by no more than the harmonic number of the others, ever.

    Ahead: the source chosen was furthest behind, so it had not reached its share of the tokens counting the next one.
    Behind: the bound of the greedy rule for chairman assignment, one row and a harmonic number in rows.
    """
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    source = mixed(shares, batch_size=1, split=split)
    behind = 1 + sum(1 / i for i in range(1, len(shares)))
    for _ in range(200):
        next(source)
        total = sum(source.dealt.values())
        for name, share in shares.items():
            gap = source.dealt[name] - share * total
            assert -behind * LENGTH <= gap <= LENGTH


def test_each_source_sees_every_document_once_an_epoch_reshuffled() -> None:
    source, seen = mixed(SHARES, batch_size=1, split=False), {name: list[int]() for name in SHARES}
    while min(source.epochs.values()) < 4:
        batch = next(source)
        ids, segments = batch.ids[0].tolist(), batch.segments[0].tolist()
        seen[batch.names[0].split(":")[0]] += [ids[segments.index(s)] for s in range(max(segments) + 1)]
    for number, name in enumerate(SHARES):
        count = 5 + 4 * number
        epochs = [seen[name][i : i + count] for i in range(0, 3 * count, count)]
        wanted = [1000 * (number + 1) + i for i in range(count)]
        assert [sorted(epoch) for epoch in epochs] == [wanted] * 3
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_rows_do_not_depend_on_the_size_of_the_batch() -> None:
    one, six = mixed(SHARES, batch_size=1), mixed(SHARES, batch_size=6)
    rows = [next(one) for _ in range(30)]
    joined = list(itertools.islice(six, 5))
    assert [name for row in rows for name in row.names] == [name for batch in joined for name in batch.names]
    assert [row.ids[0].tolist() for row in rows] == [ids.tolist() for batch in joined for ids in batch.ids]


def test_another_mixture_is_refused() -> None:
    state = mixed(SHARES).state_dict()
    with pytest.raises(UserError, match="the mixture changed since the checkpoint"):
        mixed({"a": 0.5, "b": 0.2, "c": 0.3}).load_state_dict(state)
    with pytest.raises(UserError, match="the seed changed"):
        mixed(SHARES, seed=4).load_state_dict(state)
    with pytest.raises(UserError, match="batch_size 0"):
        mixed(SHARES, batch_size=0)


# -- on disk


def write(folder: Path, documents: list[Encoded]) -> Shards:
    write_shards(documents[:3], folder / "validation", 300)
    return write_shards(documents, folder / "train", 300, shard_tokens=50)


def tokens(first: int, source: str, count: int) -> list[Encoded]:
    return [Encoded([first + i % 9, *range(2, 3 + i % 7)], 5, source) for i in range(count)]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two folders of tokens; of the second the sources y and z are parts of their own, x is folder one."""
    one = write(tmp_path / "one", tokens(10, "x", 20))
    interleaved = [e for pair in zip(tokens(100, "y", 40), tokens(200, "z", 40)) for e in pair]
    two = write(tmp_path / "two", interleaved)
    out = tmp_path / "mix"
    out.mkdir()
    documents, sizes = measure_groups(two, [0, 1], 2)
    list_groups(two, [0, 1], documents, out / documents_file(1))
    parts: list[dict[str, Any]] = [
        {"name": "x", "share": 0.25, "size": one.tokens, "folder": 0, "documents": None},
        {"name": "y", "share": 0.75, "size": sizes[0], "folder": 1, "documents": [0, 40]},
        {"name": "z", "share": 0.0, "size": sizes[1], "folder": 1, "documents": [40, 80]},
    ]
    save_mixture(out, [tmp_path / "one", tmp_path / "two"], [one, two], parts, 5000)
    return out


def deal(path: Path, seed: int = 0) -> MixedBatches:
    source = Mixture.open(path).batches(batch_size=2, length=LENGTH, pad_id=0, seed=seed)
    assert isinstance(source, MixedBatches)
    return source


def test_a_mixture_is_read_where_it_lies(made: Path, tmp_path: Path) -> None:
    mixture = Mixture.open(made)
    assert mixture.tokens == 5000
    assert mixture.shares == {"x": 0.25, "y": 0.75, "z": 0.0}
    assert len(mixture.held_out) == 2
    y = [mixture.items["y"][i][0].tolist() for i in range(40)]
    assert y == [list(e.ids) for e in tokens(100, "y", 40)]
    rows = [ids for batch in itertools.islice(deal(made), 100) for ids in batch.ids.tolist()]
    met = {token for row in rows for token in row if token >= 10}
    assert met == {*range(10, 19), *range(100, 109)}  # nothing of z
    shared = sum(token >= 10 and token < 100 for row in rows for token in row)
    assert shared < sum(token >= 100 for row in rows for token in row)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("one", "two", "mix"):
        (tmp_path / name).rename(moved / name)
    again = [ids for batch in itertools.islice(deal(moved / "mix"), 100) for ids in batch.ids.tolist()]
    assert again == rows


def test_the_seed_decides_the_order_of_a_mixture(made: Path) -> None:
    assert same(next(deal(made)), next(deal(made)))
    assert not same(next(deal(made)), next(deal(made, seed=1)))


def test_a_run_longer_than_the_plan_is_refused(made: Path) -> None:
    Mixture.open(made).check(5000)
    with pytest.raises(UserError, match=r"was planned for 5000 tokens, and the run reads 5001\. Mix again with"):
        Mixture.open(made).check(5001)


def test_groups_are_measured_and_listed_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = ["a", "b", "c", "a", "c", "c", "b", "a", "d", "c", "a"]
    shards = write_shards([Encoded([1] * (i + 1), 1, s) for i, s in enumerate(sources)], tmp_path / "s", 300)
    assert shards.sources == ["a", "b", "c", "d"]
    groups = [1, 0, 1, 2]
    wanted = [[i for i, s in enumerate(sources) if groups["abcd".index(s)] == g] for g in range(3)]
    for chunk in (1, 2, 4, 1 << 20):
        monkeypatch.setattr("danlu.tokens.mixture.CHUNK", chunk)
        documents, sizes = measure_groups(shards, groups, 3)
        assert documents == [len(group) for group in wanted]
        assert sizes == [sum(i + 1 for i in group) for group in wanted]
        list_groups(shards, groups, documents, tmp_path / "list.npy")
        assert np.load(tmp_path / "list.npy").tolist() == [i for group in wanted for i in group]


def test_what_does_not_fit_is_named(made: Path, tmp_path: Path) -> None:
    listed = made / documents_file(1)
    kept = listed.read_bytes()
    np.save(listed, np.arange(7))
    with pytest.raises(UserError, match=r"documents-1\.npy: does not fit its shards"):
        Mixture.open(made)
    listed.write_bytes(kept)
    write(tmp_path / "two", tokens(100, "y", 80))
    with pytest.raises(UserError, match=r"two.train: changed since it was mixed\. Run 'danlu mix' again"):
        Mixture.open(made)
    (made / "mixture.json").write_text('{"format": 7}')
    with pytest.raises(UserError, match=r"not a mixture \(format 7 is not known\)"):
        Mixture.open(made)
    with pytest.raises(UserError, match="no such file"):
        Mixture.open(tmp_path)


def test_plain_tokens_have_the_same_face(tmp_path: Path) -> None:
    shards = write(tmp_path / "one", tokens(10, "x", 20))
    plain = Tokens.open(tmp_path / "one")
    plain.check(10**9)
    assert plain.tokens == shards.tokens
    assert math.isclose(len(plain.held_out), 1)
    batch = next(plain.batches(batch_size=2, length=LENGTH, pad_id=0, seed=0))
    assert batch.ids.shape == (2, LENGTH)
