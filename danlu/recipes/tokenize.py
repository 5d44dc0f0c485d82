"""Clean documents → token shards.

    danlu tokenize --data runs/clean --tokenizer runs/tokenizer --out runs/tokens

writes ``train/`` and ``validation/``, a document as begin, text, end, and the tokenizer beside them. Several processes
encode; a run that was stopped goes on with what it has not encoded yet (`danlu.tokens.encoding.encode`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.files import remove
from danlu.base.progress import bar, count, say
from danlu.base.recipe import UNCHANGING
from danlu.text.write import read_documents
from danlu.tokens.encoding.encode import encode_pieces, pieces
from danlu.tokens.shards import Shards
from danlu.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tokenize:
    """Turn clean documents into token shards."""

    data: Path = field(metadata=UNCHANGING)
    """The directory that 'danlu clean' wrote."""
    tokenizer: Path = field(metadata=UNCHANGING)
    """The directory of a tokenizer: Danlu's or any Hugging Face model's."""
    out: Path = field(default=Path("runs/tokens"), metadata=UNCHANGING)
    """The directory to write."""
    workers: int = field(default=0, metadata=UNCHANGING)
    """Processes that encode; 0 is one for each core, or none for a few megabytes. The result is the same."""

    def __post_init__(self) -> None:
        """A `UserError` names the key whose value makes no sense."""
        if self.workers < 0:
            raise UserError(f"must be at least 0, found {self.workers}", where="recipe: workers")


def sources(recipe: Tokenize) -> dict[str, Path]:
    """What the recipe reads, for the manifest."""
    return {"data": recipe.data, "tokenizer": recipe.tokenizer}


def run(recipe: Tokenize, *, fresh: bool = False) -> Artifact:
    """Write the documents as token shards into ``recipe.out/train`` and ``recipe.out/validation``.

    Without validation documents there is no ``validation`` directory.
    """
    artifact.load(recipe.data, "clean")
    tokenizer = Tokenizer.load(recipe.tokenizer)

    def work() -> dict[str, Any]:
        metrics: dict[str, Any] = {"vocab_size": tokenizer.vocab_size}
        tokenizer.save(recipe.out / "tokenizer")  # shards mean nothing without it, so they keep it
        for side in ("train", "validation"):
            if side == "validation" and not any((recipe.data / side).glob("*.parquet")):
                continue
            shards = _encode(recipe, side)
            metrics[side] = _summary(shards)
            say(f"  {side}: {len(shards)} documents, {count(shards.tokens)} tokens")
        return metrics

    return stage("tokens", recipe, sources(recipe), work, fresh)


def _encode(recipe: Tokenize, side: str) -> Shards:
    cut, work = pieces(recipe.data / side), recipe.out / ".work" / side
    with bar(f"tokenizing {side}", sum(piece.bytes for piece in cut), "bytes") as drawn:
        words = recipe.out / "tokenizer"
        return encode_pieces(cut, words, recipe.out / side, work, workers=recipe.workers, progress=drawn.advance)


def stage(
    name: str, recipe: Any, sources: Mapping[str, Path], work: Callable[[], dict[str, Any]], fresh: bool
) -> Artifact:
    """Run ``work`` in a directory claimed for it; one that bad input ended leaves no directory behind."""
    started = time.monotonic()
    draft = artifact.begin(recipe.out, name, recipe, dict(sources), fresh=fresh)
    try:
        metrics = work()
    except UserError:
        remove(recipe.out)
        raise
    draft.metrics = {**metrics, "seconds": round(time.monotonic() - started, 3)}
    return draft.finish()


def pairs(folder: Path) -> Iterator[tuple[str, str]]:
    """The text and the source of each document of one side."""
    return ((document.text, document.source) for document in read_documents(folder))


def _summary(shards: Shards) -> dict[str, int]:
    return {"documents": len(shards), "tokens": shards.tokens, "bytes": shards.bytes}
