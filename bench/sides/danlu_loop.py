"""Danlu's side of pretrain_speed and memory: its loop over batches from a file, in a process of its own.

    python danlu_loop.py WORK.json OPTIMIZER [checkpointing|compiled]

Everything but reading shards is what `danlu pretrain` does: its model with packed segments, next_token, the loop
with clipping and guard, the allocator told to keep its memory. Prints seconds and loss of each step as JSON, and the
most memory that the process ever had resident.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from danlu.base.device import keep_memory
from danlu.base.seed import seed_everything
from danlu.model.hub import load_model
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch
from danlu.train.checkpoint import Checkpoints
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings
from danlu.train.state import Step


class Given:
    """The file's batches in their order."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids, self.position = ids, 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        ids = torch.from_numpy(np.array(self.ids[self.position], np.int64))
        self.position += 1
        mask = torch.ones(ids.shape)
        mask[:, 0] = 0
        return Batch(ids, mask, torch.zeros(ids.shape, dtype=torch.int32))

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.position = state["position"]


class Clock(Hook):
    """When each step ended, and its loss: the time of a step runs from the end of the one before."""

    def __init__(self) -> None:
        self.times, self.losses = [time.perf_counter()], list[float]()

    def after_step(self, step: Step) -> None:
        self.times.append(time.perf_counter())
        self.losses.append(step.loss)


def main() -> None:
    """Train for as many steps as there are batches."""
    work, optimizer = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2]
    torch.set_num_threads(work["threads"])
    keep_memory()
    seed_everything(0)
    ids = np.load(work["batches"], mmap_mode="r")
    settings = TrainSettings(
        steps=len(ids),
        optimizer=OptimizerSettings(name=optimizer, lr=work["lr"]),  # type: ignore[arg-type]
        schedule=ScheduleSettings(warmup=0, decay=0),
        checkpointing="checkpointing" in sys.argv,
        compile="compiled" in sys.argv,
        checkpoint_every=len(ids) + 1,
    )
    model, clock = load_model(Path(work["weights"])), Clock()
    with TemporaryDirectory() as folder:
        Loop(model, NextToken(), Given(ids), settings, Checkpoints(Path(folder)), work["precision"], [clock]).run()
    seconds = [after - before for before, after in zip(clock.times, clock.times[1:])]
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        "seconds": seconds,
        "losses": clock.losses,
        "parameters": model.config.parameters(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
