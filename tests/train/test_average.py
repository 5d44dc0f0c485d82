"""The moving average of the weights: its formula, exact when it is taken up again, what is measured and what is left."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from danlu.model.transformer import Transformer
from danlu.train.hooks import Hook
from danlu.train.hooks.average import Average
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, TrainSettings
from danlu.train.state import Step
from tests.train.conftest import loop, model
from tests.train.test_loop import Stop, weights

SETTINGS = TrainSettings(steps=8, checkpoint_every=3, optimizer=OptimizerSettings(lr=1e-2))


class Every(Hook):
    """Remembers the weights after each step."""

    def __init__(self, net: Transformer) -> None:
        self.net, self.seen = net, list[dict[str, Tensor]]()

    def after_step(self, step: Step) -> None:
        """Note them."""
        self.seen.append({name: value.detach().clone() for name, value in self.net.named_parameters()})


def run(folder: Path, decay: float = 0.6, *more: Hook) -> Loop:
    """A run whose model becomes its average."""
    net = model()
    return loop(folder, SETTINGS, model=net, hooks=[Average(net, decay), *more])


@pytest.mark.parametrize("decay", [0.6, 0.15])
def test_it_is_the_formula(folder: Path, decay: float) -> None:
    net = model()
    every, average = Every(net), Average(net, decay)
    expected = {name: value.detach().double() for name, value in net.named_parameters()}
    loop(folder, SETTINGS, model=net, hooks=[average, every]).run()
    for updates, seen in enumerate(every.seen):
        d = min(decay, (1 + updates) / (10 + updates))
        expected = {name: d * old + (1 - d) * seen[name] for name, old in expected.items()}
    for name, value in net.named_parameters():
        torch.testing.assert_close(value.detach().double(), expected[name], atol=1e-6, rtol=1e-5)
        assert not torch.equal(value.detach(), every.seen[-1][name])


@pytest.mark.parametrize("stopped_after", [2, 5, 7])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, stopped_after: int) -> None:
    whole = run(tmp_path / "whole", 0.6, Hook())
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 0.6, Stop(stopped_after)).run()
    resumed = run(tmp_path / "parts", 0.6, Hook())
    resumed.run()
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_it_is_what_is_measured_and_training_goes_on_without_it(tmp_path: Path) -> None:
    """The weights that train are those of a run without an average, and what is measured are the averages."""
    plain, net = model(), model()
    seen, lines = list[Tensor](), JsonLines(tmp_path / "lines.jsonl")
    average, every, alone = Average(net, 0.9), Every(net), Every(plain)

    def measure(found: Transformer) -> list[dict[str, object]]:
        assert torch.equal(found.embed.weight, average.shadow["embed.weight"]) == average.taken_over
        seen.append(found.embed.weight.detach().clone())
        return []

    periodic = Periodic(net, measure, lines, 2, "eval", within=average.in_place)
    loop(tmp_path / "a", SETTINGS, model=net, hooks=[average, periodic, every]).run()
    loop(tmp_path / "b", SETTINGS, model=plain, hooks=[alone]).run()
    for mine, theirs in zip(every.seen, alone.seen, strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert len(seen) == 4
    assert torch.equal(seen[-1], net.embed.weight)
    assert not torch.equal(seen[-1], alone.seen[-1]["embed.weight"])


def test_steps_that_were_skipped_do_not_count() -> None:
    average = Average(model(), 0.5)
    before = {name: value.clone() for name, value in average.shadow.items()}
    average.after_step(Step(1, False, 0, 0.0, float("nan"), 0.0, 0.0, 0.0, skipped="loss is nan"))
    assert average.updates == 0
    assert all(torch.equal(value, before[name]) for name, value in average.shadow.items())
