"""Clean documents on disk: Parquet shards of ``text, id, source, meta``, each wholly there or not at all.

Row groups are bounded by the text in them, so a reader's memory is too; the same documents give the same bytes.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.base.errors import UserError
from danlu.base.files import atomic
from danlu.text.document import Document

SCHEMA = pa.schema([(name, pa.large_string() if name == "text" else pa.string()) for name in Document.__annotations__])
ROW_GROUP_BYTES, SHARD_BYTES = 8 << 20, 256 << 20


class Shards:
    """A writer of ``00000.parquet``, ``00001.parquet``, … in ``folder``; use it in a ``with`` statement.

    ``documents`` and ``bytes`` count what was added. ``prefix`` keeps the writers of several tasks apart.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: str = "",
        row_group_bytes: int = ROW_GROUP_BYTES,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder, self.prefix = folder, prefix
        self.row_group_bytes, self.shard_bytes = row_group_bytes, shard_bytes
        self.documents = self.bytes = 0
        self._shard = self._in_shard = self._pending_bytes = 0
        self._pending: list[dict[str, str]] = []
        self._open = ExitStack()
        self._writer: Any = None

    def add(self, document: Document) -> None:
        """Append one document."""
        size = document.bytes
        meta = json.dumps(document.meta, ensure_ascii=False, sort_keys=True)
        self._pending.append({"text": document.text, "id": document.id, "source": document.source, "meta": meta})
        self._pending_bytes += size
        self.documents, self.bytes = self.documents + 1, self.bytes + size
        if self._pending_bytes >= self.row_group_bytes:
            self._flush()
        if self._in_shard >= self.shard_bytes:
            self._close_shard()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            handle = self._open.enter_context(atomic(self.folder / f"{self.prefix}{self._shard:05d}.parquet", "wb"))
            self._writer = self._open.enter_context(pq.ParquetWriter(handle, SCHEMA, compression="zstd"))
        self._writer.write_table(pa.Table.from_pylist(self._pending, SCHEMA))
        self._in_shard += self._pending_bytes
        self._pending, self._pending_bytes = [], 0

    def _close_shard(self) -> None:
        self._open.close()
        self._writer, self._in_shard, self._shard = None, 0, self._shard + 1

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._flush()
            self._close_shard()
        else:
            self._open.__exit__(kind, error, at)  # the unfinished shard goes; finished ones stay


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents that `Shards` wrote in ``folder``, in order, a row group in memory at a time."""
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise UserError("holds no Parquet shards", where=folder, remedy="Give a folder that 'danlu clean' wrote")
    for shard in shards:
        try:
            file = pq.ParquetFile(shard)
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group, columns=SCHEMA.names).to_pylist():
                    yield Document(row["text"], row["id"], row["source"], json.loads(row["meta"]))
        except (pa.ArrowException, KeyError, ValueError) as error:
            problem = f"not a shard of documents ({error})"
            raise UserError(problem, where=shard, remedy="Run 'danlu clean' again") from None
