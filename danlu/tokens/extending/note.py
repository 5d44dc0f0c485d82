"""What an extension leaves beside the model, for what trains it on: which of its rows are new."""

import json
from pathlib import Path

from danlu.base.errors import UserError

EXTENSION = "extension.json"  # "old_vocab" is the first id that is new


def first_new_row(path: Path, rows: int) -> int | None:
    """The first row that an extension added to the model in ``path``, which has ``rows`` of them.

    None if nothing says that one did, or if it added none; a `UserError` if what is said makes no sense.
    """
    file = path / EXTENSION
    if not file.is_file():
        return None
    try:
        first = int(json.loads(file.read_text(encoding="utf-8"))["old_vocab"])
    except (ValueError, KeyError, TypeError) as error:
        what = f"does not say which rows are new ({error!r})"
        raise UserError(what, where=file, remedy="Extend the model again") from None
    return checked(first, rows, file)


def checked(first: int, rows: int, where: object) -> int | None:
    """``first``, or None where no row is left for it; a `UserError` with its source, ``where``, if it is none."""
    if not 0 < first <= rows:
        raise UserError(f"the new rows cannot begin at {first}: the model has {rows}", where=where)
    return None if first == rows else first
