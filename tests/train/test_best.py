"""Early stopping and the best weights: by the measurements, on disk, and the same bits when a run is taken up again."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer
from danlu.train.hooks import Hook
from danlu.train.hooks.average import Average, trained
from danlu.train.hooks.best import Best
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.train.conftest import loop, model
from tests.train.test_average import Every
from tests.train.test_loop import Stop, weights

CURVE = {2: 3.0, 4: 2.0, 6: 1.5, 8: 1.6, 10: 1.7, 12: 1.2}  # step → held-out loss


def run(
    folder: Path,
    *more: Hook,
    curve: dict[int, float] = CURVE,
    keep: bool = True,
    ema: float = 0.0,
    **given: Any,
) -> tuple[Loop, Best, Periodic]:
    """Twelve steps, measured every second one; the losses are told, so that it is known which is the best."""
    folder.mkdir(exist_ok=True)
    net = model()
    average = Average(net, ema) if ema else None
    left = [*more]

    def measure(_: Transformer) -> list[dict[str, object]]:
        return [{"loss": curve[found.totals.step]}] if curve else []

    lines = JsonLines(folder / "lines.jsonl")
    seen = Periodic(net, measure, lines, 2, "eval", **({"within": average.in_place} if average else {}))
    own = trained(net)
    best = Best(seen, average.shadow if average else own, own, folder=folder / "best" if keep else None, **given)
    hooks = [*([average] if average else []), seen, best, *left]
    settings = TrainSettings(steps=12, checkpoint_every=5, optimizer=OptimizerSettings(lr=1e-2))
    found = loop(folder / "checkpoints", settings, model=net, hooks=hooks)
    return found, best, seen


def test_the_best_weights_are_what_is_left(tmp_path: Path) -> None:
    curve = CURVE | {12: 1.9}
    found, best, _ = run(tmp_path / "a", curve=curve)
    every = Every(found.model)
    found.hooks = [*found.hooks, every]
    found.run()
    assert (best.step, best.value) == (6, 1.5)
    assert all(torch.equal(value, every.seen[5][name]) for name, value in weights(found).items())
    last, _, _ = run(tmp_path / "b", curve=curve, keep=False)
    last.run()
    assert all(torch.equal(value, every.seen[11][name]) for name, value in weights(last).items())


def test_the_last_weights_may_be_the_best(tmp_path: Path) -> None:
    found, best, _ = run(tmp_path / "a")
    every = Every(found.model)
    found.hooks = [*found.hooks, every]
    found.run()
    assert best.step == 12
    assert torch.equal(found.model.embed.weight, every.seen[11]["embed.weight"])


def test_patience_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _, seen = run(tmp_path / "a", patience=2, keep=False)
    assert found.run().step == 10
    said = "training: ends after step 10 of 12 steps: the held-out loss was lowest, 1.5000, after step 6"
    assert said in capsys.readouterr().err
    assert seen.lines.path.read_text().count("eval") == 5  # the last step was measured once
    patient, _, _ = run(tmp_path / "b", patience=3, keep=False)
    assert patient.run().step == 12


@pytest.mark.parametrize(
    ("stopped_after", "ema", "curve", "best", "end"),
    [(3, 0.0, CURVE, 6, 10), (9, 0.0, CURVE, 6, 10), (9, 0.8, CURVE, 6, 10), (7, 0.0, CURVE | {4: 1.0}, 4, 8)],
)
def test_a_stopped_run_ends_in_the_same_bits(
    tmp_path: Path, stopped_after: int, ema: float, curve: dict[int, float], best: int, end: int
) -> None:
    """Patience ends it. Stopped at 9, the checkpoint of 5 knows another best than the folder; at 7 it knows the best."""
    given: dict[str, Any] = {"patience": 2, "ema": ema, "curve": curve}
    whole, first, _ = run(tmp_path / "whole", Hook(), **given)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Stop(stopped_after), **given)[0].run()
    resumed, again, _ = run(tmp_path / "parts", Hook(), **given)
    assert resumed.run().step == end
    assert (again.step, again.value) == (first.step, first.value) == (best, curve[best])
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_what_checkpoints_refer_to_stays_and_the_rest_goes(tmp_path: Path) -> None:
    falling = {step: 10.0 - step for step in CURVE}
    found, _, _ = run(tmp_path / "a", curve=falling)
    found.run()
    kept = sorted(path.name for path in (tmp_path / "a" / "best").iterdir())
    # checkpoints at 5 and 10 refer to the best of steps 4 and 10; the best of all is 12
    assert kept == [f"step-{n:08d}.safetensors" for n in (4, 10, 12)]


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", Stop(6))[0].run()
    (tmp_path / "a" / "best" / "step-00000004.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"step-00000004.safetensors: is damaged or gone. Start over with --fresh"):
        run(tmp_path / "a", Hook())[0].run()


def test_nothing_held_out_and_what_is_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: patience, keep: nothing was held out"):
        run(tmp_path / "a", curve={})[0].run()
    found, best, _ = run(tmp_path / "b", curve=dict.fromkeys(CURVE, math.nan), patience=5)
    assert found.run().step == 10
    assert (best.step, best.value) == (0, math.inf)
