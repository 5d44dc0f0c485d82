"""Clean documents → a tokenizer, and clean documents → token shards: two stages, since a tokenizer is often reused.

    danlu tokenizer --data runs/clean --out runs/tokenizer

leaves a Hugging Face tokenizer (``tokenizer.json``, ``tokenizer_config.json``) in the directory itself. `Tokenize`
writes ``train/`` and ``validation/`` token shards, a document as begin, text, end.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.files import remove
from danlu.base.progress import count, say, track
from danlu.base.recipe import UNCHANGING
from danlu.text.document import Document
from danlu.text.write import read_documents
from danlu.tokens.shards import Encoded, Shards, encode_documents, write_shards
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.train import SMALLEST, train_bpe

SOURCES_SHOWN = 20  # a folder of ten thousand files has ten thousand sources; the largest are named


@dataclass(frozen=True)
class TrainTokenizer:
    """Learn a byte-level BPE tokenizer from clean documents."""

    data: Path = field(metadata=UNCHANGING)
    """The directory that 'danlu clean' wrote."""
    out: Path = field(default=Path("runs/tokenizer"), metadata=UNCHANGING)
    """The directory to write."""
    vocab_size: int = 8192
    """The most ids there may be, special tokens and the 256 bytes included."""
    min_frequency: int = 2
    """A pair seen less often than this is never made a piece."""
    digits: int = 2
    """The longest group of digits in one piece."""
    sample_bytes: int = 32_000_000
    """Learn from at most so much text, taken evenly; training takes up to 70 bytes of memory for each byte."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        for key, valid, rule in (
            ("vocab_size", self.vocab_size >= SMALLEST, f"must be at least {SMALLEST}"),
            ("min_frequency", self.min_frequency >= 1, "must be at least 1"),
            ("digits", 1 <= self.digits <= 9, "must be between 1 and 9"),
            ("sample_bytes", self.sample_bytes >= 1, "must be at least 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: {key}")


@dataclass(frozen=True)
class Tokenize:
    """Turn clean documents into token shards."""

    data: Path = field(metadata=UNCHANGING)
    """The directory that 'danlu clean' wrote."""
    tokenizer: Path = field(metadata=UNCHANGING)
    """The directory of a tokenizer: Danlu's or any Hugging Face model's."""
    out: Path = field(default=Path("runs/tokens"), metadata=UNCHANGING)
    """The directory to write."""


def sources(recipe: TrainTokenizer | Tokenize) -> dict[str, Path]:
    """What the recipe reads, for the manifest."""
    if isinstance(recipe, Tokenize):
        return {"data": recipe.data, "tokenizer": recipe.tokenizer}
    return {"data": recipe.data}


def run(recipe: TrainTokenizer, *, fresh: bool = False) -> Artifact:
    """Learn the tokenizer and write it into ``recipe.out``; measured on validation documents."""
    artifact.load(recipe.data, "clean")

    def work() -> dict[str, Any]:
        total = sum(document.bytes for document in _documents(recipe.data, "train"))
        texts = sample(_documents(recipe.data, "train"), total, recipe.sample_bytes)
        tokenizer = train_bpe(texts, recipe.vocab_size, min_frequency=recipe.min_frequency, digits=recipe.digits)
        tokenizer.save(recipe.out)
        held_out = any((recipe.data / "validation").glob("*.parquet"))
        side = "validation" if held_out else "train"
        overall, by_source = compression(encode_documents(tokenizer, _pairs(_documents(recipe.data, side))))
        say(f"  {tokenizer.vocab_size} ids from {count(min(total, recipe.sample_bytes))}B of text")
        say(f"  {overall:.3f} bytes a token on {side} documents")
        for name, ratio in by_source.items():
            say(f"    {ratio:.3f} {name}")
        return {
            "vocab_size": tokenizer.vocab_size,
            "sampled_bytes": min(total, recipe.sample_bytes),
            "measured_on": side,
            "bytes_per_token": overall,
            "bytes_per_token_by_source": by_source,
        }

    return _stage("tokenizer", recipe, work, fresh)


def tokenize(recipe: Tokenize, *, fresh: bool = False) -> Artifact:
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
            pairs = track(_pairs(_documents(recipe.data, side)), f"tokenizing {side}", unit="documents")
            encoded = encode_documents(tokenizer, pairs)
            shards = write_shards(encoded, recipe.out / side, tokenizer.vocab_size)
            metrics[side] = _summary(shards)
            say(f"  {side}: {len(shards)} documents, {count(shards.tokens)} tokens")
        return metrics

    return _stage("tokens", recipe, work, fresh)


def _stage(name: str, recipe: TrainTokenizer | Tokenize, work: Callable[[], dict[str, Any]], fresh: bool) -> Artifact:
    """Run ``work`` in a directory claimed for it; one that bad input ended leaves no directory behind."""
    started = time.monotonic()
    draft = artifact.begin(recipe.out, name, recipe, sources(recipe), fresh=fresh)
    try:
        metrics = work()
    except UserError:
        remove(recipe.out)
        raise
    draft.metrics = {**metrics, "seconds": round(time.monotonic() - started, 3)}
    return draft.finish()


def _documents(data: Path, side: str) -> Iterator[Document]:
    return read_documents(data / side)


def _pairs(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    return ((document.text, document.source) for document in documents)


def _summary(shards: Shards) -> dict[str, int]:
    return {"documents": len(shards), "tokens": shards.tokens, "bytes": shards.bytes}


def sample(documents: Iterable[Document], total: int, limit: int) -> Iterator[str]:
    """At most ``limit`` of the ``total`` bytes, spread evenly over the documents; the last text may be cut.

    Whole documents are taken whenever those taken fall behind their share of those seen.
    """
    seen = taken = 0
    for document in documents:
        size = document.bytes
        seen += size
        if total <= limit:
            yield document.text
        elif taken * total < seen * limit and taken < limit:
            kept = document.text.encode()[: limit - taken]
            taken += len(kept)
            yield kept.decode(errors="ignore")


def compression(documents: Iterable[Encoded]) -> tuple[float, dict[str, float]]:
    """UTF-8 bytes a token, begin and end marks not counted: over all, and of the largest sources."""
    sizes: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for document in documents:
        sizes[document.source] += document.bytes
        tokens[document.source] += len(document.ids) - 2
    by_source = {name: round(size / max(tokens[name], 1), 4) for name, size in sizes.most_common(SOURCES_SHOWN)}
    return round(sizes.total() / max(tokens.total(), 1), 4), by_source
