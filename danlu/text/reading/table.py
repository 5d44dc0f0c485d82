"""CSV and TSV with a header line, a row at a time.

A quotation mark that is never closed makes everything after it one field. Here it costs its own line: the row is given
up where the file ends or ``max_record_bytes`` is reached, and reading goes on with the line below.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator

from danlu.text.document import Document
from danlu.text.reading.decode import Decoder
from danlu.text.reading.faults import Faults
from danlu.text.reading.parts import Part
from danlu.text.reading.plain import texts
from danlu.text.reading.record import Records, wrong_column
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import lines

DELIMITERS = (",", ";", "\t")
LINE_COST = 64  # bytes that a line costs in memory beside its text
RETRIES = 8  # times ``max_record_bytes`` that may be read again; then quotes are taken to close on their own line

Line = tuple[int, str | None]  # None: too long to be held
Row = tuple[int, list[str]]


def table(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The documents of a CSV or TSV file. Rows are named by the line on which they begin."""
    # The limit belongs to the process, not to a reader; what bounds memory is the size of a row, below.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_record_bytes))
    decoder = Decoder(reading.encoding)
    found = enumerate(lines(texts(part, reading, faults, decoder), "\n", reading.max_record_bytes), 1)
    _, header = next(found, (1, ""))
    delimiter = _delimiter(header or "", part, reading.text_column)
    names = _fields(header or "", delimiter)
    if reading.text_column not in names:
        faults.file(f"{wrong_column(reading, names)}; skipped")
        return
    records = Records(part, reading, faults, decoder)
    for number, row in rows(found, delimiter, len(names), reading.max_record_bytes, faults):
        document = records.document(dict(zip(names, row, strict=True)), number)
        if document is not None:
            yield document
    decoder.tell(faults)


def _fields(line: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _delimiter(header: str, part: Part, column: str) -> str:
    """A tab in TSV files; in CSV files the sign with which the header names the text column, else a comma."""
    if re.search(r"\.tsv(\.\w+)?$", part.path.lower()):
        return "\t"
    return next((sign for sign in DELIMITERS if column in _fields(header, sign)), ",")


def rows(found: Iterator[Line], delimiter: str, width: int, limit: int, faults: Faults) -> Iterator[Row]:
    """Each row of ``width`` fields with the number of its first line."""
    waiting: deque[Line] = deque()  # lines of a row that was given up, to be read again
    again = 0
    while line := waiting.popleft() if waiting else next(found, None):
        number, text = line
        if text is None:
            faults.bad(number, "longer than max_record_bytes")
            continue
        taken: list[Line] = []
        row = _row(text, taken, waiting, found, delimiter, 0 if again > RETRIES * limit else limit)
        if row is None:
            again += sum(len(more or "") for _, more in taken)
            waiting.extendleft(reversed(taken))
            row = _alone(text, delimiter, width)
        if row is None:
            if not (faults.cut and not waiting):  # half a row where the data broke off has been told
                faults.bad(number, "unbalanced quotes")
        elif len(row) == width:
            yield number, row
        elif row:  # an empty line is no row
            faults.bad(number, "another number of fields than the header", f"{len(row)}, not {width}")


def _row(
    text: str, taken: list[Line], waiting: deque[Line], found: Iterator[Line], delimiter: str, limit: int
) -> list[str] | None:
    """The row that begins with ``text``; ``taken`` gets the other lines that it needs. None if it never ends."""

    def feed() -> Iterator[str]:
        yield text + "\n"
        size = len(text)
        while size < limit and (line := waiting.popleft() if waiting else next(found, None)):
            taken.append(line)
            if line[1] is None:
                return
            size += len(line[1]) + LINE_COST
            yield line[1] + "\n"

    try:
        return next(csv.reader(feed(), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


def _alone(line: str, delimiter: str, width: int) -> list[str] | None:
    """A line whose quotes are not those of CSV: plain characters in TSV, slips in CSV if they come in pairs."""
    if delimiter == "\t":
        row = line.split("\t")
    elif line.count('"') % 2 == 0:
        row = next(csv.reader([line], delimiter=delimiter), [])
    else:
        return None
    return row if len(row) == width else None
