import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems, Packer, Row, ShardItems
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
