"""Examples → a small model that judges documents: a classifier of good and bad, or an n-gram model of good.

    danlu quality --good books/ --bad spam/ --out runs/quality
    danlu quality --kind ngram --good books/ --out runs/ngram

leaves ``model.json`` and ``weights.safetensors``. The first is for the steps ``quality`` and ``toxicity`` of 'danlu
clean' (for toxicity, clean texts are the good and toxic ones the bad), the second for ``perplexity``. What is learned
from should be as clean as what will be judged: a classifier that is shown raw HTML as bad learns what a tag looks like.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError, require
from danlu.base.files import remove
from danlu.base.progress import count, say, track
from danlu.base.recipe import UNCHANGING
from danlu.text.document import Document
from danlu.text.filters import linear, ngram
from danlu.text.read import Reading, read, resolve
from danlu.text.report import Funnel

STAGE = "quality"
FEATURES_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class TrainQuality:
    """Learn from examples what good text looks like."""

    good: tuple[str, ...] = ()
    """Files, folders, patterns or package:NAME with texts of the kind to keep."""
    bad: tuple[str, ...] = ()
    """The same with texts of the kind to drop; an n-gram model needs none."""
    out: Path = field(default=Path("runs/quality"), metadata=UNCHANGING)
    """The directory to write."""
    kind: Literal["linear", "ngram"] = "linear"
    """A classifier of good and bad, or a character n-gram model of good, which measures how surprising a text is."""
    reading: Reading = Reading()
    """Columns, encodings and limits of what is read."""
    sample_bytes: int = 64_000_000
    """Learn from at most so much text of each kind, taken evenly; an n-gram model from an eighth of it."""
    bits: int = 0
    """The model has 2^bits weights; 0 is 18 for a classifier (1 MB) and 22 for an n-gram model."""
    epochs: int = 5
    """How often the classifier sees each text."""
    rate: float = 0.3
    """Its step size."""
    held_out: float = 0.2
    """The share of its texts that it is calibrated and judged on."""
    order: int = 6
    """The longest n-gram, in characters."""
    least: int = 2
    """N-grams of three characters and more that were seen fewer times are not kept."""
    seed: int = 0
    """Which texts are held out, and the order of the others."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("kind", self.kind in ("linear", "ngram"), "must be linear or ngram"),
            ("good", len(self.good) > 0, "needs at least one file, folder, pattern or package:NAME"),
            ("bad", self.kind == "ngram" or len(self.bad) > 0, "needs at least one file, folder or pattern"),
            ("bad", self.kind == "linear" or not self.bad, "means nothing to an n-gram model"),
            ("sample_bytes", self.sample_bytes >= 1, "must be at least 1"),
            ("bits", self.bits == 0 or 8 <= self.bits <= 26, "must be 0, or between 8 and 26"),
            ("epochs", self.epochs >= 1, "must be at least 1"),
            ("rate", self.rate > 0, "must be above 0"),
            ("held_out", 0 < self.held_out < 1, "must be above 0 and below 1"),
            ("order", 1 <= self.order <= 16, "must be between 1 and 16"),
            ("least", self.least >= 1, "must be at least 1"),
        )


def sources(recipe: TrainQuality) -> dict[str, Path]:
    """What the stage reads from disk; a pattern counts as the files it matches."""
    found: dict[str, Path] = {}
    for side, inputs in (("good", recipe.good), ("bad", recipe.bad)):
        for given, paths in (resolve(inputs) if inputs else {}).items():
            path = Path(given).expanduser()
            for source in [path] if path.is_dir() else paths:
                _apart(source, recipe.out)
                found[f"{side} {source}"] = source
    return found


def _apart(source: Path, out: Path) -> None:
    a, b = source.resolve(), out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise UserError(f"overlaps the input {source}", where=out, remedy="Choose another --out")


def run(recipe: TrainQuality, *, fresh: bool = False) -> Artifact:
    """Learn and write the model into ``recipe.out``; one that bad input ended leaves no directory behind."""
    started = time.monotonic()
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    try:
        metrics = _classifier(recipe) if recipe.kind == "linear" else _ngrams(recipe)
    except UserError:
        remove(recipe.out)
        raise
    draft.metrics = {"kind": recipe.kind, **metrics, "seconds": round(time.monotonic() - started, 3)}
    draft.seeds = {"held_out": recipe.seed}
    return draft.finish()


def _classifier(recipe: TrainQuality) -> dict[str, Any]:
    good, bad = (list(_texts(recipe, inputs, recipe.sample_bytes)) for inputs in (recipe.good, recipe.bad))
    model = linear.train(
        good,
        bad,
        bits=recipe.bits or 18,
        epochs=recipe.epochs,
        rate=recipe.rate,
        held_out=recipe.held_out,
        seed=recipe.seed,
    )
    model.save(recipe.out)
    facts = model.facts
    say(f"  {facts['texts']['good']} good and {facts['texts']['bad']} bad texts, {facts['held_out']} of them held out")
    for name, key in (("AUC", "auc"), ("F1", "f1")):
        low, high = facts[f"{key}_interval"]
        say(f"  {name} {facts[key]:.4f} (95 %: {low:.4f} to {high:.4f})")
    for side, features in facts["learned"].items():
        say(f"  {side}: {'  '.join(name for name, _ in features[:FEATURES_SHOWN])}")
    if facts["in_both"]:
        say(f"  {facts['in_both']} texts are among the good and the bad")
    return facts


def _ngrams(recipe: TrainQuality) -> dict[str, Any]:
    texts = list(_texts(recipe, recipe.good, recipe.sample_bytes // 8))
    model = ngram.train(texts, order=recipe.order, bits=recipe.bits or 22, least=recipe.least)
    model.save(recipe.out)
    say(f"  {count(model.facts['characters'])} characters, {count(sum(model.facts['kept']))} n-grams kept")
    return {**model.facts, "texts": len(texts)}


def _texts(recipe: TrainQuality, inputs: tuple[str, ...], limit: int) -> Iterator[str]:
    """At most ``limit`` bytes of text, taken evenly."""
    tally = Funnel()
    total = sum(document.bytes for document in read(inputs, tally, recipe.reading))
    for problem in tally.problems[:5]:
        say(f"  {problem}")
    documents = track(_plain(read(inputs, Funnel(), recipe.reading)), "reading", unit="documents")
    seen = taken = 0
    for document in documents:
        seen += document.bytes
        if total <= limit or taken * total < seen * limit:
            taken += document.bytes
            yield document.text


def _plain(documents: Iterable[Document]) -> Iterator[Document]:
    for document in documents:
        if document.meta.get("format") == "html":
            remedy = "Run 'danlu clean --preset none' on it first, and learn from what that writes"
            raise UserError("is HTML, and text is needed", where=document.id, remedy=remedy)
        yield document
