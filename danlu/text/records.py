"""Records out of JSONL, JSON, Parquet, CSV and what the library datasets saved, one dictionary at a time.

A record that cannot be parsed is counted, named in the report and skipped, up to a stated share of its file
(`BadRecords`). What a record means is the business of whoever reads it: `danlu.text.conversations`,
`danlu.text.pairs`. CSV needs a header line; all its values are text.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.text import saved
from danlu.text.report import Funnel

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
RECORD_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet", *TABLES)
JUDGED_FROM = 1000  # records; before that, the share is judged only at the end of the file
BATCH = 256  # Parquet rows in memory at a time
DELIMITERS = (",", ";", "\t")
LONGEST_FIELD = 1 << 27  # characters of a field in a table; more is a quotation mark that nobody closed


class BadRecords:
    """Counts a file's unreadable records and decides when they are too many.

    One is always forgiven, so that a slip in a file of three does not stop the run; beyond it, no more than
    ``share`` of the file, and never all of it. With a share of 0 the first one is an error.
    """

    def __init__(self, path: Path, share: float, tally: Funnel) -> None:
        self.path, self.share, self.tally = path, share, tally
        self.seen = self.count = 0
        self._first = ("", "")

    def good(self) -> None:
        """One more record that could be read."""
        self.seen += 1

    def bad(self, where: str, problem: str) -> None:
        """One more that could not; raises a `UserError` if that settles the file."""
        self.seen, self.count = self.seen + 1, self.count + 1
        if self.count == 1:
            self._first = (where, problem)
        self.tally.problem(f"{where}: {problem}; skipped")
        if self.share == 0 or self.seen >= JUDGED_FROM:
            self._judge()

    def close(self) -> None:
        """The file has ended."""
        if self.seen == 0:
            self.tally.problem(f"{self.path}: no records; skipped")
        if self.count and self.count == self.seen:
            raise self._error("not one record can be read")
        self._judge()

    def _judge(self) -> None:
        if self.count > max(1 if self.share else 0, self.share * self.seen):
            raise self._error(f"{self.count} of {self.seen} records are bad, more than bad_share={self.share} allows")

    def _error(self, verdict: str) -> UserError:
        where, problem = self._first
        return UserError(f"{problem}; {verdict}", where=where, remedy="Mend or delete the record, or raise bad_share")


def rows(source: str | Path, tally: Funnel, bad_share: float = 0.01) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a file, a folder, a folder that datasets saved, or ``datasets:NAME[:SPLIT]``, with their names."""
    if saved.is_named(source):
        yield from saved.named(str(source))
        return
    for path in files(source):
        yield from records(path, tally, bad_share)


def records(path: Path, tally: Funnel, bad_share: float = 0.01) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record of a file with the words that name it in an error ("chats.jsonl, line 3")."""
    counter = BadRecords(path, bad_share, tally)
    for where, record in unjudged(path, counter):
        counter.good()
        yield where, record
    counter.close()


def unjudged(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `records`, but the caller counts the good ones: it may know more reasons why a record is bad."""
    if path.is_dir():
        yield from saved.folder(path)
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".json":
        yield from _array(path, counter)
    elif path.name.endswith(TABLES):
        yield from _table(path, counter)
    else:
        yield from _lines(path, counter)


def files(source: str | Path) -> list[Path]:
    """The record files that ``source`` (a file or a folder) stands for; of a folder that datasets saved, itself."""
    path = existing(Path(source))
    if saved.is_folder(path):
        return [saved.chosen(path)]
    found = sorted(p for p in path.rglob("*") if p.name.endswith(RECORD_SUFFIXES)) if path.is_dir() else [path]
    if not found or not found[0].name.endswith(RECORD_SUFFIXES):
        what = "holds no file of records" if path.is_dir() else "is not a file of records"
        raise UserError(what, where=path, remedy=f"Supported: {', '.join(RECORD_SUFFIXES)}")
    if all(p.stat().st_size == 0 for p in found):
        raise UserError("is empty", where=path, remedy="Give a file with records in it")
    return found


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pa.ArrowException, EOFError) as error:
        raise UserError(f"not a Parquet file ({_line(error)})", where=path, remedy="Write or fetch it again") from None


def _array(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"malformed JSON ({_json(error)})", where=f"{path}{line}", remedy="Mend the file") from None
    if not isinstance(values, list):
        raise UserError("is not a JSON list of records", where=path, remedy="Use a list, or JSONL")
    for number, value in enumerate(values, 1):
        where = f"{path}, record {number}"
        if isinstance(value, dict):
            yield where, _encodable(value)
        else:
            counter.bad(where, "not a JSON object")


def _lines(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with _opened(path) as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
                except UnicodeDecodeError as error:
                    counter.bad(where, f"invalid UTF-8 at byte {error.start} of the line")
                    continue
                except (ValueError, RecursionError) as error:
                    counter.bad(where, f"malformed JSON ({_json(error)})")
                    continue
                if not isinstance(value, dict):
                    counter.bad(where, "not a JSON object")
                    continue
                yield where, _encodable(value) if b"\\u" in line else value
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"damaged gzip ({_line(error)})", where=path, remedy="Write or fetch it again") from None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _table(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of CSV or TSV, named by the line on which they begin.

    A quotation mark that is never closed would make one field of the rest of the file: that is an error at once.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))  # of the process: the library has no other
    taken = [0]

    def lines() -> Iterator[str]:
        with _opened(path) as handle:
            for number, line in enumerate(handle, 1):
                taken[0] = number
                yield line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")

    began = 1
    try:
        source = lines()
        header = next(source, "")
        delimiter = "\t" if ".tsv" in path.suffixes else max(DELIMITERS, key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if len(set(names)) < len(names) or not all(names):
            raise UserError("names a column twice, or not at all", where=f"{path}, line 1", remedy="Mend the header")
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        began = 2
        for row in reader:
            where, began = f"{path}, line {began}", taken[0] + 1
            if len(row) == len(names) and not any("\udc80" <= c <= "\udcff" for value in row for c in set(value)):
                yield where, dict(zip(names, row, strict=True))
            elif row:  # an empty line is no row
                wrong = f"{len(row)} fields, and the header has {len(names)}"
                counter.bad(where, wrong if len(row) != len(names) else "invalid UTF-8")
    except csv.Error as error:
        remedy = "Close the quotation mark, or write one inside a field twice"
        raise UserError(f"not CSV ({_line(error)})", where=f"{path}, line {began}", remedy=remedy) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"damaged gzip ({_line(error)})", where=path, remedy="Write or fetch it again") from None


def _encodable(value: dict[str, Any]) -> dict[str, Any]:
    """JSON can spell half a surrogate pair, which no UTF-8 file can hold; it becomes a question mark."""
    mended: dict[str, Any] = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return mended


def _json(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else _line(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
