import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import BestFit, ListItems, Packer, Row, ShardItems, best_fit
from danlu.tokens.shards import write_shards

PAD = 999
LENGTHS = st.lists(st.integers(0, 23), min_size=1, max_size=12)


def items_of(lengths: list[int]) -> ListItems:
    """Items whose ids say which item and place they are; targets are those with an odd place."""
    return ListItems(
        [Rendered([100 * i + t for t in range(n)], [t % 2 for t in range(n)]) for i, n in enumerate(lengths)]
    )


def rows_of(items: ListItems, length: int, split: bool) -> list[Row]:
    packer = Packer(items, lambda _: range(len(items)), length=length, pad_id=PAD, split=split, epochs=1)
    return list(iter(packer.row, None))


def segments_of(row: Row) -> list[tuple[list[int], list[float]]]:
    count = int(row.segments.max()) + 1
    places = [np.flatnonzero(row.segments == s) for s in range(count)]
    assert all(place.size and (np.diff(place) == 1).all() for place in places)
    return [(row.ids[place].tolist(), row.mask[place].tolist()) for place in places]


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 30), split=st.booleans())
def test_every_token_is_there_and_every_target_counts_once(lengths: list[int], length: int, split: bool) -> None:
    assume(max(lengths) > 1 and (split or max(lengths) <= length))
    items = items_of(lengths)
    rows = rows_of(items, length, split)
    found: list[list[int]] = []
    targets: list[int] = []
    for row in rows:
        assert row.ids.shape == row.mask.shape == row.segments.shape == (length,)
        padding = row.segments == -1
        assert (row.ids[padding] == PAD).all()
        assert not row.mask[padding].any()
        assert not np.flatnonzero(np.diff(padding.astype(int)) < 0).size  # padding is at the end
        for ids, mask in segments_of(row):
            assert mask[0] == 0
            assert mask[1:] == [t % 100 % 2 for t in ids[1:]]
            targets += [t for t, m in zip(ids, mask) if m]
            if found and ids[0] == found[-1][-1]:  # continued: its first token is context seen before
                found[-1] += ids[1:]
            else:
                found.append(ids)
    wanted = [items[i][0].tolist() for i in range(len(items)) if len(items[i][0])]
    assert found == wanted
    assert targets == [t for ids in wanted for t in ids if t % 100 % 2]
    if split:
        assert all((row.segments >= 0).all() for row in rows[:-1])


def test_golden_rows() -> None:
    """Worked out by hand: items of 3, 6 and 2 tokens in rows of 4."""
    items = items_of([3, 6, 2])
    split = rows_of(items, 4, split=True)
    assert [row.ids.tolist() for row in split] == [
        [0, 1, 2, 100],
        [100, 101, 102, 103],
        [103, 104, 105, 200],
        [200, 201, PAD, PAD],
    ]
    assert [row.segments.tolist() for row in split] == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, -1]]
    assert [row.mask.tolist() for row in split] == [[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert split[2].name == "epoch 0, items 1[3:6], 2[0:1]"
    whole = rows_of(items, 6, split=False)
    assert [row.segments.tolist() for row in whole] == [[0, 0, 0, -1, -1, -1], [0] * 6, [0, 0, -1, -1, -1, -1]]
    assert [row.name for row in whole] == ["epoch 0, items 0", "epoch 0, items 1", "epoch 0, items 2"]


def test_shards_are_items_whose_every_id_is_a_target(tmp_path_factory: pytest.TempPathFactory) -> None:
    shards = write_shards([([5, 6, 7], 3), ([8], 1)], tmp_path_factory.mktemp("s"), 10)
    items = ShardItems(shards)
    assert (len(items), items.tokens, items.digest) == (2, 4, shards.digest)
    assert [(a.tolist(), b.tolist()) for a, b in (items[0], items[1])] == [([5, 6, 7], [1, 1, 1]), ([8], [1])]


def test_the_digest_of_a_list_is_of_ids_borders_and_masks() -> None:
    made = [ListItems([Rendered(*pair) for pair in pairs]).digest for pairs in (
        [([1, 2], [0, 1])], [([1, 2], [1, 1])], [([1, 3], [0, 1])], [([1], [0]), ([2], [1])],
    )]  # fmt: skip
    assert len(set(made)) == 4
    assert ListItems([Rendered([1, 2], [0, 1])]).digest == made[0]


@pytest.mark.parametrize(
    ("items", "length", "split", "problem"),
    [
        ([], 8, True, "no token to learn"),
        ([Rendered([1, 2, 3], [1, 0, 0])], 8, True, "no token to learn"),  # a first token is never predicted
        ([Rendered([1], [1])] * 3, 8, False, "no token to learn"),
        ([Rendered([1, 2], [0, 1])], 1, True, "predicts nothing"),
        ([Rendered([1, 2], [0, 1]), Rendered([1, 2, 3], [0, 1, 1])], 2, False, "item 1 has 3 tokens and a row 2"),
    ],
)
def test_what_teaches_nothing_is_refused(items: list[Rendered], length: int, split: bool, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        rows_of(ListItems(items), length, split)


# -- best fit


def fitted(items: ListItems, length: int, split: bool, epochs: int = 1, seed: int = 0) -> list[Row]:
    """All rows of the first epochs."""
    packer = best_fit_of(items, length, split, seed)
    rows = []
    while packer.epoch < epochs:
        rows.append(packer.row())
    return [row for row in rows if int(row.name.split()[1].rstrip(",")) < epochs]  # the last items may be empty


def best_fit_of(items: ListItems, length: int, split: bool, seed: int = 0) -> BestFit:
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(len(items))

    def shuffle(epoch: int, position: int, count: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch, position, 1]).permutation(count)

    return BestFit(items, order, shuffle, length=length, pad_id=PAD, split=split)


@settings(max_examples=80, deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 30), split=st.booleans(), window=st.sampled_from([1, 3, 100]))
def test_best_fit_loses_no_token_and_cuts_only_what_is_too_long(
    lengths: list[int], length: int, split: bool, window: int
) -> None:
    assume(max(lengths) > 1 and (split or max(lengths) <= length))
    items = items_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("danlu.tokens.pack.WINDOW", window)
        rows = fitted(items, length, split)
    pieces: dict[int, list[list[int]]] = {}
    for row in rows:
        padding = row.segments == -1
        assert (row.ids[padding] == PAD).all()
        assert not row.mask[padding].any()
        for ids, mask in segments_of(row):
            assert mask == [0, *(t % 100 % 2 for t in ids[1:])]
            pieces.setdefault(ids[0] // 100, []).append(ids)
    for item, size in enumerate(lengths):
        found = sorted(pieces.get(item, []))
        assert len(found) == (0 if not size else 1 if size <= length else -(-(size - 1) // (length - 1)))
        # every token is there, and but for the one that is seen again, once: so every target counts once
        assert [t for piece in found for t in piece[piece is not found[0] :]] == items[item][0].tolist()
        assert all(a[-1] == b[0] for a, b in itertools.pairwise(found))


def naive(sizes: list[int], room: int) -> list[list[int]]:
    """Best-fit decreasing, looking at every row; of rows equally full the one that was touched last."""
    rows: list[list[int]] = []
    touched: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fits = [r for r in range(len(rows)) if sum(sizes[j] for j in rows[r]) + sizes[i] <= room]
        if fits:
            row = min(fits, key=lambda r: (room - sum(sizes[j] for j in rows[r]), -touched.index(r)))
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(i)
        touched = [*(r for r in touched if r != row), row]
    return rows


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), max_size=25))
def test_rows_are_those_of_a_search_through_all(sizes: list[int]) -> None:
    found = best_fit(sizes, 12)
    assert found == naive(sizes, 12)
    assert sorted(i for row in found for i in row) == list(range(len(sizes)))


def test_golden_best_fit() -> None:
    """Worked out by hand: 9 tokens are cut in 6 and 4 (one seen again); 4 with 2 and 3 with 3 fill a row each."""
    rows = fitted(items_of([3, 9, 2, 3]), 6, split=True)
    assert sorted(sorted(segment[0] for segment in segments_of(row)) for row in rows) == [
        [[0, 1, 2], [300, 301, 302]],
        [[100, 101, 102, 103, 104, 105]],
        [[105, 106, 107, 108], [200, 201]],
    ]
    assert all((row.segments >= 0).all() for row in rows)
    assert any(row.name == "epoch 0, items 1[5:9], 2" for row in rows)


def test_best_fit_goes_on_at_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.tokens.pack.WINDOW", 5)
    items = items_of([3, 17, 0, 1, 8, 2, 30, 5, 0, 0, 0, 0, 0, 9, 4, 11])
    whole = [row.ids.tolist() for row in fitted(items, 10, split=True, epochs=3)]
    last = -1.0
    for done in range(len(whole)):
        packer = best_fit_of(items, 10, split=True)
        for _ in range(done):
            packer.row()
        assert packer.progress > last
        last = packer.progress
        again = best_fit_of(items, 10, split=True)
        again.load(packer.state())
        assert again.state().keys() == {"epoch", "position", "number"}
        assert [again.row().ids.tolist() for _ in range(min(4, len(whole) - done))] == whole[done : done + 4]


def test_best_fit_cuts_fewer_documents_and_pads_next_to_nothing() -> None:
    """Lengths like the web's (log-normal, median 400): the numbers are in LOG.md."""
    draw = np.random.default_rng(0)
    lengths = np.clip(np.exp(draw.normal(np.log(400), 1.1, 3000)), 8, 8000).astype(int)
    items = ListItems([Rendered([1] * n, [1] * n) for n in lengths.tolist()])
    length, must = 1024, int((lengths > 1024).sum())
    kinds = {"concat": rows_of(items, length, split=True), "best_fit": fitted(items, length, split=True)}
    padding = {name: float(np.mean([(row.segments < 0).mean() for row in rows])) for name, rows in kinds.items()}
    pieces = {name: sum(int(row.segments.max()) + 1 for row in rows) for name, rows in kinds.items()}
    needed = sum(max(-(-(n - 1) // (length - 1)), 1) for n in lengths.tolist())
    assert pieces["best_fit"] == needed
    assert pieces["concat"] > needed + must / 2
    assert padding["best_fit"] < 0.01
    assert len(kinds["best_fit"]) < 1.01 * len(kinds["concat"])
