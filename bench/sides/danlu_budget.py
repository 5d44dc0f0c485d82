"""Danlu's side of char, time_to_loss and curves: its loop over windows of one stream of ids, for a time or some steps.

    python danlu_budget.py WORK.json

WORK.json is what `budget.work` wrote. Where ``seconds`` is given, a few steps of a model that is thrown away tell how
many fit in them. Held-out text is measured on the way; the clock stands still meanwhile, as it does on the peer's side.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from danlu.base.device import keep_memory
from danlu.base.seed import seed_everything
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import cross_entropy_sum
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch
from danlu.train.checkpoint import Checkpoints
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings
from danlu.train.state import Step

TRIAL, UNTIMED, AT_ONCE = 8, 3, 32  # steps of the trial, those of them that warm up; held-out rows measured together


@dataclass
class Windows:
    """Windows of the stream from random places; which ones follows from the seed and the number of the batch alone."""

    ids: np.ndarray  # [N]
    rows: int
    length: int
    seed: int
    bos: int | None  # where it stands, a document begins, which sees nothing of the one before
    halved: int = 0  # the first batches, of half the rows
    position: int = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        draw = np.random.default_rng([self.seed, self.position])
        rows = max(self.rows // 2, 1) if self.position < self.halved else self.rows
        starts = draw.integers(0, len(self.ids) - self.length, rows)
        ids = torch.from_numpy(np.stack([self.ids[start : start + self.length] for start in starts]).astype(np.int64))
        self.position += 1
        begins = torch.zeros_like(ids, dtype=torch.bool) if self.bos is None else ids == self.bos
        begins[:, 0] = True
        return Batch(ids, (~begins).float(), begins.cumsum(dim=1).to(torch.int32))

    def state_dict(self) -> dict[str, Any]:
        """Which batch is next."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.position = state["position"]


@torch.no_grad()
def nats(model: Transformer, rows: np.ndarray) -> float:
    """Of every token but the first of each of the held-out ``rows`` [N, E + 1], together."""
    total = 0.0
    for start in range(0, len(rows), AT_ONCE):
        ids = torch.from_numpy(rows[start : start + AT_ONCE].astype(np.int64))
        hidden = model.hidden(ids[:, :-1]).flatten(0, 1)
        targets = ids[:, 1:].flatten()
        total += float(cross_entropy_sum(hidden, model.output_weight, targets, torch.ones(len(targets))))
    return total


class Clock(Hook):
    """Seconds of training alone, and what was measured after how many of them."""

    def __init__(self, model: Transformer, held_out: np.ndarray, every: int) -> None:
        self.model, self.held_out, self.every = model, held_out, every
        self.seconds, self.losses, self.measured = list[float](), list[float](), list[list[float]]()
        self.since = time.perf_counter()

    def after_step(self, step: Step) -> None:
        self.seconds.append(time.perf_counter() - self.since)
        self.losses.append(step.loss)
        if step.last or (self.every and step.number % self.every == 0):
            self.model.eval()
            self.measured.append([step.number, math.fsum(self.seconds), nats(self.model, self.held_out)])
            self.model.train()
        self.since = time.perf_counter()


def train(work: dict[str, Any], steps: int, held_out: np.ndarray, evaluations: int) -> tuple[Clock, Transformer]:
    """A run of ``steps`` from nothing."""
    seed_everything(work["seed"])
    settings = TrainSettings(
        steps=steps,
        optimizer=OptimizerSettings(**work["optimizer"]),
        schedule=ScheduleSettings(**work["schedule"]),
        checkpoint_every=steps + 1,
    )
    stream, halved = np.load(work["stream"], mmap_mode="r"), round(work["ramp"] * steps)
    source = Windows(stream, work["rows"], work["length"], work["seed"], work["bos"], halved)
    model = Transformer(ModelConfig(**work["model"]), work["seed"])
    clock = Clock(model, held_out, max(steps // evaluations, 1) if evaluations else 0)
    with TemporaryDirectory() as folder:
        loop = Loop(model, NextToken(), source, settings, Checkpoints(Path(folder)), work["precision"], [clock])
        clock.since = time.perf_counter()
        loop.run()
    return clock, model


def main() -> None:
    """Find the number of steps, train, tell."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(work["threads"])
    keep_memory()
    held_out = np.load(work["held_out"])
    steps = work["steps"]
    if work["seconds"]:
        trial, _ = train({**work, "ramp": 0.0}, TRIAL, held_out[:1], 0)
        step = statistics.median(trial.seconds[UNTIMED:]) * (1 - work["ramp"] / 2)
        steps = max(int(work["seconds"] / step), 2)
    clock, model = train(work, steps, held_out, work["evaluations"])
    found = {
        "steps": steps,
        "seconds": math.fsum(clock.seconds),
        "losses": clock.losses,
        "measured": clock.measured,
        "parameters": model.config.parameters(),
        "tokens": (steps * work["rows"] - round(work["ramp"] * steps) * (work["rows"] // 2)) * work["length"],
        "versions": {},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
