"""A bad stretch: its batches are kept, training goes on, and where it does not end, the checkpoint is from before."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from danlu.base.errors import UserError
from danlu.tokens.batches import Batch, PackedBatches
from danlu.train.guard import KEPT_BATCHES, save_batch
from danlu.train.settings import GuardSettings, OptimizerSettings, ScheduleSettings, TrainSettings
from tests.train.conftest import items, loop
from tests.train.test_loop import weights


class Poisoned(PackedBatches):
    """Batches of which some, counted from 1, weigh what is not a number."""

    def __init__(self, bad: range) -> None:
        super().__init__(items(), batch_size=8, length=32, pad_id=31, seed=0, split=False)
        self.bad, self.dealt = bad, 0

    def __next__(self) -> Batch:
        batch = super().__next__()
        self.dealt += 1
        if self.dealt in self.bad:
            batch.mask[3, 7] = math.nan
        return batch


def settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {"steps": 12, "guard": GuardSettings(limit=5), "checkpoint_every": 2}
    return TrainSettings(**values | changes)


def test_a_skipped_batch_is_named_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = loop(tmp_path / "checkpoints", settings(), source=Poisoned(range(4, 7)), skipped=tmp_path / "skipped")
    totals = run.run()
    assert (totals.step, totals.skipped) == (12, 3)
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    files = sorted(path.name for path in (tmp_path / "skipped").iterdir())
    assert files == [f"step-{number}.safetensors" for number in (4, 5, 6)]
    assert "step 4 skipped: loss is nan (batch epoch 1" in (said := capsys.readouterr().err)
    assert "kept as skipped/step-4.safetensors" in said
    source = PackedBatches(items(), batch_size=8, length=32, pad_id=31, seed=0, split=False)
    wanted = [next(source) for _ in range(4)][-1]
    with safe_open(tmp_path / "skipped" / "step-4.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("ids"), wanted.ids)
        assert torch.equal(file.get_tensor("segments"), wanted.segments)
        assert math.isnan(float(file.get_tensor("mask")[3, 7]))
        about = file.metadata()
    assert about["reason"] == "loss is nan"
    assert tuple(json.loads(about["names"])) == wanted.names


def test_the_last_twenty_are_kept(tmp_path: Path) -> None:
    batch = next(Poisoned(range(0)))
    for step in range(95, 120):
        save_batch(batch, tmp_path, step, "loss is nan")
    kept = {int(path.stem.removeprefix("step-")) for path in tmp_path.iterdir()}
    assert kept == set(range(120 - KEPT_BATCHES, 120))


def test_no_checkpoint_is_written_while_steps_are_skipped(tmp_path: Path) -> None:
    """Both that are kept would soon be from within, and with them what the run can be looked at by is gone."""
    run = loop(tmp_path / "checkpoints", settings(), source=Poisoned(range(6, 100)), skipped=tmp_path / "skipped")
    with pytest.raises(
        UserError, match=r"5 steps in a row were skipped; the last because loss is nan.*of step 4 is from before"
    ):
        run.run()
    found = run.checkpoints.load()
    assert found is not None
    assert found[1]["step"] == 4
    assert found[1]["guard"]["skipped"] == 0
    again = loop(tmp_path / "checkpoints", settings(), source=Poisoned(range(0)))
    assert again.run().step == 12  # with good data it goes on from there


def test_a_checkpoint_that_no_good_step_came_after_is_not_trusted(tmp_path: Path) -> None:
    """A rate a billion times too high: the step that breaks the weights looks good, and a checkpoint follows it."""
    rate = ScheduleSettings(warmup=0.0, decay=0.0)
    broken = settings(optimizer=OptimizerSettings(name="adamw", lr=1e-3), schedule=rate)
    run = loop(tmp_path / "checkpoints", broken, skipped=tmp_path / "skipped")
    steps = run.optimizer.step
    run.optimizer.step = lambda lr, names=None: steps(1e30 if run.totals.step == 5 else lr, names)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the checkpoint of step 4 is from before"):
        run.run()
    found = run.checkpoints.load()
    assert found is not None
    assert found[1]["step"] == 4  # that of step 6 holds the broken weights
    assert all(torch.isfinite(value).all() for name, value in found[0].items())


def test_where_there_is_no_checkpoint_it_says_so(folder: Path) -> None:
    run = loop(folder, settings(checkpoint_every=100), source=Poisoned(range(3, 100)))
    with pytest.raises(UserError, match="there is no checkpoint from before"):
        run.run()


def test_an_overflow_of_fp16_keeps_no_batch(tmp_path: Path) -> None:
    run = loop(tmp_path / "checkpoints", settings(steps=3), "fp16", skipped=tmp_path / "skipped")
    run.scaler.scale = 2.0**40
    assert run.run().skipped == 3
    assert not (tmp_path / "skipped").exists()
