"""Training for tasks: the trunk gets its heads, the loop runs, each task leaves its directory.

A run may train more than once (hidden tokens before tags, models that guess labels), each time in a loop of its own
with its own checkpoints, so a run that is stopped goes on in the one that it was in and ends in the same bits.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from statistics import fmean
from typing import Any

import torch

from danlu.base import artifact
from danlu.base.artifact import Artifact, Draft
from danlu.base.device import peak_memory
from danlu.base.errors import UserError
from danlu.base.progress import count, duration, say
from danlu.base.seed import derive, seed_everything
from danlu.model.adapters.files import attach as adapt
from danlu.model.adapters.lora import rate_ratios
from danlu.model.adapters.merging import merge
from danlu.model.adapters.partial import freeze
from danlu.model.hub import read_config
from danlu.model.task_files import Trunk, fold, new_head, open_trunk, save_task
from danlu.model.task_heads import attach, head_of, strip
from danlu.model.transformer import Transformer
from danlu.objectives.contrast import Contrast
from danlu.objectives.gradnorm import GradNorm
from danlu.objectives.labelled import Labelled
from danlu.objectives.masked import Masked, MaskedBatches, Masker, with_mask
from danlu.objectives.masked_tags import MaskedTags
from danlu.objectives.multitask import BALANCE, TASK, MultiTask, Uncertainty
from danlu.objectives.objective import Objective
from danlu.recipes.task import STAGE, TrainTask, sources
from danlu.recipes.tasks.data import Prepared, prepare_tasks
from danlu.recipes.tasks.kinds import encoder_of, guess, lessons, loss_of, measure, start_at
from danlu.recipes.training import (
    Machine,
    Measure,
    check_length,
    check_vocabulary,
    looking_for_best,
    measure_kept,
    prepare,
    tokenizer_home,
)
from danlu.tokens.batches import Source
from danlu.tokens.examples import Collate, Example, ExampleBatches, collate, collate_groups
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.checkpoint import Checkpoints
from danlu.train.hooks import Hook
from danlu.train.hooks.average import Average
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines, KeepLength, Metrics
from danlu.train.hooks.tracking import Tracking, open_trackers
from danlu.train.loop import Loop
from danlu.train.peak import peak_flops
from danlu.train.settings import TrainSettings
from danlu.train.state import Step, Totals

SCORE = "score"  # the mean of the tasks' first measures, by which the best weights are told
FINAL = "task"  # the name of the loop whose model is kept
MAIN = {"classify": "accuracy", "tag": "f1", "qa": "f1", "regress": "spearman", "embed": "accuracy"}  # to be printed


class Settle(Hook):
    """Moves GradNorm's weights after each step, and keeps them in checkpoints."""

    def __init__(self, balance: GradNorm) -> None:
        self.balance = balance

    def after_step(self, step: Step) -> None:
        """All micro-batches were seen."""
        self.balance.settle()

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return self.balance.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.balance.load_state_dict(state)


@dataclasses.dataclass
class Work:
    """A run of the stage: what every loop of it has in common."""

    recipe: TrainTask
    draft: Draft
    machine: Machine
    tokenizer: Tokenizer
    tasks: dict[str, Prepared]

    def trunk(self, *, output: bool = False) -> Trunk:
        """The model that the run starts from, without heads; of it only what the method says learns."""
        recipe, trunk = self.recipe, open_trunk(self.recipe.model, output=output)
        if recipe.method == "lora":
            adapt(trunk.model, recipe.lora, recipe.model, recipe.seed)
        elif recipe.method == "freeze":
            freeze(trunk.model, recipe.freeze)
        trunk.model.to(self.machine.device)
        return trunk

    def give_heads(self, trunk: Trunk) -> None:
        """A head for every task."""
        heads = {name: new_head(trunk, task.info, self.recipe.seed) for name, task in self.tasks.items()}
        attach(trunk.model, {name: head for name, head in heads.items() if head is not None})
        for task in self.tasks.values():
            start_at(trunk.model, task, encoder_of(self.tokenizer, trunk.config, task.info))

    def fit(
        self, name: str, model: Transformer, objective: Objective, source: Source, rows: int, **more: Any
    ) -> Totals:
        """One loop to its end: ``rows`` of an epoch decide its length; ``more``: measure, hooks, epochs."""
        settings = self.settings(rows, more.get("epochs"))
        seed_everything(derive(self.recipe.seed, STAGE, name))
        suffix = "" if name == FINAL else f"-{name}"
        lines = JsonLines(self.draft.path / f"metrics{suffix}.jsonl")
        found: Measure = more.get("measure", lambda model: [])
        average = Average(model, self.recipe.ema) if self.recipe.ema else None
        within = nullcontext if average is None else average.in_place
        seen = Periodic(model, found, lines, settings.evaluate_every, "eval", settings.evaluate_seconds, within)
        best = looking_for_best(self.draft, model, seen, average, name=SCORE, higher=True) if name == FINAL else None
        own: list[Hook] = [*([average] if average else []), seen, *([best] if best else [])]
        track = [Tracking(lines, open_trackers(self.recipe.track, self.draft.path, STAGE))] if name == FINAL else []
        hooks = [Metrics(lines), *own, *more.get("hooks", ()), KeepLength(lines), *track]
        peak = self.draft.decide("peak_flops", lambda: f"{peak_flops(self.machine.device, self.machine.precision):.4g}")
        checkpoints = Checkpoints(self.draft.path / ".checkpoints" / name)
        ratios = rate_ratios(model)
        loop = Loop(model, objective, source, settings, checkpoints, self.machine.precision, hooks, name, ratios=ratios)
        loop.skipped, loop.peak = self.draft.path / "skipped", float(peak)
        totals = loop.run()
        measure_kept(self.draft, model, found, best, totals.step)
        loop.save()  # the loops after it take up what it left
        model.compute_dtype = torch.float32
        return totals

    def settings(self, rows: int, epochs: float | None = None) -> TrainSettings:
        """What a loop over ``rows`` an epoch is told; an own number of epochs is never the recipe's steps."""
        recipe, steps = self.recipe, self.recipe.length_of(rows, epochs or 0.0)
        if epochs is not None:
            recipe = dataclasses.replace(recipe, steps=steps, seconds=0.0, epochs=TrainTask.epochs)
        return recipe.settings(steps, rows)

    def batches(self, name: str, tasks: dict[str, list[Example]], **more: Any) -> ExampleBatches:
        """The rows of a loop, dealt by the seed and the loop's name."""
        put: Collate = more.pop("collate", partial(collate, pad_id=self.tokenizer.pad_id))
        shape: dict[str, Any] = {"batch_size": self.recipe.batch_examples, "seed": derive(self.recipe.seed, name)}
        return ExampleBatches(tasks, collate=put, **shape | more)

    def measured(self, model: Transformer) -> list[dict[str, object]]:
        """Every task's held-out records; noted in the draft's metrics."""
        line: dict[str, object] = {}
        scores = list[float]()
        for name, task in self.tasks.items():
            if not task.held_out:
                continue
            encoder = encoder_of(self.tokenizer, model.config, task.info)
            if task.scale != 1.0 or task.shift:  # the head learns scores of another size
                guesses = [
                    {"score": g["score"] * task.scale + task.shift}
                    for g in guess(model, name, task.info, encoder, task.held_out)
                ]
            else:
                guesses = guess(model, name, task.info, encoder, task.held_out)
            found = measure(task.info, task.held_out, guesses)
            self.draft.metrics.setdefault("held_out", {})[name] = found
            prefix = f"{name}/" if len(self.tasks) > 1 else ""
            scores.append(float(found[main_of(task.info.kind, found)]))
            line |= {f"{prefix}{key}": value for key, value in found.items() if isinstance(value, int | float)}
        return [{**line, SCORE: fmean(scores)}] if line else []


def train_tasks(recipe: TrainTask, *, fresh: bool = False) -> Artifact:
    """The stage: everything that can be refused is refused before the directory is claimed."""
    config = read_config(recipe.model)
    check_length(recipe.length, config)
    tokenizer = Tokenizer.load(tokenizer_home(recipe.model))
    if recipe.holes.used:
        _check_mask(recipe, config.causal, tokenizer)
    trunk = open_trunk(recipe.model, output=recipe.holes.used)
    check_vocabulary(trunk.model, tokenizer, recipe.model)
    tasks = prepare_tasks(recipe, trunk.kind, config.causal)
    _check_pairs(recipe, tasks)
    guessed = None
    if recipe.unlabelled:
        from danlu.recipes.tasks.semi import read_unlabelled

        guessed = read_unlabelled(recipe, next(iter(tasks.values())))
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    work = Work(recipe, draft, prepare(draft, recipe.device, recipe.precision, recipe.seed), tokenizer, tasks)
    draft.metrics["records"] = {name: [len(task.training), len(task.held_out)] for name, task in tasks.items()}
    if guessed is not None:
        from danlu.recipes.tasks.semi import train_semi

        trunk, totals = train_semi(work, guessed)
    else:
        trunk, totals = _train(work)
    return _finish(work, trunk, totals)


def _check_mask(recipe: TrainTask, causal: bool, tokenizer: Tokenizer) -> None:
    if causal:
        what = "a model that sees only what came before cannot find hidden words from both sides"
        raise UserError(what, where="recipe: holes", remedy="Use an encoder")
    if with_mask(tokenizer)[0] is not tokenizer:
        raise UserError("its tokenizer has no mask token", where=recipe.model, remedy="Leave holes out")


def _check_pairs(recipe: TrainTask, tasks: dict[str, Prepared]) -> None:
    """Of fewer pairs than a group a pair would be its own negative."""
    group = recipe.embed.group or recipe.batch_examples
    for task in tasks.values():
        if task.info.kind == "embed" and len(task.training) < group:
            what = f"{len(task.training)} pairs are fewer than the {group} that see one another"
            raise UserError(what, where="recipe: batch_examples", remedy="Lower it, or give more pairs")


def _train(work: Work) -> tuple[Trunk, Totals]:
    """The plain way: one task or several, maybe with hidden tokens."""
    recipe, holes = work.recipe, work.recipe.holes
    trunk = work.trunk(output=holes.used)
    rows = {
        name: lessons(task, encoder_of(work.tokenizer, trunk.config, task.info), **_number(work, number))
        for number, (name, task) in enumerate(work.tasks.items())
    }
    total = sum(map(len, rows.values()))
    if len(rows) > 1:
        return trunk, _several(work, trunk, rows)
    (task,) = work.tasks.values()
    if task.info.kind == "embed":
        return trunk, _embed(work, trunk, task, rows)
    if holes.epochs_before:
        masker = Masker(work.tokenizer, holes.masking, derive(recipe.seed, "holes", "before"))
        source = MaskedBatches(work.batches("holes", rows), masker)
        work.fit("holes", trunk.model, Masked(), source, total, epochs=holes.epochs_before)
    if holes.used and not holes.weight:
        strip(trunk.model)
    work.give_heads(trunk)
    objective: Objective = Labelled(loss_of(task, recipe.smoothing))
    plain: Source = work.batches(FINAL, rows)
    if holes.weight:
        assert isinstance(objective, Labelled)
        objective = MaskedTags(objective, holes.weight)
        plain = MaskedBatches(plain, Masker(work.tokenizer, holes.masking, derive(recipe.seed, "holes")))
    return trunk, work.fit(FINAL, trunk.model, objective, plain, total, measure=work.measured)


def _number(work: Work, number: int) -> dict[str, Any]:
    """The number of a row's task, where there are several."""
    return {TASK: number} if len(work.tasks) > 1 else {}


def _embed(work: Work, trunk: Trunk, task: Prepared, rows: dict[str, list[Example]]) -> Totals:
    recipe = work.recipe
    group = recipe.embed.group or recipe.batch_examples
    total = sum(map(len, rows.values()))
    work.give_heads(trunk)
    put = partial(collate_groups, pad_id=work.tokenizer.pad_id, group=group)
    objective = Contrast(task.info.pooling, temperature=recipe.embed.temperature)
    return work.fit(FINAL, trunk.model, objective, work.batches(FINAL, rows, collate=put), total, measure=work.measured)


def _several(work: Work, trunk: Trunk, rows: dict[str, list[Example]]) -> Totals:
    """All tasks in one loop, their weights fixed or learned."""
    recipe, several = work.recipe, work.recipe.several
    sizes = {name: len(own) ** several.alpha for name, own in rows.items()}
    shares = {name: size / sum(sizes.values()) for name, size in sizes.items()}
    work.give_heads(trunk)
    balance = None
    if several.weighting == "gradnorm":
        balance = GradNorm(list(rows), alpha=several.gradnorm_alpha, rate=several.gradnorm_rate)
    if several.weighting == "uncertainty":
        setattr(trunk.model, BALANCE, Uncertainty(len(rows)).to(work.machine.device))
    losses = {name: loss_of(task, recipe.smoothing) for name, task in work.tasks.items()}
    squared = frozenset(name for name, task in work.tasks.items() if task.info.kind == "regress")
    fixed = dict.fromkeys(rows, 1.0) | several.given()
    objective = MultiTask(losses, fixed, squared=squared, balance=balance)
    say("  shares of the rows: " + ", ".join(f"{name} {part:.0%}" for name, part in shares.items()))
    hooks = [] if balance is None else [Settle(balance)]
    source = work.batches(FINAL, rows, shares=shares)
    total = sum(map(len, rows.values()))
    totals = work.fit(FINAL, trunk.model, objective, source, total, measure=work.measured, hooks=hooks)
    learned = getattr(trunk.model, BALANCE, None)
    if learned is not None:
        numbers = learned.log_variance.detach().neg().exp().tolist()
        work.draft.metrics["weights"] = dict(zip(rows, numbers, strict=True))
        delattr(trunk.model, BALANCE)
    elif balance is not None:
        work.draft.metrics["weights"] = dict(balance.weights)
    return totals


def _finish(work: Work, trunk: Trunk, totals: Totals) -> Artifact:
    """Write the directories, and say what came of it."""
    draft, tokenizer, model = work.draft, work.tokenizer, trunk.model
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    merge(model)
    parameters = sum(p.numel() for p in model.parameters())
    if hasattr(model, "head_bias") or hasattr(model, "transform"):
        strip(model)
    tokens = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    for name, task in work.tasks.items():
        path = draft.path / name if len(work.tasks) > 1 else draft.path
        if task.info.kind == "regress":
            fold(head_of(model, name), task.scale, task.shift)
        save_task(trunk, task.info, name, path, tokens)
        typed = encoder_of(tokenizer, model.config, task.info).typed
        names = ["input_ids", *["token_type_ids"] * typed, "attention_mask"]  # what transformers is to give the model
        tokenizer.with_config(model_input_names=names).save(path)
    draft.metrics |= {
        "parameters": parameters,
        "trained_parameters": learned,
        "steps": totals.step,
        "skipped": totals.skipped,
        "tokens": totals.tokens,
        "tokens_per_second": round(totals.tokens / max(totals.seconds, 1e-9), 1),
        "precision": work.machine.precision,
        "peak_memory_bytes": peak_memory(),
    }
    say(f"  {count(totals.tokens)} tokens in {duration(totals.seconds)}")
    for name, found in draft.metrics.get("held_out", {}).items():
        tell(name, work.tasks[name].info.kind, found)
    return draft.finish()


def main_of(kind: str, found: dict[str, Any]) -> str:
    """The measure by which a task of the kind is judged first."""
    return next(key for key in (MAIN[kind], "accuracy", "spearman") if key in found)


def tell(name: str, kind: str, found: dict[str, Any]) -> None:
    """One line: the number that counts most, its interval where it has one, and the labels that are hardest."""
    main = main_of(kind, found)
    interval = found.get(f"{main}_interval")
    around = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    others = [
        key for key in ("accuracy", "macro_f1", "exact_match", "rmse", "pearson", "reciprocal_rank") if key in found
    ]
    rest = "".join(f", {key} {found[key]:.3f}" for key in others if key != main)
    say(f"  {name}: {main} {found[main]:.3f}{around}{rest} on {found['records']} records")
    by_label: dict[str, dict[str, float]] = found.get("labels") or found.get("types") or {}
    if len(by_label) > 2:
        worst: Sequence[str] = sorted(by_label, key=lambda label: by_label[label]["f1"])[:3]
        say("  hardest: " + ", ".join(f"{label} (F1 {by_label[label]['f1']:.3f})" for label in worst))
