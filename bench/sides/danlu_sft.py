"""Danlu's side of sft_speed: what `danlu sft` does with samples from a file, in a process of its own.

    python danlu_sft.py WORK.json lora|qlora|full

The samples of a step are packed into rows as `danlu sft` packs them; model, adapter, objective and loop are its own.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sft_rows import Sample, Times, read, tell

from danlu.base.device import keep_memory, torch_dtype
from danlu.base.seed import seed_everything
from danlu.model.adapters.files import attach
from danlu.model.adapters.layers import narrow
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch, sequential
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems
from danlu.train.checkpoint import Checkpoints
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings
from danlu.train.state import Step


class Groups:
    """The file's steps in their order."""

    def __init__(self, groups: list[list[Sample]], length: int, pad_id: int) -> None:
        self.groups, self.length, self.pad_id, self.position = groups, length, pad_id, 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        items = ListItems([Rendered(ids, mask) for ids, mask in self.groups[self.position]])
        self.position += 1
        return next(sequential(items, batch_size=len(items), length=self.length, pad_id=self.pad_id, split=False))

    def state_dict(self) -> dict[str, Any]:
        """Where the next step begins."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.position = state["position"]


class Clock(Hook):
    """The end of each step, and its loss."""

    def __init__(self) -> None:
        self.times, self.losses = Times(), list[float]()

    def after_step(self, step: Step) -> None:
        self.times.end()
        self.losses.append(step.loss)


def main() -> None:
    """Train on every group."""
    work, groups = read(sys.argv[1])
    method = sys.argv[2]
    torch.set_num_threads(work["threads"])
    keep_memory()
    seed_everything(0)
    base = Path(work["model"])
    model = load_model(base)
    if method != "full":
        how = Quantization() if method == "qlora" else None
        attach(model, Lora(rank=work["rank"], alpha=work["alpha"]), base, work["seed"], (), how)
        narrow(model, torch_dtype(work["precision"]))
    settings = TrainSettings(
        steps=len(groups),
        optimizer=OptimizerSettings(name="adamw", lr=work["lr"], beta2=0.999, weight_decay=0.0),
        schedule=ScheduleSettings(warmup=0, decay=0),
        checkpoint_every=len(groups) + 1,
    )
    clock, source = Clock(), Groups(groups, work["length"], work["pad"])
    with TemporaryDirectory() as folder:
        loop = Loop(model, NextToken(), source, settings, Checkpoints(Path(folder)), work["precision"], [clock])
        clock.times = Times()
        loop.run()
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    tell(clock.times, clock.losses, groups, parameters=learned)


if __name__ == "__main__":
    main()
