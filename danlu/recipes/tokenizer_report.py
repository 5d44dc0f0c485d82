"""Tokenizers side by side on one corpus.

    danlu tokenizer report runs/tokenizer runs/smollm2 cl100k_base.tiktoken --on runs/clean

prints a table and leaves ``report.json`` and ``report.html`` in ``--out``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Annotated, Any

import tyro

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import bar, count, say
from danlu.base.recipe import UNCHANGING
from danlu.recipes.corpus import Corpus, sample
from danlu.recipes.mix import short_names
from danlu.recipes.tokenize import stage
from danlu.text.document import Document
from danlu.text.split import Side

STAGE, PARALLEL = "tokenizer-report", "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class TokenizerReport:
    """Compare tokenizers on the same text."""

    tokenizers: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TOKENIZER...")] = field(
        metadata=UNCHANGING
    )
    """Directories with tokenizer.json (ours, any Hugging Face model's), or tokenizer.json, .tiktoken, .model files."""
    on: tuple[str, ...] = field(metadata=UNCHANGING)
    """The corpus: a directory that 'danlu clean' wrote (its validation documents), or files, folders, package:NAME."""
    out: Path = field(default=Path("runs/tokenizer-report"), metadata=UNCHANGING)
    """The directory to write."""
    sample_bytes: int = 4_000_000
    """Measure on at most so much text, taken evenly."""
    repeats: int = 3
    """How often to encode it all; the speed is the median."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        for key, valid, rule in (
            ("tokenizers", bool(self.tokenizers), "needs at least one"),
            ("sample_bytes", self.sample_bytes >= 1, "must be at least 1"),
            ("repeats", self.repeats >= 1, "must be at least 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: {key}")


def sources(recipe: TokenizerReport) -> dict[str, Path]:
    """What the recipe reads, for the manifest."""
    return {**{str(path): path for path in recipe.tokenizers}, **Corpus(recipe.on).sources()}


def run(recipe: TokenizerReport, *, fresh: bool = False) -> Artifact:
    """Measure, print the table, write the two files."""
    from danlu.evaluate import tokenizer_report
    from danlu.evaluate.tokenizer_measures import examine, measure
    from danlu.tokens.foreign import open_tokenizer

    corpus = Corpus(recipe.on)
    corpus.apart_from(recipe.out)
    opened = [open_tokenizer(path) for path in recipe.tokenizers]
    names = short_names([str(path.resolve()) for path in recipe.tokenizers])

    def work() -> dict[str, Any]:
        documents = drawn(corpus, recipe.sample_bytes)
        text = examine(documents)
        say(f"  {len(documents)} documents, {count(text.bytes.sum())}B of text")
        found = []
        total = len(documents) * recipe.repeats * len(opened)
        with one_thread(), bar("encoding", total, "documents") as progress:
            for name, tokenizer in zip(names, opened, strict=True):
                numbers = measure(tokenizer, text, repeats=recipe.repeats, tick=progress.advance)
                found.append({"name": name, **numbers})
        report = {"corpus": text.summary(), "repeats": recipe.repeats, "threads": 1, "tokenizers": found}
        for line in tokenizer_report.table(report):
            print(line)
        say(f"  {tokenizer_report.write(recipe.out, report)}")
        return {**report, "tokenizers": [tokenizer_report.headline(numbers) for numbers in found]}

    return stage(STAGE, recipe, sources(recipe), work, fresh)


@contextmanager
def one_thread() -> Iterator[None]:
    """`tokenizers` asks the environment at each call; on all cores its speed could not be compared."""
    before = environ.get(PARALLEL)
    environ[PARALLEL] = "false"
    try:
        yield
    finally:
        if before is None:
            del environ[PARALLEL]
        else:
            environ[PARALLEL] = before


def drawn(corpus: Corpus, limit: int) -> list[Document]:
    """The documents to measure on: held out where there are such, for what a tokenizer was trained on flatters it."""
    held_out = corpus.clean and not corpus.raw and next(corpus.documents("validation"), None) is not None
    side: Side | None = "validation" if held_out else None
    total = sum(document.bytes for document in corpus.documents(side))
    documents = [document for document in sample(corpus.documents(side), total, limit) if document.text.strip()]
    if not documents:
        raise UserError("the corpus holds no text", where=", ".join(corpus.given), remedy="Check the files")
    return documents
