"""One record with named values (JSON, CSV, Parquet) as a document."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from danlu.text.document import Document
from danlu.text.reading.decode import Decoder
from danlu.text.reading.faults import Faults
from danlu.text.reading.mojibake import repair
from danlu.text.reading.parts import Part
from danlu.text.reading.settings import Reading

NESTED = ("metadata", "meta")  # where datatrove, Dolma and Danlu itself keep what is not the text
SURROGATE = re.compile("[\ud800-\udfff]")


def encodable(value: Any, faults: Faults) -> Any:
    """A JSON value without half surrogate pairs, which JSON can spell and no UTF-8 file can hold."""
    if isinstance(value, dict):
        return {encodable(key, faults): encodable(item, faults) for key, item in value.items()}
    if isinstance(value, str) and SURROGATE.search(value):
        faults.mended("texts with half a surrogate pair, replaced by U+FFFD")
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


class Records:
    """Makes documents of a part's records and remembers how many had no text under the key."""

    def __init__(self, part: Part, reading: Reading, faults: Faults, decoder: Decoder) -> None:
        self.part, self.reading, self.faults, self.decoder = part, reading, faults, decoder
        self._good = self._without = 0
        self._keys: list[str] = []

    def document(self, record: Mapping[str, Any], number: int) -> Document | None:
        """The document of record ``number``, or None, which is counted."""
        column = self.reading.text_column
        text = record.get(column)
        if isinstance(text, bytes):
            text = self.decoder(text)
        if not isinstance(text, str):
            if column in record:
                found = "nothing" if text is None else f"a {type(text).__name__}"
                self.faults.bad(number, f"no text under '{column}'", found)
            else:
                self._without += 1
                self._keys = self._keys or [str(key) for key in record]
            return None
        if len(text) > self.reading.max_record_bytes:
            self.faults.bad(number, "longer than max_record_bytes")
            return None
        self._good += 1
        meta = {
            name: value
            for name, columns in (
                ("url", self.reading.url_columns),
                ("date", self.reading.date_columns),
                ("title", self.reading.title_columns),
            )
            if (value := self._value(record, columns))
        }
        name = self._value(record, self.reading.id_columns, nested=False) or f"{self.part.path}:{number}"
        if "\0" in text:
            self.faults.mended("null characters taken out", text.count("\0"))
            text = text.replace("\0", "")
        return Document(repair(text) if self.reading.repair else text, name, self.part.path, meta | self.decoder.found)

    def _value(self, record: Mapping[str, Any], columns: Iterable[str], nested: bool = True) -> str:
        """The first of ``columns`` that holds something, as a string; '' if none does."""
        for holder in (record, *(_inside(record.get(key)) for key in NESTED if nested and key in record)):
            for column in columns:
                value = holder.get(column)
                if isinstance(value, date):  # and its subclass datetime
                    return value.isoformat()
                if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
                    return str(value).replace("\0", "")
        return ""

    def close(self) -> None:
        """Tell how many records had no text, and which keys there were instead."""
        if not self._without:
            return
        what = wrong_column(self.reading, self._keys)
        if self._good:
            self.faults.file(f"{self._without} {self.faults.unit}s skipped: {what}")
        else:
            self.faults.file(f"{what} in any of its {self._without} {self.faults.unit}s; skipped")


def wrong_column(reading: Reading, keys: Iterable[str]) -> str:
    """What to say of a file without the text column."""
    return (
        f"no '{reading.text_column}' (keys: {', '.join(keys)[:200] or 'none'}; text_column says which holds the text)"
    )


def _inside(value: Any) -> Mapping[str, Any]:
    """A nested record, also one written as JSON."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}
