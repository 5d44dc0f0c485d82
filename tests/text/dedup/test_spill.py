"""Groups that pass through files are those of a dictionary, however uneven the keys."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from danlu.text.dedup import spill as module
from danlu.text.dedup.spill import ByDocument, Spill, repeated, spans, split, starts, write_by_task

RECORD = np.dtype([("key", "<u8"), ("doc", "<u4")])
RANDOM = np.random.default_rng(0)
KEYS = {
    "even": RANDOM.integers(0, 2**64, 3000, dtype=np.uint64),
    "few": RANDOM.integers(0, 40, 3000, dtype=np.uint64) * np.uint64(2**57),
    "low": RANDOM.integers(0, 300, 3000, dtype=np.uint64),
    "one": np.full(3000, 12345, np.uint64),
    "none": np.empty(0, np.uint64),
}


def records(keys: np.ndarray) -> np.ndarray:
    return np.rec.fromarrays([keys, np.arange(len(keys))], dtype=RECORD)


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("expected", [0, 3000])
def test_buckets_hold_whole_keys_in_order(
    keys: np.ndarray, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUCKET", 1200)  # a hundred records
    spill = Spill(tmp_path / "s", RECORD, expected)
    for part in np.array_split(records(keys), 7):
        spill.add(part)
    wanted = defaultdict(list)
    for number, key in enumerate(keys.tolist()):
        wanted[key].append(number)
    for _ in range(2):  # they can be read again
        found, last = defaultdict(list), -1
        for bucket in spill.buckets():
            assert 0 < bucket.nbytes <= 2 * 1200 + 12
            assert int(bucket["key"].min()) >= last
            last = int(bucket["key"].max())
            for key, number in bucket.tolist():
                # A key that fills several lots comes with its first record again in each.
                if not (found[key] and number == found[key][0]):
                    found[key].append(number)
        assert found == wanted
    assert spill.size == len(keys)
    spill.remove()
    assert not any(tmp_path.iterdir())


def test_repeated_keeps_order_and_split_loses_nothing() -> None:
    given = records(np.array([5, 1, 5, 2, 1, 5, 9], np.uint64))
    assert repeated(given).tolist() == [(1, 1), (1, 4), (5, 0), (5, 2), (5, 5)]
    assert split(given)[0].tolist() == [(2, 3), (9, 6)]
    assert len(repeated(given[:0])) == 0


def test_starts_and_spans() -> None:
    assert starts(np.array([3, 3, 4, 7, 7])).tolist() == [0, 2, 3]
    assert spans(np.array([10, 0, 5]), np.array([3, 0, 2])).tolist() == [10, 11, 12, 5, 6]


def test_lots_come_by_document_and_are_written_by_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUCKET", 600)
    kind, cut = np.dtype([*RECORD.descr, ("value", "<u4")]), np.dtype([("row", "<u4"), ("value", "<u4")])
    rng = np.random.default_rng(1)
    docs, values = np.append(rng.integers(0, 50, 800), [7] * 100), rng.integers(0, 1000, 900)
    spill = ByDocument(tmp_path / "s", kind, 50, 900)
    spill.add(np.rec.fromarrays([np.zeros(900), docs, values], dtype=kind))
    lots = list(spill.lots())
    assert len(lots) > 5
    assert [len({*docs} & {*other}) for docs, other in pairwise([lot["doc"].tolist() for lot in lots])] == [0] * (
        len(lots) - 1
    )
    order = np.concatenate([lot["doc"] for lot in lots])
    assert (np.diff(order.astype(int)) >= 0).all()
    bases = np.array([0, 20, 20, 49, 50])
    write_by_task(
        tmp_path, "cuts", bases, (np.rec.fromarrays([lot["doc"], lot["value"]], dtype=cut) for lot in lots), cut
    )
    found = [
        (row + int(bases[task]), value)
        for task in range(4)
        for row, value in np.fromfile(tmp_path / f"{task:05d}.cuts", cut).tolist()
    ]
    assert sorted(found) == sorted(zip(docs.tolist(), values.tolist(), strict=True))
    assert not np.fromfile(tmp_path / "00001.cuts", cut).size
