"""Rows for tasks with labels: framed as transformers frames them, cut into windows, dealt in fixed shares."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.text.sample import Sample
from danlu.tokens.examples import Example, ExampleBatches, collate, collate_groups
from danlu.tokens.frames import RowFrame, cut
from danlu.tokens.labelled import Encoder, _word_windows
from tests.task_world import PEOPLE, tokenizer

LONG = " ".join(PEOPLE * 3)


def encoder(length: int = 16, *, causal: bool = False, stride: int = 0) -> Encoder:
    return Encoder(tokenizer(encoder=not causal), causal=causal, length=length, stride=stride, types=2)


def test_a_row_is_what_transformers_makes(tmp_path: Path) -> None:
    tokenizer(encoder=True).save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    samples = [
        Sample("", "the tea"),
        Sample("", "Anna walks", "to Rome"),
        Sample("", LONG, "the tea"),
        Sample("", "tea", LONG),
    ]
    for sample, row in zip(samples, encoder().texts(samples), strict=True):
        expected = theirs(
            sample.text, sample.pair, truncation="longest_first", max_length=16, return_token_type_ids=True
        )
        assert row.ids == expected["input_ids"]
        assert row.values["types"] == expected["token_type_ids"]
        assert row.owner == samples.index(sample)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 50))
def test_two_texts_are_cut_fairly(a: int, b: int, room: int) -> None:
    first, second = cut([1] * a, [2] * b, room)
    assert len(first) + len(second) == min(a + b, room)
    if a + b > room:  # what is cut was the longer, and stays no shorter than the other
        assert len(first) == a or len(first) >= len(second) - 1
        assert len(second) == b or len(second) >= len(first) - 1


def test_a_decoder_gets_no_padding_at_its_end_and_a_line_break_between() -> None:
    plain = tokenizer(encoder=False)
    frame = RowFrame.of(plain, causal=True)
    assert frame.single([7, 8]) == ([7, 8], [0, 0])
    assert frame.room(16) == 16
    assert frame.between == tuple(plain.encode("\n"))
    padded = tokenizer(encoder=True).with_config(pad_token="[SEP]")
    assert RowFrame.of(padded, causal=True).after == ()
    assert RowFrame.of(padded, causal=False).after == (3,)


def test_every_word_counts_once_and_where_it_has_more_around_it() -> None:
    words = tuple(PEOPLE * 4)
    rows = encoder(16, stride=4).words([Sample("", words=words)])
    assert len(rows) == 3
    seen = [place for row in rows for place in row.places if place >= 0]
    assert seen == list(range(32))
    assert all(len(row.ids) <= 16 and row.ids[0] == 2 and row.ids[-1] == 3 for row in rows)
    first, second = rows[0], rows[1]
    assert first.ids[11:15] == second.ids[1:5]  # four words in both: two count in each
    assert [place >= 0 for place in first.places[11:15]] == [True, True, False, False]
    assert [place >= 0 for place in second.places[1:5]] == [False, False, True, True]
    for row in rows:
        assert all(
            row.ids[i] == tokenizer(encoder=True).encode(words[p])[0] for i, p in enumerate(row.places) if p >= 0
        )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 20), st.integers(0, 8))
def test_windows_of_words_cover_all(sizes: list[int], room: int, stride: int) -> None:
    windows = list(_word_windows(sizes, room, stride))
    assert [word for begin, end, own, last in windows for word in range(own, last)] == list(range(len(sizes)))
    for begin, end, own, last in windows:
        assert begin <= own <= last <= end
        assert sum(sizes[begin:end]) <= room


def test_words_keep_their_spaces() -> None:
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers

    from danlu.tokens.tokenizer import Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Core(models.BPE({letter: i for i, letter in enumerate([*letters, "<e>"])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise = Encoder(Tokenizer(core, {"eos_token": "<e>"}), causal=True, length=64)
    (row,) = bytewise.words([Sample("", words=("ab", "cd", "王", "x"))])
    assert [bytewise.tokenizer.token(i) for i in row.ids] == ["a", "b", "Ġ", "c", "d", *"çİĭ", "x"]
    assert row.places == (0, -1, 1, -1, -1, 2, -1, -1, 3)


def test_contexts_come_in_overlapping_windows() -> None:
    sample = Sample("", "who ?", LONG, answers=(("Hana", LONG.index("Hana")),))
    rows = encoder(16, stride=4).questions([sample])
    assert len(rows) == 3
    assert all(row.ids[:4] == rows[0].ids[:4] for row in rows)  # [CLS] who ? [SEP]
    texts = [[LONG[a:b] for a, b in row.places if b > a >= 0] for row in rows]
    assert texts[0] == list(PEOPLE * 3)[:11]
    assert texts[1][:4] == texts[0][-4:]
    assert texts[2][-1] == "Hana"
    (short,) = encoder(16).questions([Sample("", "who ?", "Anna")])
    assert short.places[4:] == ((0, 4), (-1, -1))


def test_batches_are_padded_and_fill_in_what_other_tasks_have() -> None:
    a, b = (
        Example([5, 6, 7], {"label": 2, "types": [0, 0, 1]}),
        Example([8] * 9, {"tags": [3] * 9, "target": [1.0, 0.0]}),
    )
    batch = collate([a, b], pad_id=1)
    assert batch.ids.shape == (2, 16)
    assert batch.ids[0].tolist() == [5, 6, 7] + [1] * 13
    assert batch.segments[0].tolist() == [0] * 3 + [-1] * 13
    assert batch.mask.sum(1).tolist() == [3, 9]
    assert batch.extra["label"].tolist() == [2, -1]
    assert batch.extra["tags"][0].eq(-1).all()
    assert batch.extra["types"][0].sum() == 1
    assert batch.extra["target"].tolist() == [[0, 0], [1, 0]]
    pairs = [Example([n], {"degree": n / 4}, sides=([n, n], [9])) for n in range(4)]
    grouped = collate_groups(pairs, ["a", "b", "c", "d"], pad_id=1, group=2)
    assert grouped.ids.shape == (2, 2, 3, 8)
    assert grouped.ids[1, 0, 1, :3].tolist() == [2, 2, 1]
    assert grouped.extra["degree"].tolist() == [[0, 0.25], [0.5, 0.75]]
    assert grouped.names == ("a; b", "c; d")


def source(tasks: dict[str, list[Example]], **changes: Any) -> ExampleBatches:
    return ExampleBatches(tasks, **{"batch_size": 4, "seed": 0, "collate": lambda rows, names: (rows, names)} | changes)


def test_an_epoch_is_every_row_once_in_another_order_each_time() -> None:
    rows = [Example([n] * (1 + n % 7)) for n in range(23)]
    deal = source({"a": rows})
    dealt = [row for _ in range(23) for row in next(deal)[0]]
    for epoch in range(4):
        assert sorted(row.ids[0] for row in dealt[epoch * 23 : epoch * 23 + 23]) == list(range(23))
    assert [r.ids[0] for r in dealt[:23]] != [r.ids[0] for r in dealt[23:46]]
    assert deal.epoch == 4


def test_rows_of_similar_length_come_together() -> None:
    rows = [Example([0] * int(n)) for n in np.random.default_rng(0).permutation(64) + 1]
    spread = [max(map(len, part)) - min(map(len, part)) for part, _ in (next(source({"a": rows})) for _ in range(1))]
    deal = source({"a": rows})
    spread = [max(map(len, part)) - min(map(len, part)) for part, _ in (next(deal) for _ in range(16))]
    assert max(spread) == 3


def test_shares_hold_at_every_moment() -> None:
    tasks = {"a": [Example([1])] * 50, "b": [Example([2])] * 10}
    deal = source(tasks, shares={"a": 0.7, "b": 0.3})
    for _ in range(25):
        next(deal)
        total = sum(deal.dealt.values())
        assert abs(deal.dealt["a"] - 0.7 * total) <= 1


def test_a_state_is_all_there_is() -> None:
    rows = {"a": [Example([n] * (1 + n % 5), {"label": n}) for n in range(17)], "b": [Example([9])] * 5}
    whole, cut_ = source(rows), source(rows)
    for _ in range(7):
        next(whole)
    cut_.load_state_dict(whole.state_dict())
    assert [next(whole) for _ in range(9)] == [next(cut_) for _ in range(9)]
    other = {**rows, "a": [*rows["a"][:-1], Example([1], {"label": 3})]}
    for changed, what in (
        (source(other), "data"),
        (source(rows, seed=1), "seed"),
        (source(rows, batch_size=5), "batch size"),
    ):
        with pytest.raises(UserError, match=f"the {what} changed since the checkpoint"):
            changed.load_state_dict(whole.state_dict())


def test_what_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(UserError, match="a: there is nothing to learn from"):
        source({"a": []})
    with pytest.raises(UserError, match="leaves no room for a text"):
        encoder(6)
    assert torch.equal(collate([Example([1])], pad_id=0).ids[0, :1], torch.tensor([1]))
