"""The loop's laws: the update does not depend on how a batch is cut, a resumed run ends in the same bits, it learns."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model import compiling
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch
from danlu.train.hooks import Hook
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines, KeepLength, Metrics
from danlu.train.loop import Loop
from danlu.train.settings import GuardSettings, OptimizerSettings, TrainSettings
from danlu.train.state import Step
from tests.train.conftest import eight_bit, items, loop, model


def weights(run: Loop) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: value.detach().clone() for name, value in run.model.named_parameters()}


class Losses(Hook):
    """Remembers the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, step: Step) -> None:
        """Note it."""
        self.seen.append(step.loss)


class Stop(Hook):
    """Ends the process's part of a run after some steps, as a kill would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def after_step(self, step: Step) -> None:
        """Raise when it is time."""
        if step.number == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("parts", [2, 8])
def test_micro_batches_give_the_same_update(tmp_path: Path, name: Any, parts: int) -> None:
    ends = []
    for micro in (1, parts):
        # Adam divides by the size of the gradient, so with its usual epsilon it would show the rounding noise of
        # gradients that are zero in exact arithmetic.
        optimizer = OptimizerSettings(name=name, lr=1e-2, epsilon=1e-3)
        settings = TrainSettings(steps=3, micro_batches=micro, optimizer=optimizer)
        run = loop(tmp_path / str(micro), settings)
        run.run()
        ends.append(weights(run))
    for key in ends[0]:
        torch.testing.assert_close(ends[0][key], ends[1][key], rtol=0, atol=1e-6)


RATES = {"lion": 5e-3}  # half of the others': see danlu/train/optim/lion.py
EIGHT = pytest.param("adamw8bit", marks=eight_bit)


def wide(name: str) -> Transformer:
    """A model whose matrices are large enough to be remembered in 8 bits, where that is asked for."""
    return model(width=64, heads=4, kv_heads=4) if name == "adamw8bit" else model()


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor", EIGHT])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns(folder: Path, name: Any, precision: str) -> None:
    """Counting is predictable but for the first token: from ln 32 to under a twentieth of it."""
    losses = Losses()
    optimizer = OptimizerSettings(name=name, lr=RATES.get(name, 1e-2))
    settings = TrainSettings(steps=60, optimizer=optimizer, checkpoint_every=1000)
    loop(folder, settings, precision, model=wide(name), hooks=[losses]).run()
    assert losses.seen[0] == pytest.approx(math.log(32), abs=0.2)
    assert losses.seen[-1] < math.log(32) / 20


def test_the_golden_curve(folder: Path) -> None:
    """Made by this test on an x86-64 CPU, torch 2.13, 2026-11-22: a refactor must not move it."""
    losses = Losses()
    settings = TrainSettings(steps=12, optimizer=OptimizerSettings(name="muon", lr=1e-2), checkpoint_every=1000)
    loop(folder, settings, hooks=[losses]).run()
    assert [round(value, 3) for value in losses.seen] == GOLDEN


@pytest.mark.parametrize(
    ("stopped_after", "name"),
    [(after, name) for name in ("adamw", "muon") for after in (1, 4, 7, 11)]
    + [(4, "lion"), (7, "adafactor"), pytest.param(7, "adamw8bit", marks=eight_bit)],
)
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, stopped_after: int, name: Any) -> None:
    settings = TrainSettings(
        steps=12, checkpoint_every=3, evaluate_every=2, optimizer=OptimizerSettings(name=name, lr=1e-2)
    )

    def run(folder: Path, *extra: Hook) -> Loop:
        net = wide(name)
        folder.mkdir(exist_ok=True)
        lines = JsonLines(folder / "metrics.jsonl")
        noise = Periodic(net, lambda _: [{"value": float(torch.rand(()))}], lines, 2, "eval")
        return loop(
            folder / "checkpoints", settings, model=net, hooks=[Metrics(lines), noise, *extra, KeepLength(lines)]
        )

    whole = run(tmp_path / "whole", Hook())
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Stop(stopped_after)).run()
    resumed = run(tmp_path / "parts", Hook())
    resumed.run()
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[key]), key
    counted = [(tmp_path / part / "metrics.jsonl").read_text().count('"train"') for part in ("whole", "parts")]
    assert counted == [12, 12]


def test_what_is_not_a_number_is_skipped_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Poisoned(NextToken):
        """A loss that is NaN on the third batch."""

        calls = 0

        def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            """As `NextToken`, poisoned once."""
            self.calls += 1
            loss, metrics = super().__call__(model, batch)
            return (loss * float("nan") if self.calls == 3 else loss), metrics

    lines = JsonLines(folder.parent / "metrics.jsonl")
    run = loop(folder, TrainSettings(steps=5), objective=Poisoned(), hooks=[Metrics(lines)])
    totals = run.run()
    assert totals.skipped == 1
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert "step 3 skipped: loss is nan (batch epoch 0" in capsys.readouterr().err
    assert '"kind": "skip", "step": 3' in lines.path.read_text()


def test_a_hopeless_run_stops(folder: Path) -> None:
    class Broken(NextToken):
        """Never a number."""

        def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            """NaN."""
            return super().__call__(model, batch)[0] * float("nan"), {}

    settings = TrainSettings(steps=50, guard=GuardSettings(limit=4))
    with pytest.raises(UserError, match="4 steps in a row were skipped; the last because loss is nan, in batch epoch"):
        loop(folder, settings, objective=Broken()).run()


def test_clipping_bounds_the_step(folder: Path) -> None:
    def moved(clip: float) -> float:
        optimizer = OptimizerSettings(name="adamw", clip=clip, epsilon=1.0, lr=1.0, weight_decay=0.0)
        settings = TrainSettings(steps=1, optimizer=optimizer)
        run = loop(folder.parent / str(clip), settings)
        before = weights(run)
        run.run()
        return sum(float((value - before[key]).abs().sum()) for key, value in weights(run).items())

    assert moved(1e-3) < 0.1 * moved(0.0)


def test_fp16_survives_an_overflow(folder: Path) -> None:
    losses = Losses()
    run = loop(folder, TrainSettings(steps=40, optimizer=OptimizerSettings(lr=1e-2)), "fp16", hooks=[losses])
    run.scaler.scale = 2.0**40  # certain to overflow
    run.run()
    assert 1.0 <= run.scaler.scale < 2.0**40
    assert losses.seen[-1] < losses.seen[0] / 2


def test_changed_data_is_refused(folder: Path) -> None:
    from danlu.tokens.batches import PackedBatches

    with pytest.raises(KeyboardInterrupt):
        loop(folder, TrainSettings(steps=6, checkpoint_every=2), hooks=[Stop(3)]).run()
    other = PackedBatches(items(seed=1), batch_size=8, length=32, pad_id=31, seed=0, split=False)
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        loop(folder, TrainSettings(steps=6, checkpoint_every=2), source=other, hooks=[Stop(9)]).run()


GOLDEN = [3.464, 3.096, 2.877, 2.641, 2.424, 2.184, 1.973, 1.749, 1.562, 1.461, 1.348, 1.259]


# torch asks each tensor that it meets for a gradient, and warns of its own question.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compile_reaches_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    for compile_ in (False, True):
        run = loop(tmp_path / str(compile_), TrainSettings(steps=1, compile=compile_))
        run.run()
        assert bool(run.model.compiled) == compile_
