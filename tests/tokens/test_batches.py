import itertools
import json
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens import pack
from danlu.tokens.batches import Batch, PackedBatches, PairBatches, Source, collate_pairs, sequential
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems


def rendered(first: int, length: int) -> Rendered:
    return Rendered([first + t for t in range(length)], [0, *[1] * (length - 1)])


ITEMS = [rendered(100 * i, n) for i, n in enumerate([3, 17, 1, 8, 2, 30, 5])]
SHORT = [item for item in ITEMS if len(item) <= 10]
PAIRS = [(rendered(1000 + 100 * i, 2 + 7 * i), rendered(2000 + 100 * i, 20)) for i in range(5)]


def packed(*, split: bool = True, seed: int = 3, items: list[Rendered] | None = None) -> PackedBatches:
    chosen = (ITEMS if split else SHORT) if items is None else items
    return PackedBatches(ListItems(chosen), batch_size=2, length=10, pad_id=0, seed=seed, split=split)


def pairs(*, seed: int = 3, data: list[tuple[Rendered, Rendered]] = PAIRS) -> PairBatches:
    return PairBatches(data, batch_size=2, length=40, pad_id=0, seed=seed)


SOURCES: dict[str, Callable[[], PackedBatches | PairBatches]] = {
    "split": packed,
    "whole": lambda: packed(split=False),
    "pairs": pairs,
}


def same(a: Batch, b: Batch) -> bool:
    names = a.extra.keys() | b.extra.keys()
    tensors = [(a.ids, b.ids), (a.mask, b.mask), (a.segments, b.segments), *((a.extra[n], b.extra[n]) for n in names)]
    return a.names == b.names and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in tensors)


@pytest.mark.parametrize("kind", SOURCES)
@settings(max_examples=25, deadline=None)
@given(consumed=st.integers(0, 30))
def test_a_source_goes_on_exactly(kind: str, consumed: int) -> None:
    """30 batches are several epochs of each source, so borders, split items and full rows are all met."""
    source = SOURCES[kind]()
    for _ in range(consumed):
        next(source)
    state = json.loads(json.dumps(source.state_dict()))
    again: Source = SOURCES[kind]()
    again.load_state_dict(state)
    assert again.state_dict() == source.state_dict()
    assert all(same(a, b) for a, b in itertools.islice(zip(source, again), 12))
    assert source.epoch > 1 or kind == "whole"


def consecutive_epochs(seen: list[int], count: int) -> list[list[int]]:
    return [seen[i : i + count] for i in range(0, 3 * count, count)]


@pytest.mark.parametrize(("split", "items"), [(True, ITEMS), (False, SHORT)])
def test_an_epoch_of_rows_holds_every_item_once(split: bool, items: list[Rendered]) -> None:
    """Every token that is a target is one once an epoch."""
    source = packed(split=split)
    targets = sorted(token for item in items for token, weight in zip(item.ids, item.mask) if weight)
    seen: list[int] = []
    while source.epoch < 4:
        batch = next(source)
        seen += batch.ids[batch.mask > 0].tolist()
    epochs = consecutive_epochs(seen, len(targets))
    assert all(sorted(epoch) == targets for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_an_epoch_of_pairs_holds_every_pair_once() -> None:
    source = pairs()
    names = [name for _ in range(8) for name in next(source).names]
    epochs = consecutive_epochs([int(name.split()[-1]) for name in names], len(PAIRS))
    assert [name.split(",")[0] for name in names[:15]] == [f"epoch {i // 5}" for i in range(15)]
    assert all(sorted(epoch) == list(range(len(PAIRS))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_seed_decides_the_order() -> None:
    assert same(next(packed(seed=3)), next(packed(seed=3)))
    assert not same(next(packed(seed=3)), next(packed(seed=4)))
    assert not same(next(pairs(seed=3)), next(pairs(seed=4)))


def test_other_data_is_refused() -> None:
    others = [ITEMS[1], *ITEMS[1:]]
    for source in (packed(items=others), packed(items=ITEMS[1:])):
        with pytest.raises(UserError, match="the data changed since the checkpoint"):
            source.load_state_dict(packed().state_dict())
    with pytest.raises(UserError, match="the data changed"):
        pairs(data=[PAIRS[1], *PAIRS[1:]]).load_state_dict(pairs().state_dict())
    with pytest.raises(UserError, match="the seed changed since the checkpoint"):
        packed(seed=4).load_state_dict(packed().state_dict())
    with pytest.raises(UserError, match="the split changed since the checkpoint"):
        packed(split=False).load_state_dict(packed(items=SHORT).state_dict())


def test_shapes_and_types() -> None:
    for batch, shape in ((next(packed()), (2, 10)), (next(pairs()), (2, 2, 32))):
        assert batch.ids.shape == batch.mask.shape == batch.segments.shape == shape
        assert (batch.ids.dtype, batch.mask.dtype, batch.segments.dtype) == (torch.int64, torch.float32, torch.int32)
        assert len(batch.names) == len(batch) == 2
        assert not batch.mask[..., 0].any()
        assert not batch.mask[batch.segments < 0].any()
    assert next(packed()).tokens == 20
    assert next(iter(packed())).to("cpu").names


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 9), parts=st.integers(1, 9), paired=st.booleans())
def test_micro_batches_together_are_the_batch(rows: int, parts: int, paired: bool) -> None:
    shape = (rows, 2, 4) if paired else (rows, 4)
    ids = torch.arange(rows * (8 if paired else 4)).reshape(shape)
    extra = {"reward": torch.arange(rows) / 2, "reference": torch.rand(rows, 3)}
    batch = Batch(ids, ids / 7, (ids % 3 - 1).int(), extra, tuple(map(str, range(rows))))
    if parts > rows:
        with pytest.raises(UserError, match="cannot be split"):
            batch.split(parts)
        return
    micro = batch.split(parts)
    assert max(map(len, micro)) - min(map(len, micro)) <= 1
    assert sum(m.tokens for m in micro) == batch.tokens
    joined = Batch(
        torch.cat([m.ids for m in micro]),
        torch.cat([m.mask for m in micro]),
        torch.cat([m.segments for m in micro]),
        {name: torch.cat([m.extra[name] for m in micro]) for name in extra},
        tuple(name for m in micro for name in m.names),
    )
    assert same(joined, batch)


def test_one_pass_in_order() -> None:
    batches = list(sequential(ListItems(ITEMS), batch_size=3, length=10, pad_id=0, split=True))
    assert [len(b) for b in batches] == [3, 3, 2]
    targets = [t for b in batches for t, m in zip(b.ids.flatten().tolist(), b.mask.flatten().tolist()) if m]
    assert targets == [t for item in ITEMS for t in item.ids[1:]]
    again = list(sequential(ListItems(ITEMS), batch_size=1, length=10, pad_id=0, split=True))
    assert torch.equal(torch.cat([b.ids for b in again]), torch.cat([b.ids for b in batches]))


@pytest.mark.parametrize(("longest", "length", "width"), [(2, 100, 32), (32, 100, 32), (33, 100, 64), (70, 80, 80)])
def test_pairs_are_padded_to_few_widths(longest: int, length: int, width: int) -> None:
    chosen = Rendered([5, 6], [1, 1])  # the first token has weight, yet nothing predicts it
    batch = collate_pairs([(chosen, rendered(9, longest))], length=length, pad_id=7)
    assert batch.ids.shape == (1, 2, width)
    assert batch.ids[0, 0, :3].tolist() == [5, 6, 7]
    assert batch.mask[0, 0].tolist() == [0, 1, *[0] * (width - 2)]
    assert batch.segments[0, 1].tolist() == [0] * longest + [-1] * (width - longest)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: packed(items=[Rendered([1, 2], [0, 0])]), "no token to learn"),
        (lambda: packed(items=[rendered(0, 11)], split=False), "item 0 has 11 tokens"),
        (lambda: pairs(data=[]), "no preference pairs"),
        (lambda: pairs(data=[(rendered(0, 3), Rendered([1, 2], [1, 0]))]), "pair 0, rejected: no token to learn"),
        (lambda: pairs(data=[(rendered(0, 41), rendered(0, 2))]), "pair 0, chosen: 41 tokens do not fit in 40"),
        (lambda: PairBatches(PAIRS, batch_size=0, length=40, pad_id=0, seed=0), "batch_size 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        make()


LONG = [Rendered(list(range(1000 * i, 1000 * i + 90)), [0] + [1] * 89) for i in range(9)]


def dealt(group: int, monkeypatch: pytest.MonkeyPatch) -> PackedBatches:
    monkeypatch.setattr(pack, "GROUP", group)
    return PackedBatches(ListItems(LONG), batch_size=1, length=10, pad_id=0, seed=0, split=True)


def test_rows_of_a_long_document_are_dealt_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, nearly every row goes on with the document of the row before; dealt, one in nine does."""

    def same_again(group: int) -> int:
        rows = [int(batch.ids[0, 0]) // 1000 for batch in itertools.islice(dealt(group, monkeypatch), 70)]
        return sum(a == b for a, b in itertools.pairwise(rows))

    assert same_again(1) > 55
    assert same_again(64) < 20


@pytest.mark.parametrize("group", [1, 7, 64, 1000])
def test_dealt_rows_are_an_epochs_and_go_on_exactly(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, states, batches = dealt(group, monkeypatch), [], []
    targets = sorted(token for item in LONG for token in item.ids[1:])
    while source.epoch < 2.2:
        states.append(json.loads(json.dumps(source.state_dict())))
        batches.append(next(source))
    seen = [token for batch in batches for token in batch.ids[batch.mask > 0].tolist()]
    assert sorted(seen[: len(targets)]) == sorted(seen[len(targets) : 2 * len(targets)]) == targets
    for state, batch, after in zip(states, batches, batches[1:]):
        again = dealt(group, monkeypatch)
        again.load_state_dict(state)
        assert same(next(again), batch)
        assert same(next(again), after)
