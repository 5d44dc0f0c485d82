"""``danlu sft --find-lr``: the range test in place of training; what it leaves is a suggestion and a plot, and no
model.

The rate rises from 1e-6 to 0.1, or to what optimizer.lr says and from a hundred-thousandth of it; `danlu.train.ranging`
says how the loss is read. Model, method, data, batch and objective are those of the run that is prepared, so the same
command with ``--find-lr`` at its end is all it takes. What is said of that run's length, measurements and schedule
waits for it.
"""

import dataclasses
from typing import TYPE_CHECKING

from danlu.base.artifact import Artifact, Draft
from danlu.base.progress import say
from danlu.train.settings import ScheduleSettings, TrainSettings

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.objectives.objective import Objective
    from danlu.recipes.training import Machine
    from danlu.tokens.batches import Source

STAGE = "lr"
STEPS = 100
HIGHEST, SPAN = 1e-1, 1e5  # where the rate ends, and how many times lower it begins
SIGMAS = 1e9  # a spike is what the test looks for


def settings(usual: TrainSettings, highest: float | None) -> TrainSettings:
    """The loop's settings for the test: ``usual`` but for the rates, which rise to ``highest``."""
    optimizer = dataclasses.replace(usual.optimizer, lr=HIGHEST if highest is None else highest)
    schedule = ScheduleSettings(name="rising", floor=1 / SPAN)
    return dataclasses.replace(
        usual,
        steps=STEPS,
        seconds=0.0,
        optimizer=optimizer,
        schedule=schedule,
        guard=dataclasses.replace(usual.guard, sigmas=SIGMAS),
        evaluate_every=0,
        evaluate_seconds=0.0,
        evaluate_first=False,
    )


def sweep(
    draft: Draft,
    model: "Transformer",
    objective: "Objective",
    source: "Source",
    told: TrainSettings,
    machine: "Machine",
) -> Artifact:
    """Run the test in ``draft``'s directory and say what it found; ``model`` is spoilt and not written."""
    from danlu.train.checkpoint import Checkpoints
    from danlu.train.hooks.metrics import JsonLines, KeepLength
    from danlu.train.loop import Loop
    from danlu.train.ranging import BELOW, Rising, suggest

    lines = JsonLines(draft.path / "metrics.jsonl")
    rising = Rising(lines)
    hooks = [rising, KeepLength(lines)]
    checkpoints = Checkpoints(draft.path / ".checkpoints")
    Loop(model, objective, source, told, checkpoints, machine.precision, hooks, "learning rates").run()
    found = suggest(rising.rates, rising.losses, rising.blown)
    draft.metrics |= {"rates": len(rising.rates), "blown": rising.blown}
    if found is None:
        say("  the loss never fell: no learning rate can be suggested; look at the data and the method")
        return draft.finish()
    draft.metrics |= {"suggested_lr": found.rate, "steepest_lr": found.steepest, "lowest_lr": found.lowest}
    say(f"  the loss falls fastest at a learning rate of {found.steepest:.2g} and is lowest at {found.lowest:.2g}")
    say(f"  suggested: --optimizer.lr {found.rate:g}, the lower of the first and of the second over {BELOW:g}")
    return draft.finish()
