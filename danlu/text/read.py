"""Documents from what a person names: files, folders, patterns and installed packages, one at a time.

Bad input costs one record, one page or one file, and never the run: it is named in the report (`Funnel.problem`), and
reading goes on. Every format is read as a stream with bounded memory, whatever the size of the file. HTML is handed on
as HTML, decoded, with ``meta["format"] == "html"``. The formats are one module each in `danlu.text.reading`; a run in
several workers takes `parts` and `tasks` and calls `read_part` in each.
"""

from collections.abc import Callable, Iterator, Sequence

from danlu.text import packages
from danlu.text.document import Document
from danlu.text.reading.epub import epub
from danlu.text.reading.faults import Faults, reason, shown
from danlu.text.reading.inputs import SUPPORTED, kind, resolve
from danlu.text.reading.jsons import json_lines, json_values
from danlu.text.reading.parquet import parquet
from danlu.text.reading.parts import PART_BYTES, Part, parts, tasks
from danlu.text.reading.plain import html, plain
from danlu.text.reading.settings import Reading
from danlu.text.reading.table import table
from danlu.text.reading.warc import warc
from danlu.text.report import Funnel

__all__ = [
    "PART_BYTES", "SUPPORTED", "Part", "Reading", "kind", "parts", "read", "read_part", "resolve", "shown", "tasks",
]  # fmt: skip

Reader = Callable[[Part, Reading, Faults], Iterator[Document]]
READERS: dict[str, tuple[Reader, str]] = {  # by kind: the reader, and what it counts in
    "plain": (plain, "piece"), "page": (html, "page"), "lines": (json_lines, "line"), "json": (json_values, "record"),
    "table": (table, "line"), "parquet": (parquet, "row"), "warc": (warc, "record"), "epub": (epub, "chapter"),
}  # fmt: skip


def read(inputs: Sequence[str], tally: Funnel, reading: Reading | None = None) -> Iterator[Document]:
    """Every document of ``inputs``, in the order given, folders by sorted path.

    ``tally`` counts documents and bytes by input and names what was skipped. Raises `UserError` before the first
    document if an input is not there or holds nothing readable, and for nothing after that.
    """
    reading = reading or Reading()
    for part in parts(inputs, reading, tally=tally):
        yield from read_part(part, reading, tally)


def read_part(part: Part, reading: Reading, tally: Funnel) -> Iterator[Document]:
    """The documents of one part, always the same and in the same order; `tally` as in `read`."""
    if packages.is_package(part.path):
        for document in packages.documents(packages.name_of(part.path)):
            tally.read(document, part.given)
            yield document
        return
    reader, unit = READERS[kind(part.path)]
    faults = Faults(part.path, tally, unit)
    if part.bytes == 0:
        faults.file(_nothing(part))
        return
    try:
        for document in reader(part, reading, faults):
            tally.read(document, part.given)
            yield document
    except (OSError, MemoryError) as error:
        faults.file(f"{reason(error)}; the rest was skipped")
    except Exception as error:  # a fault of a reader, not of the run: the other files are still to be read
        faults.file(
            f"cannot be read, by a fault of Danlu ({type(error).__name__}: {reason(error)}); the rest was skipped"
        )
    faults.close()


def _nothing(part: Part) -> str:
    """Why a part has no bytes."""
    try:
        return "empty file; skipped" if part.file.stat().st_size == 0 else "was empty when it was listed; skipped"
    except OSError as error:
        return f"{reason(error)}; skipped"
