"""The perplexity filter: keep what a language model finds neither too surprising nor suspiciously predictable.

The number is bits a byte, not perplexity a token: it does not depend on the tokenizer and compares languages. What
makes it is a `Scorer`, bound by the recipe, because a model of Danlu or Hugging Face lies below this room:
`danlu.recipes.scorer` gives one for any model, the built-in `danlu.text.filters.ngram` included. To keep a share
instead of a range, leave the bounds open and put `TopShare` or `Bands` after it.

`PerplexityStep` scores one document at a time. `PerplexityBatches` is the same as a `CorpusStep`, which may hand the
scorer many documents at once: worth it for a neural model, whose batches it fills.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np

from danlu.base.device_names import DeviceName
from danlu.base.errors import require
from danlu.base.files import atomic
from danlu.text.corpus import Verdict
from danlu.text.document import Document, Dropped

Scorer = Callable[[Sequence[str]], Sequence[float]]  # bits a byte of each text; pickles to be sent to workers
KEY = "bits_per_byte"


@dataclass(frozen=True)
class Perplexity:
    """Keep documents that a language model finds neither too hard nor too easy to predict."""

    model: Path | None = None
    """A folder: an n-gram model by 'danlu quality --kind ngram', or any model of Danlu or Hugging Face."""
    minimum: float = 0.0
    """Drop documents of fewer bits a byte: repetition, templates."""
    maximum: float | None = None
    """Drop documents of more bits a byte: word salad, damaged encodings, other languages. Unset: drop none."""
    length: int = 1024
    """The most tokens that a neural model sees at once; longer documents are scored in windows that overlap by half."""
    batch: int = 16
    """Windows that it scores at once."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("minimum", self.minimum >= 0, "must be at least 0"),
            ("maximum", self.maximum is None or self.maximum > self.minimum, "must be above minimum"),
            ("length", self.length >= 2, "must be at least 2"),
            ("batch", self.batch >= 1, "must be at least 1"),
            ("device", self.device in get_args(DeviceName), f"must be one of {', '.join(get_args(DeviceName))}"),
        )

    def judge(self, document: Document, bits: float) -> Document | Dropped:
        """The document with its number, or ``perplexity_low`` or ``perplexity_high``."""
        if bits < self.minimum:
            return Dropped("perplexity_low", f"{bits:.4f} bits a byte")
        if self.maximum is not None and not bits <= self.maximum:
            return Dropped("perplexity_high", f"{bits:.4f} bits a byte")
        return replace(document, meta={**document.meta, KEY: bits})


@dataclass(frozen=True)
class PerplexityStep:
    """The filter over single documents."""

    settings: Perplexity
    scorer: Scorer

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with its bits a byte, or why it goes."""
        return self.settings.judge(document, float(self.scorer([document.text])[0]))


@dataclass(frozen=True)
class PerplexityBatches:
    """The filter over whole tasks, so that short documents share a batch."""

    settings: Perplexity
    scorer: Scorer
    together: int = 256
    """Documents handed to the scorer at once."""

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        """Score the documents of a task."""
        waiting, found = iter(documents), list[float]()
        while texts := [document.text for document in islice(waiting, self.together)]:
            found.extend(self.scorer(texts))
        with atomic(folder / f"{task:05d}.bits", "wb") as handle:
            handle.write(np.array(found, "<f8").tobytes())

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        """Nothing is left to decide; says how many were scored and what they average."""
        count, total = 0, 0.0
        for task in range(tasks):
            bits = np.fromfile(folder / f"{task:05d}.bits", "<f8")
            count, total = count + len(bits), total + math.fsum(bits)
        return {"scored": count, "mean_bits_per_byte": total / max(count, 1)}

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        """Each document with its verdict."""
        bits = np.fromfile(folder / f"{task:05d}.bits", "<f8")
        for document, found in zip(documents, bits.tolist(), strict=True):
            yield document, self.settings.judge(document, found)
