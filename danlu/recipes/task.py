"""A model and records with labels → a model for the task: a directory that transformers opens by its class.

    danlu task train --kind classify --model runs/encoder --data reviews.jsonl --out runs/reviews
    danlu task train --data topic=classify:topics.csv names=tag:news.conll --model runs/encoder --out runs/both

Several tasks share one trunk and leave a directory each. The parts stand in `tasks/`: `data` reads and splits, `kinds`
says what each kind learns, guesses and is measured by, `training` trains, `semi` makes use of texts without labels.
"""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError, nearest
from danlu.base.recipe import UNCHANGING
from danlu.model.adapters.settings import Freeze, Lora
from danlu.recipes.common import Training, share
from danlu.recipes.methods import check_keys
from danlu.recipes.tasks.settings import Answers, Embed, Holes, Semi, Several
from danlu.text.sample import Kind
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings

STAGE = "task"
NAMED = re.compile(r"([A-Za-z][\w-]*)=([a-z]+):(.+)")
# MiniLM, 1,000 reviews, two epochs, accuracy on 600 others: AdamW 0.785 at 1e-4 and 0.797 at 3e-4, Muon 0.778, 0.783
# and 0.760 at 3e-4, 1e-3 and 3e-3. Of steps as short as these Muon's own products are two fifths. Of few, AdamW, two
# seeds each, a hundred steps: 20 reviews 0.56 at 3e-4 and 0.65 at 1e-4, 100 reviews 0.70 and 0.73.
RATES: dict[str, tuple[float, float]] = {"muon": (1e-3, 3e-4), "adamw": (3e-4, 1e-4)}  # of many records, and of few
OTHERS = 1e-4, 3e-5
FEW = 500
EPOCHS, FEWEST_STEPS = 3.0, 100
LORA_TIMES = 10.0  # the same reviews, two seeds: in full at 3e-4 0.831, LoRA 0.816 at 1e-3 and 0.814 at 3e-3


@dataclass(frozen=True, kw_only=True)
class TrainTask(Training):
    """Fine-tune a model on records with labels."""

    model: Path = field(metadata=UNCHANGING)
    """A model directory: a language model, a plain encoder, or what this command wrote."""
    data: tuple[str, ...]
    """Files of records or folders of them; for several tasks NAME=KIND:FILE, once for each file."""
    out: Path = field(default=Path("runs/task"), metadata=UNCHANGING)
    """The directory to write."""
    kind: Literal["classify", "tag", "qa", "regress", "embed"] = "classify"
    """What is learned of a text: a label or several; a tag for each word; the answer to a question; a number; a
    vector."""
    method: Literal["full", "freeze", "lora"] = "full"
    """What learns beside the heads: all weights, some of them, or low-rank changes, which are merged at the end."""
    freeze: Freeze = Freeze()
    """With method freeze: what learns."""
    lora: Lora = Lora()
    """With method lora: what it trains."""
    held_out: tuple[str, ...] = ()
    """Files to measure on, spelled as in data; without, a share of the records is held out."""
    held_out_share: float = 0.1
    """The share of records held out, by a hash of the text, so that equal texts stay on one side."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    length: int = 256
    """Longest row in tokens: texts are cut there; sentences with tags and contexts become several rows."""
    stride: int | None = None
    """Tokens that neighbouring rows of one sentence or context have in common; unset is an eighth of the length."""
    smoothing: float = 0.0
    """Label smoothing (classify with one label, tag)."""
    embed: Embed = Embed()
    """For embed: how vectors are made and compared."""
    qa: Answers = Answers()
    """For qa: what an answer can be."""
    several: Several = Several()
    """For several tasks: what each counts."""
    holes: Holes = Holes()
    """For tag: tokens that are hidden on the way."""
    unlabelled: tuple[str, ...] = ()
    """For classify: files of texts without labels."""
    semi: Semi = Semi()
    """With unlabelled: what is done with them."""
    epochs: float = 0.0
    """Passes over the records; 0 is 3, or as many as make 100 steps."""
    batch_examples: int = 32
    """Rows of a step."""
    optimizer: OptimizerSettings = OptimizerSettings(name="adamw")
    """How gradients become updates; unset, weight_decay is 0 and lr 3e-4, with muon 1e-3; of lora ten times
    that, and of fewer than 500 records a third."""
    schedule: ScheduleSettings = ScheduleSettings(warmup=0.1, decay=0.9)
    """The learning rate over the run."""
    evaluations: int = 3
    """How often to measure on the way."""

    def __post_init__(self) -> None:
        super().__post_init__()
        share(self.held_out_share, "held_out_share")
        if self.epochs < 0 or self.batch_examples < 1 or self.length < 8 or self.overlap < 0:
            raise UserError(
                "needs epochs not negative, batch_examples of at least 1, length of at least 8, stride not negative"
            )
        if not 0 <= self.smoothing < 1:
            raise UserError(f"must be at least 0 and below 1, found {self.smoothing}", where="recipe: smoothing")
        self._check_keys()
        self._check_held_out()

    def _check_keys(self) -> None:
        """A key that no task of these kinds reads is refused, or no method."""
        check_keys(self)
        known = tasks_of(self.data, self.kind, "data")
        kinds, several = {kind for kind, _ in known.values()}, len(known) > 1
        plain = any(not NAMED.fullmatch(item) for item in self.data)
        gradnorm = self.several.weighting == "gradnorm"
        rules = (
            ("kind", self.kind == "classify" or plain, "each file names its kind"),
            ("kind", "embed" not in kinds or not several, "embed has batches of pairs, and cannot be one of several"),
            ("embed", self.embed == Embed() or "embed" in kinds, "only embed has such keys"),
            ("qa", self.qa == Answers() or "qa" in kinds, "only qa has such keys"),
            ("smoothing", not self.smoothing or bool(kinds & {"classify", "tag"}), "only classify and tag have labels"),
            ("stride", self.stride is None or bool(kinds & {"tag", "qa"}), "only tag and qa have windows"),
            ("stride", self.overlap < self.length // 2, "must be below half of length"),
            ("holes", not self.holes.used or (kinds == {"tag"} and not several), "is for a task of kind tag alone"),
            ("several", self.several == Several() or several, "there is one task"),
            ("unlabelled", not self.unlabelled or (kinds == {"classify"} and not several), "is for classify alone"),
            ("semi", self.semi == Semi() or bool(self.unlabelled), "there are no texts without labels"),
            (
                "held_out_share",
                not self.held_out or self.held_out_share == TrainTask.held_out_share,
                "held_out says it",
            ),
            ("compile", not (gradnorm and self.compile), "gradnorm looks inside the backward pass"),
            ("checkpointing", not gradnorm or self.checkpointing == "none", "gradnorm looks inside the backward pass"),
        )
        for key, holds, what in rules:
            if not holds:
                raise UserError(what, where=f"recipe: {key}")
        for name in self.several.given():
            if name not in known:
                what = f"no task is called '{name}'"
                raise UserError(what, where="recipe: several.weights", remedy=nearest(name, known))
        group = self.embed.group or self.batch_examples
        if "embed" in kinds and (self.batch_examples % group or self.batch_examples // group < self.micro_batches):
            what = f"{self.batch_examples} pairs are not {self.micro_batches} or more whole groups of {group}"
            raise UserError(what, where="recipe: embed.group", remedy="Choose a group that divides batch_examples")

    def _check_held_out(self) -> None:
        """Files to measure on belong to tasks that are learned."""
        if not self.held_out:
            return
        known = tasks_of(self.data, self.kind, "data")
        for name, (kind, _) in tasks_of(self.held_out, self.kind, "held_out").items():
            if name not in known or known[name][0] != kind:
                raise UserError(f"no task '{name}' of kind {kind} is learned", where="recipe: held_out")

    @property
    def overlap(self) -> int:
        """The stride, given or not."""
        return self.length // 8 if self.stride is None else self.stride

    def length_of(self, rows: int, epochs: float = 0.0) -> int:
        """The steps of so many passes over rows, or as many as the recipe says."""
        given = epochs or self.epochs
        steps = max(math.ceil((given or EPOCHS) * rows / self.batch_examples), 1)
        return steps if given else max(steps, FEWEST_STEPS)

    def settings(self, steps: int, rows: int = FEW) -> TrainSettings:
        """With a rate of the optimizer's for so many rows and no decay, where none is given."""
        rate = RATES.get(self.optimizer.name, OTHERS)[rows < FEW] * (LORA_TIMES if self.method == "lora" else 1.0)
        optimizer = self.optimizer.filled(lr=rate, weight_decay=0.0)
        return replace(super().settings(steps), optimizer=optimizer)


def tasks_of(given: tuple[str, ...], kind: Kind, key: str) -> dict[str, tuple[Kind, list[str]]]:
    """Name → (kind, files). Without names there is one task, called ``task``."""
    found: dict[str, tuple[Kind, list[str]]] = {}
    for item in given:
        match = NAMED.fullmatch(item)
        name, own, file = match.groups() if match else ("task", kind, item)
        if own not in get_args(Kind):
            raise UserError(f"'{own}' is no kind of task", where=f"recipe: {key}", remedy=nearest(own, get_args(Kind)))
        if found.setdefault(name, (own, []))[0] != own:  # type: ignore[arg-type]
            raise UserError(f"task '{name}' has two kinds", where=f"recipe: {key}")
        found[name][1].append(file)
    if not found:
        raise UserError("needs at least one file", where=f"recipe: {key}")
    if len(found) > 1 and "task" in found:
        raise UserError("files of several tasks each need NAME=KIND:FILE", where=f"recipe: {key}")
    return found


def sources(recipe: TrainTask) -> dict[str, Path]:
    """What the stage reads from disk."""
    files = dict[str, Path]()
    for key in ("data", "held_out"):
        if getattr(recipe, key):
            for _, paths in tasks_of(getattr(recipe, key), recipe.kind, key).values():
                files |= {path: Path(path) for path in paths}
    return {"model": recipe.model, **files, **{path: Path(path) for path in recipe.unlabelled}}


def run(recipe: TrainTask, *, fresh: bool = False) -> Artifact:
    """Train, and leave a directory for the task, or one for each."""
    from danlu.recipes.tasks.training import train_tasks

    return train_tasks(recipe, fresh=fresh)
