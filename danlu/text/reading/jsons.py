"""JSON: one record a line (``.jsonl``), or a list, one value or several in a file (``.json``), read as a stream.

A line or value that is no record costs itself. Lines are numbered from the file's beginning, also in a part of it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from danlu.text.document import Document
from danlu.text.reading.decode import Decoder
from danlu.text.reading.faults import Faults, reason
from danlu.text.reading.parts import Part
from danlu.text.reading.plain import texts
from danlu.text.reading.record import Records, encodable
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import blocks, lines, narrow

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
MARKED = re.compile(rf'[^"{{}}\[\]]*(?:{STRING}[^"{{}}\[\]]*)*[{{}}\[\]]', re.DOTALL)  # up to the next bracket
JUNK = re.compile(rf'(?:{STRING}|[^"{{\[,\]])+', re.DOTALL)  # a number, a word, a string: no record
SOLID = re.compile(r"[^\s,\]]")
SIGNS = {"{": 1, "[": 1, "}": -1, "]": -1}


def json_lines(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The documents of a JSONL file, or of a part of one."""
    decoder = Decoder(reading.encoding)
    found = lines(narrow(blocks(part, reading, faults), reading.encoding, faults), b"\n", reading.max_record_bytes)
    texts = (None if line is None else decoder(line) for line in found)
    yield from _documents(texts, part, reading, faults, decoder)


def json_values(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The documents of a JSON file: a list of records, one record, or one after the other."""
    decoder = Decoder(reading.encoding)
    whole = texts(part, reading, faults, decoder)
    first = next(whole, "")
    every = chain((first,), whole)
    if _is_lines(first):
        faults.unit = "line"
        found: Iterable[str | None] = lines(every, "\n", reading.max_record_bytes)
    else:
        found = values(every, reading.max_record_bytes, faults)
    yield from _documents(found, part, reading, faults, decoder)


def _is_lines(text: str) -> bool:
    """Is the first line a whole record? Then a bad line is one bad record, and not the end of the file."""
    line = text.lstrip().partition("\n")[0].strip()
    return line.startswith("{") and isinstance(_parsed(line), dict)


def _documents(
    found: Iterable[str | None], part: Part, reading: Reading, faults: Faults, decoder: Decoder
) -> Iterator[Document]:
    records = Records(part, reading, faults, decoder)
    for number, text in enumerate(found, part.first):
        if text is None:
            faults.bad(number, "longer than max_record_bytes")
            continue
        if not text or text.isspace():
            continue
        value = _parsed(text)
        if isinstance(value, dict):
            if "\\ud" in text or "\\uD" in text:
                value = encodable(value, faults)
            document = records.document(value, number)
            if document is not None:
                yield document
        elif not isinstance(value, Exception):
            faults.bad(number, "not a JSON object")
        elif not faults.cut:  # half a record where the data broke off has been told
            faults.bad(number, "malformed JSON", _why(value))
    records.close()
    decoder.tell(faults)


def _parsed(text: str) -> Any:
    """The value, or the exception: a number of 5,000 digits and a depth of 1,000 are malformed as well."""
    try:
        return json.loads(text, strict=False)  # not strict: tabs and the like may stand in strings as they are
    except (ValueError, RecursionError) as error:
        return error


def _why(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else reason(error)


def values(texts: Iterable[str], limit: int, faults: Faults) -> Iterator[str]:
    """The values of a JSON text as text, those of its outer list one by one.

    Only brackets and quotes are looked at, so a value that is malformed inside is still told from the next one. One
    that does not end within ``limit`` characters ends the file: where the next one begins, nobody could say.
    """
    held, enough, begun = "", 0, False
    for text in chain(texts, (None,)):
        held += text or ""
        if text is not None and len(held) < enough:  # looked at again when it has doubled, and not at every block
            continue
        at = 0
        while found := SOLID.search(held, at):
            at = found.start()
            if not begun and held[at] == "[":
                begun, at = True, at + 1
                continue
            begun = True
            end = _end(held, at)
            if not end:
                break
            yield held[at:end]
            at = end
        held = held[at:] if found else ""
        enough = 2 * len(held)
        if len(held) > limit:
            faults.file(f"a value longer than max_record_bytes={limit}; the rest was skipped", cut=True)
            return
    if held:
        yield held


def _end(text: str, at: int) -> int:
    """Where the value that begins at ``at`` ends; 0 if that is further on than the text goes."""
    if text[at] not in "{[":
        junk = JUNK.match(text, at)
        return junk.end() if junk else at + 1
    depth = 0
    while found := MARKED.match(text, at):
        at = found.end()
        depth += SIGNS[text[at - 1]]
        if depth == 0:
            return at
    return 0
