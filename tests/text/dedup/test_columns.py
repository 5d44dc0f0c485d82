"""Columns come back as they went to disk, from several parts under one numbering."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.dedup import columns as module
from danlu.text.dedup.columns import Columns, Shelf, batches, place, prefixes, workplace
from tests.text.dedup.running import documents


def test_batches_lose_nothing_and_are_bounded() -> None:
    given = documents(["x" * n for n in (5, 3, 0, 40, 1, 1, 1)])
    found = list(batches(given, 10))
    assert [document for batch in found for document in batch] == given
    assert [len(batch) for batch in found] == [2, 2, 3]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(module, "BLOCK", 3)
    monkeypatch.setattr(module, "OPEN_FILES", 2)
    number = 0
    for task, rows in enumerate((4, 0, 7)):
        with Columns(prefixes(tmp_path, 3)[task]) as columns:
            for _ in range(rows):
                columns.add("flat", np.array([number, number + 100], np.uint64))
                columns.add_ragged("ragged", np.full(number % 3, number, np.uint16), np.array([number % 3]))
                columns.add_texts("ids", [f"号{number}"])
                number += 1
    with Shelf(prefixes(tmp_path, 3)) as opened:
        yield opened


def test_rows_come_back(shelf: Shelf) -> None:
    assert shelf.size == 11
    assert shelf.bases.tolist() == [0, 4, 4, 11]
    for number in (0, 10, 3, 4, 7):
        assert shelf.row("ragged", np.uint16, number).tolist() == [number] * (number % 3)
        assert shelf.id(number) == f"号{number}"


@pytest.mark.parametrize("dense", [0, 1, 64])
@pytest.mark.parametrize("numbers", [[], [0], [10], [3, 4], [0, 3, 4, 7, 10], [1, 2, 8], list(range(11))], ids=str)
def test_several_rows_come_back_at_once(
    shelf: Shelf, numbers: list[int], dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE", dense)
    values, ends = shelf.rows("ragged", np.uint16, np.array(numbers, np.uint64))
    assert [part.tolist() for part in np.split(values, ends)][: len(numbers)] == [[n] * (n % 3) for n in numbers]
    assert shelf.lengths("ragged", np.array(numbers, np.uint64)).tolist() == [n % 3 for n in numbers]


def test_blocks_come_back(shelf: Shelf) -> None:
    flat = [(first + i, row) for first, rows in shelf.blocks("flat", "<u8", 2) for i, row in enumerate(rows.tolist())]
    assert flat == [(n, [n, n + 100]) for n in range(11)]
    found = [
        (first + i, part.tolist())
        for first, values, ends in shelf.ragged_blocks("ragged", np.uint16, 4)
        for i, part in enumerate(np.split(values, ends[:-1]))
    ]
    assert found == [(n, [n] * (n % 3)) for n in range(11)]


def test_a_failed_look_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with Columns(tmp_path / "00000") as columns:
            columns.add_texts("ids", ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_short_file_is_named(tmp_path: Path) -> None:
    with Columns(tmp_path / "00000") as columns:
        columns.add_texts("ids", ["abc"])
    place(tmp_path / "00000", "ids").write_bytes(b"a")
    with Shelf([tmp_path / "00000"]) as shelf, pytest.raises(UserError, match=r"00000\.ids: is shorter than"):
        shelf.id(0)


def test_too_many_documents_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    with Columns(tmp_path / "00000") as columns:
        columns.add_texts("ids", ["a", "b"])
    with pytest.raises(UserError, match="2 documents are more"):
        Shelf([tmp_path / "00000"])


def test_a_workplace_is_clean_before_and_gone_after(tmp_path: Path) -> None:
    (tmp_path / "work" / "old").mkdir(parents=True)
    with workplace(tmp_path) as work:
        assert list(work.iterdir()) == []
    assert not work.exists()
