"""A task's directory and records → a file of guesses, and how good they are where the records have labels.

danlu task predict --model runs/reviews --data new.jsonl --out predictions.jsonl
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base.device_names import DeviceName
from danlu.base.errors import UserError
from danlu.base.files import existing, write_text
from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.text.sample import Sample

HIDDEN = ("pair_vector",)  # of a guess: what only measuring needs


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Guess what the records of a file have no label for; measure, where they have."""

    model: Path = field(metadata=UNCHANGING)
    """A directory that 'danlu task train' wrote; of several tasks, that of one."""
    data: tuple[str, ...]
    """Files of records, as for training; the labels may be missing. A .txt file has a text a line."""
    out: Path = field(default=Path("predictions.jsonl"), metadata=UNCHANGING)
    """The file to write, JSON lines. Beside it, where there are labels, lies a .json file of measures."""
    batch_examples: int = 32
    """Rows that are read together."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("needs at least one file", where="recipe: data")
        if self.batch_examples < 1:
            raise UserError(f"must be at least 1, found {self.batch_examples}", where="recipe: batch_examples")
        if self.out.suffix == ".json" or self.out.is_dir():
            raise UserError(
                "must be a file of JSON lines", where="recipe: out", remedy="Use a name that ends in .jsonl"
            )


def predict(recipe: Predict) -> dict[str, Any]:
    """Write the guesses, in the order of the records, and return the measures (none without labels)."""
    from danlu.base.device import pick_device
    from danlu.model.task_files import open_task
    from danlu.recipes.tasks.data import check_labels
    from danlu.recipes.tasks.kinds import encoder_of, guess, is_known, measure
    from danlu.recipes.tasks.training import tell
    from danlu.text.labelled import read_samples
    from danlu.tokens.tokenizer import Tokenizer

    _one_task(recipe.model)
    model, info = open_task(recipe.model)
    kind: Any = info.kind
    samples = [s for file in recipe.data for s in read_samples(file, kind, bad_share=recipe.bad_share, need=False)]
    encoder = encoder_of(Tokenizer.load(recipe.model), model.config, info)
    model.to(pick_device(recipe.device))
    known = all(is_known(info, sample) for sample in samples)
    if known:
        check_labels(info, samples)
    guesses = guess(model, "task", info, encoder, samples, recipe.batch_examples)
    rows = (_record(sample) | {k: v for k, v in g.items() if k not in HIDDEN} for sample, g in zip(samples, guesses))
    write_text(recipe.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"  {len(samples)} records → {recipe.out}")
    if not known:
        return {}
    found = measure(info, samples, guesses)
    tell(info.kind, info.kind, found)
    write_text(recipe.out.with_suffix(".json"), json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    return found


def _one_task(path: Path) -> None:
    """A run of several tasks has a folder for each; name them."""
    existing(path, remedy="Give a directory that 'danlu task train' wrote")
    inside = sorted(p.name for p in path.iterdir() if (p / "config.json").is_file()) if path.is_dir() else []
    if inside and not (path / "config.json").is_file():
        raise UserError("holds several tasks", where=path, remedy=f"Give one of them: {', '.join(inside)}")


def _record(sample: Sample) -> dict[str, Any]:
    """What of a record is written beside the guess: what was read, and its label as ``wanted``."""
    found: dict[str, Any] = {"id": sample.name} if sample.name else {}
    found["text"] = sample.text
    if sample.pair is not None:
        found["text_pair"] = sample.pair
    known: list[Any] = [one for one in (sample.tags, sample.score, sample.answers) if one is not None]
    if sample.labels is not None:
        known = [sample.labels if sample.multi else sample.labels[0]]
    if known:
        found["wanted"] = known[0]
    return found
