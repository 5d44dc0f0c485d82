"""Parquet against pyarrow's writer, in all the types that text comes in, and damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.text.report import Funnel
from tests.text.reading.making import documents, texts


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_types_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    values = [f"第{n}行" for n in range(300)]
    pq.write_table(
        pa.table({"text": pa.array(values).cast(kind), "n": range(300)}), tmp_path / "x.parquet", row_group_size=7
    )
    assert texts(tmp_path / "x.parquet") == values


def test_rows_without_text(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c"]}), path)
    tally = Funnel()
    assert [(d.text, d.id) for d in documents(path, tally=tally)] == [("a", f"{path}:1"), ("c", f"{path}:3")]
    assert tally.problems == [f"{path}, row 2: no text under 'text' (nothing); skipped"]
    pq.write_table(pa.table({"text": [1, 2]}), path)
    tally = Funnel()
    assert texts(path, tally=tally) == []
    assert tally.problems == [f"{path}, row {n}: no text under 'text' (a int); skipped" for n in (1, 2)]
    pq.write_table(pa.table({"body": ["a"]}), path)
    tally = Funnel()
    assert texts(path, tally=tally) == []
    assert tally.problems == [f"{path}: no 'text' (keys: body; text_column says which holds the text); skipped"]


def test_strings_that_are_not_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"good", "今天下午我们在图书馆里读了一本关于古代炼丹术的书".encode("gb18030")])
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())  # a writer that does not look
    pq.write_table(pa.table({"text": column, "url": ["u", "v"]}), tmp_path / "x.parquet")
    assert texts(tmp_path / "x.parquet") == ["good", "今天下午我们在图书馆里读了一本关于古代炼丹术的书"]


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(lambda data: data[:-20], 0), (lambda data: b"PAR1" + data[4:99], 0), (lambda data: b"", 0), (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", 0), (lambda data: data[:3000] + b"\xff" * 500 + data[3500:], 1)],
)  # fmt: skip
def test_damage(tmp_path: Path, damage: object, kept: int) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table({"text": [f"a row with its number {n}" for n in range(1000)]}),
        path,
        row_group_size=100,
        compression="none",
        use_dictionary=False,
    )
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    (tmp_path / "other.txt").write_text("other")
    tally = Funnel()
    found = texts(tmp_path, tally=tally)
    assert found[0] == "other"
    assert (len(found) > 1) == bool(kept)
    assert len(tally.problems) == 1
    assert tally.problems[0].startswith((f"{path}: damaged Parquet after row", f"{path}: empty file"))


def test_a_small_file_that_unpacks_to_much(tmp_path: Path) -> None:
    """A dictionary says the same megabyte five hundred times; rows come a few at a time."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 500), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    before = pa.default_memory_pool().max_memory()
    found = iter(documents(tmp_path / "x.parquet", max_record_bytes=1000))
    assert list(found) == []
    assert pa.default_memory_pool().max_memory() - before < 250_000_000
