"""Text to learn a tokenizer from or to compare some on: what `danlu clean` wrote, or whatever it could read.

    runs/clean                      a directory of clean documents, with its own validation side
    books/ 'data/*.txt' package:sanguo   raw files, folders, patterns, installed packages

Raw text is taken as it is, pages as the text that a reader came for; a fiftieth of its documents, by their hash, is
the validation side.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.text import packages
from danlu.text.document import Document, Dropped
from danlu.text.extract import Extract
from danlu.text.read import read, resolve
from danlu.text.report import Funnel
from danlu.text.split import Side, position
from danlu.text.write import read_documents

VALIDATION_SHARE = 0.02  # of raw documents, as in danlu clean
PROBLEMS_SHOWN = 5
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass
class Corpus:
    """What a person named; every call reads it again, so memory holds a document at a time."""

    given: Sequence[str]
    clean: list[Path] = field(init=False)
    raw: list[str] = field(init=False)
    _told: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.given:
            raise UserError("needs at least one directory of 'danlu clean', file, folder, pattern or package:NAME")
        folders = {given: Path(given).expanduser() for given in self.given if not packages.is_package(given)}
        ours = {given for given, path in folders.items() if path.is_dir() and _made_here(path)}
        self.clean = [artifact.load(folders[given], "clean").path for given in self.given if given in ours]
        self.raw = [given for given in self.given if given not in ours]
        if self.raw:
            resolve(self.raw)  # says now what is not there

    def sources(self) -> dict[str, Path]:
        """What it is read from, for a manifest; a package by the list of its files."""
        found = {str(path): path for path in self.clean}
        if self.raw:
            for given, paths in resolve(self.raw).items():
                path = Path(given).expanduser()
                read_from = [_record(given)] if packages.is_package(given) else [path] if path.is_dir() else paths
                found |= {given if packages.is_package(given) else str(source): source for source in read_from}
        return {"data": next(iter(found.values()))} if len(found) == 1 else found

    def apart_from(self, out: Path) -> None:
        """A `UserError` if what is to be written lies in what is read, or the reverse."""
        for source in self.sources().values():
            a, b = source.resolve(), out.resolve()
            if a == b or a in b.parents or b in a.parents:
                raise UserError(f"overlaps the input {source}", where=out, remedy="Choose another --out")

    def documents(self, side: Side | None = None) -> Iterator[Document]:
        """The documents of one side, or all; what could not be read is told once."""
        for folder in self.clean:
            for name in ("train", "validation"):
                if side in (None, name) and (name == "train" or any((folder / name).glob("*.parquet"))):
                    yield from map(_whole, read_documents(folder / name))
        tally, extract = Funnel(), Extract()
        for document in read(self.raw, tally) if self.raw else ():
            text = extract(document)
            if isinstance(text, Dropped):
                tally.problem(f"{document.id}: {text.reason}")
            elif side is None or (position(text.text, 0) < VALIDATION_SHARE) == (side == "validation"):
                yield _whole(text)
        if not self._told:
            self._tell(tally)

    def _tell(self, tally: Funnel) -> None:
        self._told = True
        for problem in tally.problems[:PROBLEMS_SHOWN]:
            say(f"  {problem}")
        if tally.problem_count > PROBLEMS_SHOWN:
            say(f"  and {tally.problem_count - PROBLEMS_SHOWN} more like these")


def _made_here(path: Path) -> bool:
    return (path / artifact.MANIFEST).exists() or (path / artifact.STAGE).exists()


def _record(given: str) -> Path:
    """A file that another version of the package has with other contents."""
    package = packages.PACKAGES[packages.name_of(given)].package
    if package == "python":
        from pydoc_data import topics  # a dictionary of strings and nothing else

        return Path(str(topics.__file__))
    files = [file for file in metadata.files(package) or [] if file.name in ("RECORD", "METADATA")]
    return Path(str(max(files, key=lambda file: file.name).locate()))


def _whole(document: Document) -> Document:
    """Half a surrogate pair, which no tokenizer can take, becomes a question mark."""
    try:
        document.text.encode()
    except UnicodeEncodeError:
        return replace(document, text=document.text.encode("utf-8", "replace").decode())
    return document


def sample(documents: Iterable[Document], total: int, limit: int) -> Iterator[Document]:
    """At most ``limit`` of the ``total`` bytes, spread evenly over the documents; the last text may be cut.

    Whole documents are taken whenever those taken fall behind their share of those seen.
    """
    seen = taken = 0
    for document in documents:
        size = document.bytes
        seen += size
        if total <= limit:
            yield document
        elif taken * total < seen * limit and taken < limit:
            kept = document.text.encode()[: limit - taken]
            taken += len(kept)
            yield replace(document, text=kept.decode(errors="ignore"))


def parse_bytes(text: str, key: str) -> int:
    """'2GB' → 2,000,000,000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if match is None or not float(match[1]):
        raise UserError(f"'{text}' is no size such as 500MB or 2GB", where=f"recipe: {key}")
    return round(float(match[1]) * UNITS[match[2]])
