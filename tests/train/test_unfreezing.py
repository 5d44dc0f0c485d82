"""What is frozen keeps every bit and costs less; each phase starts anew; a stopped run ends in the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from danlu.base.errors import UserError
from danlu.train.hooks import Hook
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines, KeepLength, Metrics
from danlu.train.loop import Loop
from danlu.train.schedule import share
from danlu.train.settings import GuardSettings, OptimizerSettings, Phase, ScheduleSettings, TrainSettings
from danlu.train.state import Step
from danlu.train.unfreezing import NewRows, learner, phase_at
from tests.train.conftest import loop, model
from tests.train.test_loop import Stop, weights

FIRST = 20  # items count modulo 24, so four of the rows learned are new
PHASES = (Phase("new rows", 4, FIRST), Phase("embeddings", 4), Phase("all", 4))
OPTIMIZER = OptimizerSettings(name="muon", lr=1e-2, weight_decay=0.5)


def run_of(folder: Path, phases: tuple[Phase, ...], tied: bool = True, hooks: Any = (), **changes: Any) -> Loop:
    values: dict[str, Any] = {"optimizer": OPTIMIZER, "checkpoint_every": 100} | changes
    settings = TrainSettings(steps=sum(phase.steps for phase in phases), phases=phases, **values)
    return loop(folder, settings, model=model(tied=tied), hooks=hooks)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_old_rows_keep_every_bit_while_new_ones_learn(folder: Path, tied: bool, name: Any) -> None:
    optimizer = OptimizerSettings(name=name, lr=1e-2, weight_decay=0.5, embedding_scale=3.0)
    run = run_of(folder, (Phase("new rows", 5, FIRST),), tied, optimizer=optimizer)
    before = weights(run)
    run.run()
    after, tables = weights(run), {"embed.weight"} | (set() if tied else {"head.weight"})
    assert moved(before, after) == tables
    for table in tables:
        assert torch.equal(before[table][:FIRST], after[table][:FIRST])
        assert not torch.equal(before[table][FIRST:], after[table][FIRST:])
    shapes = {tuple(value.shape) for key, value in run.optimizer.state().items() if "steps" not in key}
    assert shapes == {(32 - FIRST, 32)}  # nothing is remembered of an old row


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_alone_learn(folder: Path, tied: bool) -> None:
    run = run_of(folder, (Phase("embeddings", 3),), tied)
    before = weights(run)
    run.run()
    assert moved(before, weights(run)) == {"embed.weight"} | (set() if tied else {"head.weight"})


def test_all_is_what_no_phase_is(tmp_path: Path) -> None:
    plain = loop(tmp_path / "plain", TrainSettings(steps=6, optimizer=OPTIMIZER))
    phased = run_of(tmp_path / "phased", (Phase("all", 6),))
    plain.run()
    phased.run()
    assert moved(weights(plain), weights(phased)) == set()


def test_new_rows_are_updated_as_by_a_mask(folder: Path) -> None:
    """torch's own AdamW over the whole table, the gradients of old rows set to zero, no decay."""
    run = run_of(folder, (Phase("new rows", 1, FIRST),), optimizer=OptimizerSettings(name="adamw", lr=1e-2, clip=0.0))
    table = run.model.embed.weight.detach().clone()
    batch = next(run.source)
    reference = model()
    loss = run.objective(reference, batch)[0] / run.objective.weight(batch)
    (gradient,) = torch.autograd.grad(loss, reference.embed.weight)
    gradient[:FIRST] = 0
    table.grad = gradient
    torch.optim.AdamW([table], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0).step()
    run._gradients(batch)
    run.optimizer.step(1e-2)
    torch.testing.assert_close(run.model.embed.weight.detach(), table, rtol=0, atol=1e-7)


def test_micro_batches_collect_all_their_gradients(tmp_path: Path) -> None:
    ends = []
    for micro in (1, 4):
        run = run_of(tmp_path / str(micro), (Phase("new rows", 3, FIRST),), micro_batches=micro)
        run.run()
        ends.append(run.model.embed.weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)


def test_what_is_frozen_costs_no_gradient(folder: Path) -> None:
    """A layer's backward pass is two products, of which one is the gradient of its weights."""
    costs = {}
    for phase in (Phase("new rows", 1, FIRST), Phase("embeddings", 1), Phase("all", 1)):
        run = run_of(folder, (phase,))
        batch = next(run.source)
        with FlopCounterMode(display=False) as counted:
            run._gradients(batch)
        costs[phase.learns] = counted.get_total_flops()
        frozen = [p.grad for name, p in run.model.named_parameters() if name.startswith(("blocks", "norm"))]
        assert (phase.learns == "all") == all(gradient is not None for gradient in frozen)
        assert phase.learns == "all" or not any(gradient is not None for gradient in frozen)
    assert costs["new rows"] == costs["embeddings"]
    assert 0.6 < costs["embeddings"] / costs["all"] < 0.85


class Rates(Hook):
    """Remembers the learning rate and what learned."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def after_step(self, step: Step) -> None:
        """Note them."""
        self.seen.append((step.learns, step.lr))


def test_each_phase_warms_up_anew(folder: Path) -> None:
    rates, schedule = Rates(), ScheduleSettings(warmup=0.5, decay=0.25)
    phases = (Phase("new rows", 4, FIRST), Phase("all", 8))
    run_of(folder, phases, schedule=schedule, hooks=[rates]).run()
    wanted = [(p.learns, OPTIMIZER.lr * share(schedule, step, p.steps)) for p in phases for step in range(p.steps)]
    assert rates.seen == wanted
    assert rates.seen[4][1] < rates.seen[2][1]


def test_each_phase_forgets_what_the_guard_expected(folder: Path) -> None:
    """With the window of the phase before, steps of all parameters would look like spikes to it and be skipped."""
    run = run_of(
        folder,
        (Phase("new rows", 8, 30), Phase("all", 6)),  # no item has those ids: hardly a gradient
        guard=GuardSettings(window=8, start=4, limit=3),
    )
    assert run.run().skipped == 0
    assert len(run.guard.norms) == 6


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4, 5, 7, 8, 9, 11])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, stopped_after: int) -> None:
    def run(folder: Path, *extra: Hook) -> Loop:
        folder.mkdir(exist_ok=True)
        lines = JsonLines(folder / "metrics.jsonl")
        made = run_of(folder / "checkpoints", PHASES, checkpoint_every=2, evaluate_first=True)
        noise = Periodic(made.model, lambda _: [{"value": float(torch.rand(()))}], lines, 3, "eval")
        made.hooks = [Metrics(lines), noise, *extra, KeepLength(lines)]
        return made

    whole = run(tmp_path / "whole", Hook())
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Stop(stopped_after)).run()
    resumed = run(tmp_path / "parts", Hook())
    resumed.run()
    assert moved(weights(whole), weights(resumed)) == set()
    read = [(tmp_path / part / "metrics.jsonl").read_text() for part in ("whole", "parts")]
    assert [text.count('"train"') for text in read] == [12, 12]
    assert [text.count('"step": 0') for text in read] == [1, 1]
    assert [text.count('"learns": "embeddings"') for text in read] == [4, 4]


def test_a_phase_belongs_to_its_steps() -> None:
    settings = TrainSettings(steps=12, phases=PHASES)
    assert [phase_at(settings, step)[0] for step in (0, 3, 4, 7, 8, 11, 12)] == [0, 0, 4, 4, 8, 8, 8]
    assert phase_at(TrainSettings(steps=3), 1) == (0, Phase("all", 3))
    with pytest.raises(UserError, match="as many steps together"):
        TrainSettings(steps=11, phases=PHASES)
    with pytest.raises(UserError, match="at least one step"):
        Phase("all", 0)


def test_rows_share_their_memory_with_the_tables() -> None:
    net = model(tied=False)
    rows = learner(net, Phase("new rows", 1, FIRST))
    assert isinstance(rows, NewRows)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter.fill_(7.0)
    assert bool((net.embed.weight[FIRST:] == 7).all())
    assert bool((net.head.weight[FIRST:] == 7).all())
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["embed.weight", "head.weight"]
    learner(net, Phase("all", 1))
    assert all(p.requires_grad for p in net.parameters())
