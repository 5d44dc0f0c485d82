"""Raw files → clean documents: read, normalise, drop what is too short, too long or a copy, split.

    danlu clean --inputs books/ notes.md package:sanguo --out runs/clean

leaves ``train/*.parquet``, ``validation/*.parquet`` and ``funnel.json``, which accounts for every document that came
in. The order of the steps is their cost: what a cheap step drops, no dearer one looks at.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.files import remove, write_text
from danlu.base.progress import count, say, track
from danlu.base.recipe import UNCHANGING
from danlu.text import packages, pipeline
from danlu.text.dedup.exact import ExactDuplicates
from danlu.text.document import Document, Step
from danlu.text.extract import Extractor, extract
from danlu.text.filters.length import Length
from danlu.text.normalize import normalize
from danlu.text.read import read, resolve
from danlu.text.report import Funnel
from danlu.text.split import Side, split
from danlu.text.write import Shards

PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Clean:
    """Turn raw files into clean documents."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files, folders, patterns such as 'data/*.txt', or package:NAME for text that an installed package ships."""
    out: Path = field(default=Path("runs/clean"), metadata=UNCHANGING)
    """The directory to write."""
    text_column: str = "text"
    """The key that holds the text in JSONL and Parquet records."""
    extractor: Extractor = "builtin"
    """What turns HTML into text; trafilatura finds the article in a page and has to be installed."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops (one is always forgiven)."""
    min_characters: int = 20
    """Shorter documents are dropped."""
    max_characters: int = 10_000_000
    """Longer documents are dropped."""
    deduplicate: bool = True
    """Drop texts that differ from an earlier one only in case and white space."""
    validation_share: float = 0.02
    """The share of documents held out for validation, at least one document if it is above 0."""
    seed: int = 0
    """Which documents those are."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        for key, valid, rule in (
            ("inputs", len(self.inputs) > 0, "needs at least one file, folder, pattern or package:NAME"),
            ("text_column", self.text_column != "", "must not be empty"),
            ("extractor", self.extractor in get_args(Extractor), f"must be one of {', '.join(get_args(Extractor))}"),
            ("bad_share", 0 <= self.bad_share <= 1, "must be between 0 and 1"),
            ("min_characters", self.min_characters >= 1, "must be at least 1"),
            ("max_characters", self.max_characters >= self.min_characters, "must not be below min_characters"),
            ("validation_share", 0 <= self.validation_share < 1, "must be at least 0 and below 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: {key}")


def sources(recipe: Clean) -> dict[str, Path]:
    """The files and folders that the recipe reads, for the manifest; a pattern counts as the files it matches."""
    found: dict[str, Path] = {}
    for given, paths in resolve(recipe.inputs).items():
        path = Path(given).expanduser()
        for source in [path] if path.is_dir() else paths:
            _apart(source, recipe.out)
            found[str(source)] = source
    return found


def _apart(source: Path, out: Path) -> None:
    """An output among the inputs would be read by the next run, or the inputs be replaced by this one."""
    a, b = source.resolve(), out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise UserError(f"overlaps the input {source}", where=out, remedy="Choose another --out")


def run(recipe: Clean, *, fresh: bool = False) -> Artifact:
    """Clean ``recipe.inputs`` into ``recipe.out``.

    A run that was killed starts over in its directory; one that bad input ended leaves no directory behind.
    """
    started = time.monotonic()
    inputs = sources(recipe)
    extract("", recipe.extractor)  # is it installed?
    for given in filter(packages.is_package, recipe.inputs):
        say(f"  {packages.PACKAGES[packages.name_of(given)].summary()}")
    draft = artifact.begin(recipe.out, "clean", recipe, inputs, fresh=fresh)
    funnel = Funnel()
    try:
        written = _write(recipe, funnel)
    except UserError:
        remove(recipe.out)
        raise
    write_text(recipe.out / "funnel.json", json.dumps(funnel.to_dict(), ensure_ascii=False, indent=2) + "\n")
    draft.metrics = {
        "documents": {side: shards.documents for side, shards in written.items()},
        "bytes": {side: shards.bytes for side, shards in written.items()},
        "seconds": round(time.monotonic() - started, 3),
        "packages": _versions(recipe),
        "funnel": funnel.to_dict(),
    }
    draft.seeds = {"split": recipe.seed}
    _tell(funnel, draft.metrics)
    return draft.finish()


def steps(recipe: Clean) -> dict[str, Step]:
    """The recipe's steps under the names that the report shows."""
    chosen: dict[str, Step] = {
        "normalize": normalize,
        "length": Length(recipe.min_characters, recipe.max_characters),
    }
    if recipe.deduplicate:
        chosen["exact duplicates"] = ExactDuplicates()
    return chosen


def _write(recipe: Clean, funnel: Funnel) -> dict[Side, Shards]:
    folders: dict[Side, Path] = {"train": recipe.out / "train", "validation": recipe.out / "validation"}
    for folder in folders.values():
        remove(folder)  # left by a run that was killed
    with Shards(folders["train"]) as train, Shards(folders["validation"]) as validation:
        written: dict[Side, Shards] = {"train": train, "validation": validation}
        kept = pipeline.run(_read(recipe, funnel), steps(recipe), funnel)
        for side, document in split(kept, recipe.validation_share, recipe.seed):
            written[side].add(document)
        if train.documents + validation.documents == 0:
            reasons = ", ".join(f"{reason} {number}" for reason, number in list(funnel.reasons().items())[:3])
            why = f"dropped: {reasons}" if reasons else "the inputs hold no text"
            remedy = f"Look at the inputs, or lower min_characters ({recipe.min_characters})"
            raise UserError(f"no document is left ({why})", where=", ".join(recipe.inputs), remedy=remedy)
    return written


def _read(recipe: Clean, funnel: Funnel) -> Iterator[Document]:
    documents = read(
        recipe.inputs,
        funnel,
        text_column=recipe.text_column,
        extractor=recipe.extractor,
        bad_share=recipe.bad_share,
    )
    return track(documents, "cleaning", unit="documents")


def _versions(recipe: Clean) -> dict[str, str]:
    """The installed packages that were read: their text changes with their version."""
    named = [packages.PACKAGES[packages.name_of(given)] for given in filter(packages.is_package, recipe.inputs)]
    return {source.name: f"{source.package} {source.version}" for source in named}


def _tell(funnel: Funnel, metrics: dict[str, Any]) -> None:
    kept, read_in = metrics["documents"], sum(n for n, _ in funnel.sources.values())
    dropped = ", ".join(f"{reason} {number}" for reason, number in funnel.reasons().items()) or "none"
    say(
        f"  kept {sum(kept.values())} of {read_in} documents ({count(sum(metrics['bytes'].values()))}B), "
        f"{kept['validation']} of them for validation; dropped: {dropped}"
    )
    for problem in funnel.problems[:PROBLEMS_SHOWN]:
        say(f"  {problem}")
    if funnel.problem_count > PROBLEMS_SHOWN:
        say(f"  and {funnel.problem_count - PROBLEMS_SHOWN} more like these: see funnel.json")
