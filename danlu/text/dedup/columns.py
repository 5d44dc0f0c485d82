"""What looking at a task leaves on disk: flat columns of numbers, one file each, and the counter that reads them.

A ragged column (the shingles of each document, the bytes of its id) has a second file, ``NAME.ends``, with the place
where each row's values end. Everything is read by seeking, never mapped, so that what the system counts as this
process's memory does not grow with the files.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError
from danlu.base.files import atomic, remove
from danlu.text.document import Document

Numbers = NDArray[Any]
ENDS = np.dtype("<i8")
BATCH = 1 << 18  # characters handled at once: arrays of a few MB; 2^16 and 2^20 were both slower
BLOCK = 1 << 16  # rows read at once
OPEN_FILES = 256
DENSE = 64  # rows passed over for each that is wanted, up to which reading all their ends is quicker
MOST = 2**32 - 2  # documents in a run and its index: numbers are 32 bits wide


def batches(documents: Iterable[Document], characters: int = BATCH) -> Iterator[list[Document]]:
    """Lists of documents with at least ``characters`` in each but the last; a long document comes alone or last."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text) + 1
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Columns:
    """Writer of the columns of one task; use it in a ``with`` statement: the files appear when it ends well."""

    def __init__(self, start: Path) -> None:
        self._start = start
        self._open = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._ended: dict[str, int] = {}

    def add(self, name: str, values: Numbers) -> None:
        """Append to a flat column."""
        if name not in self._files:
            self._files[name] = self._open.enter_context(atomic(place(self._start, name), "wb"))
        self._files[name].write(np.ascontiguousarray(values).data)

    def add_ragged(self, name: str, values: Numbers, ends: Numbers) -> None:
        """Append rows to a ragged column; ``ends`` counts from the start of ``values``."""
        start = self._ended.get(name, 0)
        self.add(name, values)
        self.add(f"{name}.ends", (ends + start).astype(ENDS))
        self._ended[name] = start + len(values)

    def add_texts(self, name: str, texts: Sequence[str]) -> None:
        """Append strings to a ragged column of UTF-8."""
        rows = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum(np.fromiter(map(len, rows), ENDS, len(rows)), dtype=ENDS)
        self.add_ragged(name, np.frombuffer(b"".join(rows), np.uint8), ends)

    def __enter__(self) -> "Columns":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


def place(start: Path, name: str) -> Path:
    """The file of a column."""
    return start.with_name(f"{start.name}.{name}")


def prefix(folder: Path, task: int) -> Path:
    """Where the columns of a task stand: their files' names begin with this."""
    return folder / f"{task:05d}"


def prefixes(folder: Path, tasks: int) -> list[Path]:
    """The same of all tasks."""
    return [prefix(folder, task) for task in range(tasks)]


@dataclass
class Shelf:
    """The documents of several parts (segments of an index, then tasks) under one numbering, in that order.

    It keeps some files open: use it in a ``with`` statement.
    """

    parts: list[Path]
    counts: list[int] = field(init=False)
    bases: Numbers = field(init=False)  # [parts + 1]: the number of each part's first document, and how many there are
    _open: dict[tuple[int, str], IO[bytes]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = [_size(place(part, "ids.ends")) // ENDS.itemsize for part in self.parts]
        self.bases = np.concatenate([[0], np.cumsum(self.counts, dtype=ENDS)]).astype(ENDS)
        if self.size > MOST:
            what = f"{self.size:,} documents are more than deduplication can number ({MOST:,})"
            raise UserError(what, remedy="Clean the inputs in several runs that share an index")

    @property
    def size(self) -> int:
        """How many documents there are."""
        return int(self.bases[-1])

    def blocks(self, name: str, dtype: Any, width: int = 1) -> Iterator[tuple[int, Numbers]]:
        """A flat column with ``width`` values a row, in blocks of rows: the number of the first, and the values."""
        for part, (base, count) in enumerate(zip(self.bases, self.counts, strict=False)):
            for row in range(0, count, BLOCK):
                rows = min(BLOCK, count - row)
                values = self._read(part, name, dtype, row * width, rows * width)
                yield int(base) + row, values.reshape(rows, width) if width > 1 else values

    def ragged_blocks(self, name: str, dtype: Any, least: int = BLOCK) -> Iterator[tuple[int, Numbers, Numbers]]:
        """A ragged column in blocks of whole rows, of about ``least`` values: first number, values, ends within."""
        for part, (base, count) in enumerate(zip(self.bases, self.counts, strict=False)):
            done = row = 0
            while row < count:
                ends = self._read(part, f"{name}.ends", ENDS, row, min(BLOCK, count - row))
                ends = ends[: max(1, int(np.searchsorted(ends, done + least)))] - done
                yield int(base) + row, self._read(part, name, dtype, done, int(ends[-1])), ends
                row, done = row + len(ends), done + int(ends[-1])

    def row(self, name: str, dtype: Any, number: int) -> Numbers:
        """The values of one document in a ragged column."""
        start, stop, part = self._span(name, number)
        return self._read(part, name, dtype, start, stop - start)

    def lengths(self, name: str, numbers: Numbers) -> Numbers:
        """How many values each of several documents has in a ragged column; their numbers rise."""
        found = [stops - starts for _, starts, stops in self._spans(name, numbers)]
        return np.concatenate(found) if found else np.empty(0, ENDS)

    def rows(self, name: str, dtype: Any, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """The values of several documents in a ragged column, one after another, and where each one's end.

        Their numbers rise, so that each file is taken up once: of a million short rows most of the time was spent on
        finding the file of the next one.
        """
        spans = list(self._spans(name, numbers))
        ends = np.cumsum(np.concatenate([stops - starts for _, starts, stops in spans] or [np.empty(0, ENDS)]))
        values, done = np.empty(int(ends[-1]) if len(ends) else 0, np.dtype(dtype)), 0
        for part, starts, stops in spans:
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                self._fill(part, name, start, values[done : done + stop - start])
                done += stop - start
        return values, ends

    def id(self, number: int) -> str:
        """A document's id."""
        return self.row("ids", np.uint8, number).tobytes().decode("utf-8", "surrogatepass")

    def _span(self, name: str, number: int) -> tuple[int, int, int]:
        part = int(np.searchsorted(self.bases, number, "right")) - 1
        row = number - int(self.bases[part])
        ends = self._read(part, f"{name}.ends", ENDS, max(row - 1, 0), 2 if row else 1).tolist()
        return (ends[0] if row else 0), ends[-1], part

    def _spans(self, name: str, numbers: Numbers) -> Iterator[tuple[int, Numbers, Numbers]]:
        """Part, starts and stops of documents whose numbers rise."""
        numbers = numbers.astype(ENDS)
        owners = np.searchsorted(self.bases, numbers, "right") - 1
        edges = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            part = int(owners[begin])
            rows = numbers[begin:end] - int(self.bases[part])
            first, last = int(rows[0]), int(rows[-1])
            if last - first < DENSE * len(rows):
                ends = self._read(part, f"{name}.ends", ENDS, max(first - 1, 0), last - max(first - 1, 0) + 1)
                ends = ends if first else np.concatenate([np.zeros(1, ENDS), ends])
                yield part, ends[rows - first], ends[rows - first + 1]
            else:
                spans = [self._span(name, number)[:2] for number in numbers[begin:end].tolist()]
                yield part, *np.array(spans, ENDS).T

    def _read(self, part: int, name: str, dtype: Any, start: int, count: int) -> Numbers:
        values = np.empty(count, np.dtype(dtype))
        self._fill(part, name, start, values)
        return values

    def _fill(self, part: int, name: str, start: int, values: Numbers) -> None:
        """``values`` from the file, from number ``start`` on."""
        if not len(values):
            return
        handle = self._open.pop((part, name), None)
        handle = handle or open(place(self.parts[part], name), "rb", buffering=0)  # noqa: SIM115 - closed below
        self._open[part, name] = handle  # the last in the dictionary is the last that was used
        if len(self._open) > OPEN_FILES:
            self._open.pop(next(iter(self._open))).close()
        handle.seek(start * values.itemsize)
        view, done = values.view(np.uint8).data, 0
        while done < len(view):
            got = handle.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                where = place(self.parts[part], name)
                raise UserError("is shorter than it was written", where=where, remedy="Run the same command again")
            done += got

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *error: object) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder for what deciding needs on the way; what a killed run left there goes first, all of it at the end."""
    work = folder / "work"
    remove(work)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
