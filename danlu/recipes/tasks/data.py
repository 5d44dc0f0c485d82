"""Records of a task: read, split without leaks, their labels listed, and what its directory will say of it."""

from collections import Counter
from dataclasses import dataclass
from statistics import fmean, pstdev

from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.model.families import tasks as classes
from danlu.model.task_files import TaskInfo
from danlu.model.task_heads import Pooling
from danlu.recipes.chats import split
from danlu.recipes.task import TrainTask, tasks_of
from danlu.text.labelled import read_samples
from danlu.text.sample import Kind, Sample

SHOWN = 12  # labels that are listed with their counts


@dataclass
class Prepared:
    """One task: its samples on both sides; scores are learned as (score - shift) / scale.

    ``start`` is what a head without a bias is to give at first: the mean of the scores so scaled.
    """

    name: str
    info: TaskInfo
    training: list[Sample]
    held_out: list[Sample]
    scale: float = 1.0
    shift: float = 0.0
    start: float = 0.0


def prepare_tasks(recipe: TrainTask, kind: str, causal: bool) -> dict[str, Prepared]:
    """Every task of the recipe, for a trunk that will be written as model type ``kind``."""
    measured = tasks_of(recipe.held_out, recipe.kind, "held_out") if recipe.held_out else {}
    found = {}
    for name, (task, files) in tasks_of(recipe.data, recipe.kind, "data").items():
        samples = _read(files, task, recipe.bad_share)
        if name in measured:
            sides = samples, _read(measured[name][1], task, recipe.bad_share)
        else:
            sides = _split(samples, task, recipe.held_out_share if not measured else 0.0, recipe.seed)
        training, held_out = sides
        if not training:
            raise UserError("no record is left to train on", where=f"task {name}", remedy="Lower held_out_share")
        info = info_of(recipe, task, training, causal)
        check_labels(info, held_out)
        prepared = Prepared(name, info, training, held_out)
        if task == "regress":
            scores = [s.score for s in training if s.score is not None]
            prepared.scale = pstdev(scores) or 1.0
            if classes.has_bias(kind, info.shape):
                prepared.shift = fmean(scores)
            else:
                prepared.start = fmean(scores) / prepared.scale
        found[name] = prepared
        _tell(prepared)
    return found


def _read(files: list[str], kind: Kind, bad_share: float) -> list[Sample]:
    samples = [sample for file in files for sample in read_samples(file, kind, bad_share=bad_share)]
    if kind == "embed":
        for what, there in (("score", [s.score is not None for s in samples]),
                            ("negative", [s.negative is not None for s in samples])):  # fmt: skip
            if any(there) and not all(there):
                odd = samples[there.index(not there[0])]
                raise UserError(f"some records have a {what} and some have none", where=odd.where)
        if samples[0].score is not None:
            low, high = min(s.score or 0.0 for s in samples), max(s.score or 0.0 for s in samples)
            if low < -1 or high > 1:
                what = f"scores from {low:g} to {high:g} are no cosines"
                raise UserError(what, where=files[0], remedy="Divide them so that the closest pairs have 1")
    return samples


def key_of(sample: Sample, kind: str) -> str:
    """What two records must not share across a split: the context of questions, else the (first) text."""
    text = sample.pair if kind == "qa" else sample.text
    return " ".join((text or "").casefold().split())


def _split(samples: list[Sample], kind: Kind, share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """By a hash; a record whose label would be in the held-out side alone goes to the other."""
    training, held_out = split(samples, [key_of(sample, kind) for sample in samples], share, seed)
    known = {label for sample in training for label in _labels(sample, kind)}
    lonely = {key_of(s, kind) for s in held_out if not known.issuperset(_labels(s, kind))}
    training += [s for s in held_out if key_of(s, kind) in lonely]
    return training, [s for s in held_out if key_of(s, kind) not in lonely]


def _labels(sample: Sample, kind: str) -> tuple[str, ...]:
    return (sample.tags if kind == "tag" else sample.labels) or ()


def info_of(recipe: TrainTask, kind: Kind, training: list[Sample], causal: bool) -> TaskInfo:
    """What the directory of the task will say, from the records it learns from."""
    labels = sorted({label for sample in training for label in _labels(sample, kind)})
    if labels and all(label.isdecimal() for label in labels):
        labels.sort(key=int)
    multi = any(sample.multi for sample in training)
    if kind in ("classify", "tag") and len(labels) < (1 if multi else 2):
        what = f"all records have the same label '{labels[0]}'" if labels else "no record has a label"
        raise UserError(what, where=training[0].where, remedy="Give records of at least two labels")
    pooling: Pooling = "last" if causal else "first"
    if kind == "embed":
        auto: Pooling = "last" if causal else "mean"
        pooling = auto if recipe.embed.pooling == "auto" else recipe.embed.pooling
    return TaskInfo(
        kind,
        ("score",) if kind == "regress" else tuple(labels),
        multi_label=multi,
        pooling=pooling,
        length=recipe.length,
        stride=recipe.overlap if kind in ("tag", "qa") else 0,
        unanswerable=kind == "qa" and any(sample.answers == () for sample in training),
        longest_answer=recipe.qa.longest if kind == "qa" else 0,
    )


def check_labels(info: TaskInfo, samples: list[Sample]) -> None:
    """A `UserError` for a record with a label that was not learned."""
    if info.kind not in ("classify", "tag"):
        return
    known = set(info.labels)
    for sample in samples:
        for label in _labels(sample, info.kind):
            if label not in known:
                names = ", ".join(info.labels[:SHOWN]) + (", ..." if len(info.labels) > SHOWN else "")
                raise UserError(f"label '{label}' was not learned", where=sample.where, remedy=f"Learned: {names}")


def _tell(prepared: Prepared) -> None:
    """How many records, and of which labels, each side has."""
    info = prepared.info
    sides = (("learned from", prepared.training), ("held out", prepared.held_out))
    for what, side in sides:
        counts = Counter(label for sample in side for label in _labels(sample, info.kind)).most_common()
        listed = ", ".join(f"{label} {count}" for label, count in counts[:SHOWN])
        more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        say(f"  {prepared.name}: {len(side)} records {what}{': ' if counts else ''}{listed}{more}")
