"""Texts without labels beside texts with them: three ways to learn from both, for tasks of one label.

Pseudo-labels (Lee 2013): a model learns the known labels and guesses those of the other texts; the surest are learned
like known ones, with the shares that labels have among the known, so that a model which leans to one label does not
fall; and so on for some rounds, each from the same start, since a model that goes on learning its own guesses only
grows surer of them. Consistency is in `danlu.objectives.consistency`. Co-training (Blum and Mitchell 1998): two models
see a half of each text; what one is sure of the other learns; at the end one model learns from whole texts what the
two did not contradict each other about.

Texts that are also held out, or also have a label, are left out of the unlabelled.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.base.seed import derive
from danlu.model.task_files import Trunk
from danlu.objectives.classify import LABEL, Classify
from danlu.objectives.consistency import Alignment, ChangedBatches, Consistency
from danlu.objectives.labelled import WEIGHT, Labelled
from danlu.recipes.task import TrainTask
from danlu.recipes.tasks.data import Prepared, key_of
from danlu.recipes.tasks.kinds import encoder_of, guess, lessons, loss_of, rows_of
from danlu.recipes.tasks.training import FINAL, Work
from danlu.text.labelled import read_samples, words_of
from danlu.text.sample import Sample
from danlu.tokens.changing import Changer
from danlu.tokens.examples import Example
from danlu.train.state import Totals

SIDES = ("first half", "second half")


def read_unlabelled(recipe: TrainTask, task: Prepared) -> list[Sample]:
    """The texts without labels, copies left out; a `UserError` where the task is none for them."""
    if task.info.multi_label:
        raise UserError("is for tasks of one label, and the records have several", where="recipe: unlabelled")
    samples = [
        s for file in recipe.unlabelled for s in read_samples(file, "classify", bad_share=recipe.bad_share, need=False)
    ]
    taken = {key_of(sample, "classify") for sample in (*task.training, *task.held_out)}
    found = {key_of(s, "classify"): replace(s, labels=None) for s in samples if key_of(s, "classify") not in taken}
    say(f"  {len(found)} texts without labels; {len(samples) - len(found)} left out: copies, held out or labelled")
    if not found:
        raise UserError("no text is left", where=recipe.unlabelled[0], remedy="Give texts that have no label elsewhere")
    return list(found.values())


def train_semi(work: Work, unlabelled: list[Sample]) -> tuple[Trunk, Totals]:
    """By the recipe's method; returns the model that learned last."""
    ways = {"pseudo": _pseudo, "consistency": _consistency, "cotraining": _cotraining}
    return ways[work.recipe.semi.method](work, unlabelled)


def _learn(
    work: Work, name: str, training: list[Sample], guessed: list[Sample], measured: bool
) -> tuple[Trunk, Totals]:
    """A model from the start, on known labels and guessed ones."""
    trunk = work.trunk()
    (task,) = work.tasks.values()
    encoder = encoder_of(work.tokenizer, trunk.config, task.info)
    known = lessons(replace(task, training=training), encoder, **{WEIGHT: 1.0})
    more = lessons(replace(task, training=guessed), encoder, **{WEIGHT: work.recipe.semi.weight})
    rows = known + more
    work.give_heads(trunk)
    objective = Labelled(loss_of(task, work.recipe.smoothing))
    extra: dict[str, Any] = {"measure": work.measured} if measured else {}
    totals = work.fit(name, trunk.model, objective, work.batches(name, {task.name: rows}), len(rows), **extra)
    return trunk, totals


def _chances(work: Work, trunk: Trunk, samples: list[Sample]) -> Any:
    """What a model says of texts: probabilities [N, L]."""
    (task,) = work.tasks.values()
    trunk.model.eval()
    encoder = encoder_of(work.tokenizer, trunk.config, task.info)
    guesses = guess(trunk.model, task.name, task.info, encoder, samples)
    return np.asarray([[one["probabilities"][label] for label in task.info.labels] for one in guesses])


def chosen(chances: Any, shares: Sequence[float], threshold: float, most: int) -> dict[int, int]:
    """The texts whose label is believed, with the label's number. chances: [N, L]; shares: [L], of the known labels.

    Of each label the surest: ``most``, or with 0 as many as keep the shares among those that have any.
    """
    best, sure = chances.argmax(1), chances.max(1)
    ranked = {
        label: [i for i in np.argsort(-sure, kind="stable").tolist() if best[i] == label and sure[i] >= threshold]
        for label in range(chances.shape[1])
    }
    there = [label for label, rows in ranked.items() if rows]
    room = min((len(ranked[label]) / shares[label] for label in there), default=0.0)
    quotas = {label: most or max(round(room * shares[label]), 1) for label in there}
    return {i: label for label in there for i in ranked[label][: quotas[label]]}


def _believed(work: Work, samples: list[Sample], chances: Any, name: str) -> dict[int, int]:
    (task,) = work.tasks.values()
    semi = work.recipe.semi
    counts = Counter(sample.labels[0] for sample in task.training if sample.labels)
    shares = [counts[label] / len(task.training) for label in task.info.labels]
    found = chosen(chances, shares, semi.threshold, semi.most)
    kinds = Counter(task.info.labels[label] for label in found.values())
    listed = ", ".join(f"{label} {number}" for label, number in sorted(kinds.items()))
    say(f"  {name}: {len(found)} of {len(samples)} guesses are believed{': ' * bool(listed)}{listed}")
    work.draft.metrics.setdefault("guessed", {})[name] = dict(kinds)
    return found


def _named(work: Work, samples: list[Sample], found: dict[int, int]) -> list[Sample]:
    (task,) = work.tasks.values()
    return [replace(samples[i], labels=(task.info.labels[label],)) for i, label in sorted(found.items())]


def _pseudo(work: Work, unlabelled: list[Sample]) -> tuple[Trunk, Totals]:
    (task,) = work.tasks.values()
    guessed: list[Sample] = []
    for number in range(work.recipe.semi.rounds):
        name = f"round-{number + 1}"
        trunk, _ = _learn(work, name, task.training, guessed, measured=False)
        found = _believed(work, unlabelled, _chances(work, trunk, unlabelled), name)
        guessed = _named(work, unlabelled, found)
    return _learn(work, FINAL, task.training, guessed, measured=True)


def halves(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The two views of each text: its text and its pair, or the first and the second half of its words."""
    views: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        words = words_of(sample.text)
        middle = _middle(sample.text, words)
        parts = (sample.text, sample.pair) if sample.pair else (sample.text[:middle], sample.text[middle:])
        for view, part in zip(views, parts, strict=True):
            view.append(replace(sample, text=part.strip() or sample.text, pair=None))
    return views


def _middle(text: str, words: Sequence[str]) -> int:
    """The character at which the second half of the words begins."""
    at = 0
    for word in words[: (len(words) + 1) // 2]:
        at = text.index(word, at) + len(word)
    return at


def _cotraining(work: Work, unlabelled: list[Sample]) -> tuple[Trunk, Totals]:
    (task,) = work.tasks.values()
    known, texts = halves(task.training), halves(unlabelled)
    learned: list[dict[int, int]] = [{}, {}]  # what each side was taught by the other
    for number in range(work.recipe.semi.rounds):
        found = []
        for side in (0, 1):
            name = f"round-{number + 1}-{SIDES[side].replace(' ', '-')}"
            trunk, _ = _learn(work, name, known[side], _named(work, texts[side], learned[side]), measured=False)
            found.append(_believed(work, unlabelled, _chances(work, trunk, texts[side]), name))
        learned = [found[1], found[0]]
    agreed = {i: label for i, label in (learned[0] | learned[1]).items()
              if learned[0].get(i, label) == learned[1].get(i, label)}  # fmt: skip
    say(f"  {len(agreed)} texts get a label from two halves that do not contradict each other")
    return _learn(work, FINAL, task.training, _named(work, unlabelled, agreed), measured=True)


def _consistency(work: Work, unlabelled: list[Sample]) -> tuple[Trunk, Totals]:
    recipe, semi = work.recipe, work.recipe.semi
    (task,) = work.tasks.values()
    trunk = work.trunk()
    encoder = encoder_of(work.tokenizer, trunk.config, task.info)
    known = lessons(task, encoder)
    unknown: list[Example] = [
        replace(row, values={**row.values, LABEL: -1}) for row in rows_of(task.info, encoder, unlabelled)
    ]
    work.give_heads(trunk)
    shares = {"known": 1 / (1 + semi.ratio), "unknown": semi.ratio / (1 + semi.ratio)}
    size = max(round(recipe.batch_examples * (1 + semi.ratio)), recipe.batch_examples + 1)
    source = work.batches(FINAL, {"known": known, "unknown": unknown}, shares=shares, batch_size=size)
    occurring = Counter(i for row in unknown for i in row.ids)
    special = {*work.tokenizer.special_ids.values(), *encoder.frame.before, *encoder.frame.after}
    if not set(occurring) - special:
        raise UserError("the unlabelled texts have no tokens", where=recipe.unlabelled[0])
    changer = Changer(
        occurring, special, share=semi.share, pad_id=work.tokenizer.pad_id, seed=derive(recipe.seed, "change")
    )
    classify = loss_of(task, recipe.smoothing)
    assert isinstance(classify, Classify)
    labels = Counter(label for sample in task.training for label in sample.labels or ())
    alignment = Alignment(torch.tensor([labels[name] + 0.0 for name in task.info.labels])) if semi.align else None
    told = {"weight": semi.weight, "ratio": semi.ratio, "threshold": semi.threshold, "temperature": semi.temperature}
    objective = Consistency(classify, **told, alignment=alignment)
    changed = ChangedBatches(source, changer, alignment)
    return trunk, work.fit(FINAL, trunk.model, objective, changed, len(known), measure=work.measured)
