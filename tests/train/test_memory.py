"""What saves memory changes no bit: recomputation, updates in the backward pass, and what waits on the host."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from danlu.base.errors import UserError
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch
from danlu.train.in_backward import InBackward
from danlu.train.loop import Loop
from danlu.train.offload import activations_on_host, borrowed, chunks
from danlu.train.optim import Optimizer
from danlu.train.settings import GuardSettings, OptimizerSettings, Phase, TrainSettings
from tests.train.conftest import loop, model
from tests.train.test_loop import Losses, Stop, weights

KINDS = ("none", "selective", "full")


def one_pass(kind: str, precision: str, **changes: Any) -> tuple[dict[str, Tensor], int]:
    """The gradients of one batch, and the operations they cost."""
    settings = TrainSettings(steps=1, checkpointing=kind)  # type: ignore[arg-type]
    run = loop(Path("nothing is saved"), settings, precision, model=model(**changes))
    batch = next(run.source)
    with FlopCounterMode(display=False) as counted:
        run._gradients(batch)
    found = {name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}
    return found, counted.get_total_flops()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes", [{}, {"positions": "alibi", "norm": "layernorm", "activation": "gelu", "bias": True}]
)
def test_recomputing_changes_no_bit_of_a_gradient(precision: str, changes: dict[str, Any]) -> None:
    gradients, flops = zip(*(one_pass(kind, precision, **changes) for kind in KINDS), strict=True)
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys()
        assert all(torch.equal(gradients[0][name], other[name]) for name in other)
    none, selective, full = flops
    assert none < selective < full  # attention's products are done again; then the layers', too
    assert selective - none < 0.4 * (full - none)


def test_a_run_that_recomputes_ends_in_the_same_bits(tmp_path: Path) -> None:
    ends = []
    for kind in KINDS:
        run = loop(tmp_path / kind, TrainSettings(steps=3, checkpointing=kind))  # type: ignore[arg-type]
        run.run()
        assert run.model.checkpointing == kind
        ends.append(weights(run))
    for other in ends[1:]:
        assert all(torch.equal(ends[0][name], other[name]) for name in other)


ALONE = {"update_in_backward": True, "guard": GuardSettings(norm=False)}


def updating(folder: Path, name: Any = "adamw", steps: int = 6, **changes: Any) -> Loop:
    """A run that clips nothing, and has no guard over the norm."""
    optimizer = OptimizerSettings(name=name, lr=1e-2, clip=0.0)
    values: dict[str, Any] = {"steps": steps, "optimizer": optimizer, "guard": GuardSettings(norm=False)} | changes
    kind = {key: values.pop(key) for key in ("objective", "hooks", "model") if key in values}
    return loop(folder, TrainSettings(**values), **kind)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("adamw", {}), ("adamw", {"checkpointing": "selective"}), ("lion", {}), ("adafactor", {}), ("muon", {})],
)
def test_updating_in_the_backward_pass_gives_the_same_weights(tmp_path: Path, name: str, changes: Any) -> None:
    plain = updating(tmp_path / "plain", name, **changes)
    alone = updating(tmp_path / "alone", name, update_in_backward=True, **changes)
    seen = [Losses(), Losses()]
    plain.hooks, alone.hooks = [seen[0]], [seen[1]]
    plain.run()
    alone.run()
    for key, value in weights(plain).items():
        if name == "muon":  # its matrices of one shape share a product, whose rounding depends on how many they are
            torch.testing.assert_close(value, weights(alone)[key], rtol=0, atol=1e-4)
        else:
            assert torch.equal(value, weights(alone)[key]), key
    if name != "muon":
        assert seen[0].seen == seen[1].seen


def test_updating_in_the_backward_pass_frees_each_gradient(tmp_path: Path) -> None:
    """At no moment is there more than one gradient, where plainly all are there together; their norm is still known."""
    run = updating(tmp_path, update_in_backward=True)
    most, batch = 0, next(run.source)
    for parameter in run.model.parameters():

        def count(_: Tensor) -> None:
            nonlocal most
            most = max(most, sum(p.grad is not None for p in run.model.parameters()))

        parameter.register_post_accumulate_grad_hook(count)
    assert run.updates is not None
    run.updates.begin(0.0)
    run._gradients(batch)
    assert most <= 1
    assert all(parameter.grad is None for parameter in run.model.parameters())
    plain = updating(tmp_path)
    plain._gradients(batch)
    assert run.updates.norm() == pytest.approx(plain._gradient_norm(), rel=1e-5)


def test_a_run_that_updates_in_the_backward_pass_resumes_exactly(tmp_path: Path) -> None:
    whole = updating(tmp_path / "whole", update_in_backward=True, checkpoint_every=2)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        updating(tmp_path / "parts", update_in_backward=True, checkpoint_every=2, hooks=[Stop(5)]).run()
    resumed = updating(tmp_path / "parts", update_in_backward=True, checkpoint_every=2, hooks=[Losses()])
    resumed.run()
    assert all(torch.equal(value, weights(resumed)[key]) for key, value in weights(whole).items())


class Bad(NextToken):
    """A loss, or gradients, that are not a number from the third batch on."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.calls = what, 0

    def __call__(self, net: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """As `NextToken`, until it is not."""
        loss, metrics = super().__call__(net, batch)
        self.calls += 1
        if self.calls == 3 and self.what == "loss":
            loss = loss * math.nan
        elif self.calls == 3:
            loss = loss + (net.norm.weight * 0).sum().sqrt()  # 0, whose gradient is infinite
        return loss, metrics


def test_a_bad_loss_is_seen_before_the_weights_move(tmp_path: Path) -> None:
    run = updating(tmp_path, update_in_backward=True, objective=Bad("loss"))
    assert run.run().skipped == 1
    assert all(torch.isfinite(value).all() for value in weights(run).values())


def test_a_bad_gradient_stops_the_run_where_the_weights_have_moved(tmp_path: Path) -> None:
    run = updating(tmp_path, update_in_backward=True, checkpoint_every=2, objective=Bad("gradient"))
    with pytest.raises(
        UserError, match=r"gradient norm of step 3 is nan, and the weights have moved.*checkpoint is from before"
    ):
        run.run()
    assert run.checkpoints.newest() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": OptimizerSettings()}, r"optimizer\.clip: clipping needs the norm .* Set it to 0"),
        ({"micro_batches": 2}, "micro_batches: adding up gradients keeps them"),
        ({"guard": GuardSettings()}, r"guard\.norm: the norm is known only after the weights have moved"),
        ({"phases": (Phase("new rows", 1, 20),)}, "stages: new rows need"),
    ],
)
def test_what_needs_all_gradients_is_refused(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"steps": 1, "optimizer": OptimizerSettings(clip=0.0), **ALONE}
    TrainSettings(**values)
    with pytest.raises(UserError, match=message):
        TrainSettings(**values | change)


def test_fp16_cannot_update_in_the_backward_pass(folder: Path) -> None:
    settings = TrainSettings(steps=1, optimizer=OptimizerSettings(clip=0.0), **ALONE)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="fp16 has to see all gradients"):
        loop(folder, settings, "fp16")


def test_hooks_are_gone_when_they_are_removed() -> None:
    net = model()
    updates = InBackward(Optimizer(net, OptimizerSettings(), torch.float32))
    updates.remove()
    net(torch.zeros(1, 2, dtype=torch.long)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert updates.norm() == 0.0


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor"])
def test_state_on_the_host_gives_the_same_weights(name: Any) -> None:
    nets = [model(), model()]
    for net, away in zip(nets, (False, True), strict=True):
        made = Optimizer(net, OptimizerSettings(name=name), torch.float32, offload=away)
        homes = {key: value.data_ptr() for key, value in made.state().items()}
        torch.manual_seed(0)
        for _ in range(3):
            for parameter in net.parameters():
                parameter.grad = torch.randn_like(parameter)
            made.step(1e-2)
        assert {key: value.data_ptr() for key, value in made.state().items()} == homes
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_borrowed_state_is_another_memory_and_comes_home() -> None:
    home, parameters = torch.zeros(3), {"w": torch.zeros(3), "v": torch.zeros(3)}
    stores = {"first": {"w": home, "v": torch.ones(3)}}
    with borrowed(stores, ["w"], parameters):
        assert stores["first"]["w"].data_ptr() != home.data_ptr()
        stores["first"]["w"] += 2
        assert home.tolist() == [0, 0, 0]
    assert stores["first"]["w"] is home
    assert home.tolist() == [2, 2, 2]


def test_chunks_hold_all_names_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.offload.CHUNK_BYTES", 100)
    parameters = {str(i): torch.zeros(10) for i in range(7)}
    assert list(chunks(parameters, None)) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert list(chunks(parameters, ("5", "2"))) == [["2", "5"]]


def test_activations_on_the_host_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.offload.SMALLEST_BYTES", 64)
    copies: list[int] = []
    host = torch.empty_like

    def counted(tensor: Tensor, **place: Any) -> Tensor:
        copies.append(tensor.nbytes if place.get("device") == "cpu" else 0)
        return host(tensor, **place)

    monkeypatch.setattr("danlu.train.offload.torch.empty_like", counted)
    ids, found = torch.arange(24).view(2, 12), []
    for away in (False, True):
        net = model()
        if away:
            with activations_on_host():
                loss = net(ids).square().sum()
        else:
            loss = net(ids).square().sum()
        loss.backward()
        found.append([parameter.grad for parameter in net.parameters()])
    assert sum(copies) > 10_000
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("what", ["optimizer", "activations", "both"])
def test_on_a_cpu_there_is_nothing_to_offload(folder: Path, what: Any) -> None:
    with pytest.raises(
        UserError, match="offload: moves what a GPU holds to the machine's memory, and on cpu all is there"
    ):
        loop(folder, TrainSettings(steps=1, offload=what))


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_recomputed_blocks_leave_nothing_to_offload(kind: Any) -> None:
    TrainSettings(steps=1, checkpointing=kind, offload="optimizer")
    with pytest.raises(UserError, match="keeps its input where offload does not reach"):
        TrainSettings(steps=1, checkpointing=kind, offload="activations")
