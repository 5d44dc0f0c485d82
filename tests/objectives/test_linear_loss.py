"""Losses from hidden states against the same losses from all logits at once, and never all logits at once."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.objectives import linear_loss
from danlu.objectives.linear_loss import cross_entropy_sum, log_probabilities

WIDTH = 12


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def problem(count: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden [N, D], weight [V, D], targets [N], weights [N] with zeros, fractions and more than one."""
    draw = torch.Generator().manual_seed(7)
    targets = torch.randint(0, vocabulary, (count,), generator=draw)
    weights = torch.rand(count, generator=draw) * 3 * (torch.rand(count, generator=draw) > 0.3)
    return drawn(count, WIDTH), drawn(vocabulary, WIDTH, seed=1), targets, weights


def all_at_once(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return torch.log_softmax(hidden.double() @ weight.double().T, dim=-1).gather(1, targets[:, None])[:, 0]


def gradients(loss: Tensor, *of: Tensor) -> Sequence[Tensor]:
    return torch.autograd.grad(loss, of)


def near(found: Tensor, wanted: Tensor, share: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert (found.double() - wanted.double()).norm() <= share * wanted.double().norm() + 1e-6


# A chunk is 16 positions at the least: borders before, at and behind the ends of one and several.
@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50])
@pytest.mark.parametrize("vocabulary", [1, 2, 37])
@pytest.mark.parametrize("ones", [True, False], ids=["unweighted", "weighted"])
def test_cross_entropy_is_that_of_all_logits(
    count: int, vocabulary: int, ones: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    hidden, weight, targets, weights = problem(count, vocabulary)
    weights = torch.ones_like(weights) if ones else weights
    hidden.requires_grad_()
    weight.requires_grad_()
    loss = cross_entropy_sum(hidden, weight, targets, weights)
    expected = -(all_at_once(hidden, weight, targets) * weights).sum()
    assert loss.dtype == torch.float32
    near(loss, expected)
    for found, wanted in zip(gradients(3 * loss, hidden, weight), gradients(3 * expected, hidden, weight)):
        near(found, wanted)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50])
@pytest.mark.parametrize("vocabulary", [1, 2, 37])
def test_log_probabilities_are_those_of_all_logits(
    count: int, vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    hidden, weight, targets, weights = problem(count, vocabulary)
    hidden.requires_grad_()
    weight.requires_grad_()
    logp, expected = log_probabilities(hidden, weight, targets), all_at_once(hidden, weight, targets)
    assert logp.dtype == torch.float32
    near(logp, expected)
    pairs = [gradients((x * weights * x).sum(), hidden, weight) for x in (logp, expected)]
    for found, wanted in zip(*pairs):
        near(found, wanted)


@pytest.mark.parametrize("size", [1, 37 * 4 * 20, 1 << 24])
def test_chunks_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets, weights = problem(70, 37)
    expected = float(cross_entropy_sum(hidden, weight, targets, weights))
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", size)
    assert float(cross_entropy_sum(hidden, weight, targets, weights)) == pytest.approx(expected, rel=1e-6)


def test_no_positions_are_no_loss() -> None:
    hidden, weight, targets, weights = problem(0, 37)
    hidden.requires_grad_()
    weight.requires_grad_()
    for loss in (cross_entropy_sum(hidden, weight, targets, weights), log_probabilities(hidden, weight, targets).sum()):
        assert float(loss.detach()) == 0
        assert not gradients(loss, weight)[0].any()


def test_in_bf16_it_is_as_close_as_bf16_logits_are() -> None:
    hidden, weight, targets, weights = problem(200, 300)
    weight *= 0.3
    half = hidden.bfloat16().requires_grad_()
    weight.requires_grad_()
    whole = half.detach().double().requires_grad_()
    master = weight.detach().double().requires_grad_()
    expected = -(all_at_once(whole, master, targets) * weights).sum()
    wanted = gradients(expected, whole, master)
    losses = [
        cross_entropy_sum(half, weight, targets, weights),
        -(log_probabilities(half, weight, targets) * weights).sum(),
    ]
    for loss in losses:
        near(loss, expected, 2e-3)
        found = gradients(loss, half, weight)
        assert [g.dtype for g in found] == [torch.bfloat16, torch.float32]
        near(found[0], wanted[0], 1e-2)
        near(found[1], wanted[1], 1e-2)


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.tensor([[60.0], [-60.0]]).requires_grad_()
    weight = torch.tensor([[1.0], [-0.1]]).requires_grad_()
    targets, weights = torch.tensor([0, 1]), torch.ones(2)
    loss = cross_entropy_sum(hidden, weight, targets, weights)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    wrong = cross_entropy_sum(hidden, weight, 1 - targets, weights)
    assert float(wrong.detach()) == pytest.approx(132.0, rel=1e-5)
    near(gradients(wrong, hidden)[0], torch.tensor([[1.1], [-1.1]]))


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that any operation made, and what was multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.products += "mm" in func.name()
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return out


@pytest.mark.parametrize("kind", ["cross-entropy", "log-probabilities"])
def test_the_logits_of_all_positions_are_never_there(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count, vocabulary = 640, 500
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 4 * vocabulary * 32)
    hidden, weight, targets, weights = problem(count, vocabulary)
    hidden.requires_grad_()
    weight.requires_grad_()
    with Largest() as seen:
        if kind == "cross-entropy":
            loss = cross_entropy_sum(hidden, weight, targets, weights)
        else:
            loss = (log_probabilities(hidden, weight, targets) * weights).sum()
        gradients(loss, hidden, weight)
    assert seen.numbers == 32 * vocabulary  # a chunk, a twentieth of them all
    with Largest() as reference:
        all_at_once(hidden, weight, targets)
    assert reference.numbers == count * vocabulary


def test_without_gradients_none_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation multiplies once a chunk; its weight is a parameter all the same."""
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    hidden, weight, targets, weights = problem(64, 37)
    weight.requires_grad_()
    with torch.no_grad(), Largest() as seen:
        loss = cross_entropy_sum(hidden, weight, targets, weights)
    assert seen.products == 4
    near(loss, -(all_at_once(hidden, weight, targets) * weights).sum())


@pytest.mark.parametrize("loss", ["sum", "log probabilities"])
def test_a_frozen_head_changes_no_other_gradient(loss: str) -> None:
    torch.manual_seed(0)
    targets, weights = torch.randint(11, (7,)), torch.rand(7)

    def gradients(frozen: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        torch.manual_seed(1)
        hidden = torch.randn(7, 5, requires_grad=True)
        weight = torch.randn(11, 5, requires_grad=not frozen)
        if loss == "sum":
            cross_entropy_sum(hidden, weight, targets, weights).backward()
        else:
            (log_probabilities(hidden, weight, targets) * weights).sum().backward()
        assert hidden.grad is not None
        return hidden.grad, weight.grad

    frozen, whole = gradients(True), gradients(False)
    assert torch.equal(frozen[0], whole[0])
    assert frozen[1] is None
    assert whole[1] is not None
