"""Data sets of Hugging Face's library datasets: what its ``save_to_disk`` wrote, and ``datasets:NAME[:SPLIT]``.

A saved folder is Arrow streams beside a ``state.json`` that lists them, so reading one needs no library but pyarrow. A
name is handed to the library, where it is installed, which reads its cache or fetches what is not there. Left out: data
sets that are code; the library itself runs none any more.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from danlu.base.errors import UserError
from danlu.base.progress import say

PREFIX = "datasets:"
STATE, SPLITS = "state.json", "dataset_dict.json"
FIRST = "train"  # the split that is read where several are there and none is named
DAMAGED = "Save the data set again with save_to_disk"


def is_named(given: object) -> bool:
    """Is ``given`` spelt ``datasets:NAME``?"""
    return isinstance(given, str) and given.startswith(PREFIX)


def is_folder(path: Path) -> bool:
    """Did ``save_to_disk`` write the folder?"""
    return (path / STATE).is_file() or (path / SPLITS).is_file()


def chosen(path: Path) -> Path:
    """The folder of one split: itself, or `FIRST` of several, which is said."""
    if not (path / SPLITS).is_file():
        return path
    splits = [name for name in _json(path / SPLITS).get("splits", []) if (path / str(name) / STATE).is_file()]
    if FIRST in splits or len(splits) == 1:
        name = FIRST if FIRST in splits else str(splits[0])
        if len(splits) > 1:
            say(f"  {path}: of the splits {', '.join(splits)} '{name}' is read")
        return path / name
    remedy = f"Name one, as {path / str(splits[0])}" if splits else DAMAGED
    raise UserError(f"has the splits {', '.join(splits) or 'none'}, and no '{FIRST}'", where=path, remedy=remedy)


def folder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of one saved split, with the words that name each ("data, row 3")."""
    state = _json(path / STATE)
    if state.get("_indices_data_files"):
        remedy = "Call flatten_indices() before save_to_disk()"
        raise UserError("is a selection of rows that lie in another order", where=path, remedy=remedy)
    number = 0
    for entry in state.get("_data_files") or []:
        file = path / str(entry.get("filename") if isinstance(entry, dict) else "")
        try:
            with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
                for batch in stream:
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{path}, row {number}", row
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"not a stream of Arrow ({error})", where=file, remedy=DAMAGED) from None


def named(given: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of ``datasets:NAME[:SPLIT]``; `FIRST` where no split is named."""
    name, _, split = given.removeprefix(PREFIX).partition(":")
    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"{given} needs the library datasets, which is not installed", remedy="pip install datasets")
    library = importlib.import_module("datasets")
    try:
        found = library.load_dataset(name, split=split or FIRST)
    except Exception as error:  # the library raises what its file systems and its hub raise
        what = f"datasets cannot load it ({' '.join(str(error).split())[:200] or type(error).__name__})"
        raise UserError(what, where=given, remedy=f"Check the name and the split, as {PREFIX}NAME:test") from None
    for number, row in enumerate(found, 1):
        yield f"{given}, row {number}", dict(row)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"not valid JSON ({error})", where=path, remedy=DAMAGED) from None
    if not isinstance(values, dict):
        raise UserError(f"expected keys and values, found {type(values).__name__}", where=path, remedy=DAMAGED)
    return values
