"""Parquet: the columns that a document is made of, a few rows at a time.

Memory is bounded by what lies in one page of a column and in one batch; a row group is never held as a whole.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.text.document import Document
from danlu.text.reading.decode import Decoder
from danlu.text.reading.faults import Faults, reason
from danlu.text.reading.parts import BLOCK, Part
from danlu.text.reading.record import NESTED, Records, wrong_column
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import opened

BATCH_ROWS, BATCH_BYTES = 64, 8 << 20  # 64 rows cost no more than 1,000 at a time would, measured on 3 kB each
DAMAGE = (pa.ArrowException, EOFError, MemoryError, OSError, ValueError)  # what pyarrow raises for bad files


def parquet(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The documents of a Parquet file, or of some of its row groups."""
    decoder = Decoder(reading.encoding)
    records = Records(part, reading, faults, decoder)
    with opened(part) as handle:
        number = part.first - 1
        try:
            # As set here a column is read page by page; by default whole row groups are fetched (286 MB against 129
            # for a file of one row group of 163 MB).
            file = pq.ParquetFile(handle, buffer_size=BLOCK, pre_buffer=False)
            names = file.schema_arrow.names
            if reading.text_column not in names:
                faults.file(f"{wrong_column(reading, names)}; skipped")
                return
            groups = range(part.start, file.num_row_groups if part.end is None else part.end)
            columns = _columns(names, reading)
            for batch in file.iter_batches(_rows(file.metadata), list(groups), columns, use_threads=False):
                for number, record in enumerate(_records(batch), number + 1):  # noqa: B020
                    document = records.document(record, number)
                    if document is not None:
                        yield document
        except DAMAGE as error:
            faults.file(f"damaged Parquet after row {number} ({reason(error)}); the rest was skipped", cut=True)
    records.close()
    decoder.tell(faults)


def _columns(names: list[str], reading: Reading) -> list[str]:
    wanted = [reading.text_column, *reading.id_columns, *reading.url_columns, *reading.date_columns]
    return [name for name in dict.fromkeys([*wanted, *reading.title_columns, *NESTED]) if name in names]


def _rows(metadata: Any) -> int:
    """Rows in a batch: few where they are long."""
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(1, min(BATCH_ROWS, BATCH_BYTES * metadata.num_rows // max(1, size)))


def _records(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a batch."""
    columns = [_values(column) for column in batch.columns]
    return (dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: Any) -> list[Any]:
    """A column's values. Strings come as bytes where one of them is not UTF-8, for the decoder to judge."""
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if pa.types.is_timestamp(column.type):  # Python knows no nanoseconds
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        string = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        return column.cast(pa.large_binary()).to_pylist() if string else [None] * len(column)
    except (ValueError, OverflowError):  # something nested that Python cannot express
        return [None] * len(column)
