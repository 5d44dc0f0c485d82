"""Shards: the same documents back, the same bytes again, nothing half-written."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.text.document import Document
from danlu.text.write import Shards, read_documents

DOCUMENTS = [Document(f"{n} 三国 " * 20, f"a.txt:{n}", "a.txt", {"title": "卷", "n": n}) for n in range(50)]


def write(folder: Path, **bounds: int) -> Shards:
    with Shards(folder, **bounds) as shards:
        for document in DOCUMENTS:
            shards.add(document)
    return shards


def test_round_trip(tmp_path: Path) -> None:
    shards = write(tmp_path)
    assert list(read_documents(tmp_path)) == DOCUMENTS
    assert (shards.documents, shards.bytes) == (50, sum(d.bytes for d in DOCUMENTS))


def test_same_documents_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert (tmp_path / "a/00000.parquet").read_bytes() == (tmp_path / "b/00000.parquet").read_bytes()


def test_groups_and_shards_are_bounded(tmp_path: Path) -> None:
    write(tmp_path, row_group_bytes=1000, shard_bytes=4000)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[:2] == ["00000.parquet", "00001.parquet"]
    file = pq.ParquetFile(tmp_path / names[0])
    assert file.num_row_groups > 1
    largest = max(DOCUMENTS, key=lambda d: d.bytes).bytes
    for group in range(file.num_row_groups):
        texts = file.read_row_group(group, columns=["text"])["text"].to_pylist()
        assert sum(len(text.encode()) for text in texts) < 1000 + largest
    assert list(read_documents(tmp_path)) == DOCUMENTS


def test_an_error_leaves_no_half_shard(tmp_path: Path) -> None:
    def fail() -> None:
        with Shards(tmp_path, row_group_bytes=1) as shards:
            shards.add(DOCUMENTS[0])
            assert list(tmp_path.iterdir())  # the working file
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_no_documents_no_shard(tmp_path: Path) -> None:
    with Shards(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="holds no Parquet shards"):
        list(read_documents(tmp_path))


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    shard = tmp_path / "00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"00000\.parquet: not a shard of documents"):
        list(read_documents(tmp_path))
