"""Losses from hidden states against the same losses from all logits at once, and never all logits at once."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.objectives import linear_loss
from danlu.objectives.linear_loss import cross_entropy_and_z, cross_entropy_sum, log_probabilities

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
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
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
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
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
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
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
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
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
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
    hidden, weight, targets, weights = problem(64, 37)
    weight.requires_grad_()
    with torch.no_grad(), Largest() as seen:
        loss = cross_entropy_sum(hidden, weight, targets, weights)
    assert seen.products == 4
    near(loss, -(all_at_once(hidden, weight, targets) * weights).sum())


@pytest.mark.parametrize("loss", ["sum", "log probabilities"])
def test_the_gradient_is_the_same_in_slices(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the output weights, in bf16, where each slice of them is added to on its own."""

    def gradient() -> torch.Tensor:
        hidden, weight, targets, weights = problem(40, 37)
        weight.requires_grad_()
        hidden = hidden.bfloat16()
        total = log_probabilities(hidden, weight, targets) * weights
        (cross_entropy_sum(hidden, weight, targets, weights) if loss == "sum" else total.sum()).backward()
        assert weight.grad is not None
        return weight.grad

    whole = gradient()
    monkeypatch.setattr(linear_loss, "SLICE", 8)
    assert torch.equal(gradient(), whole)


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


# -- bias, scale, soft cap and z-loss

FORMS: dict[str, dict[str, Any]] = {
    "z-loss": {"z_loss": 0.01},
    "cap": {"cap": 3.0},
    "scale": {"scale": 0.25},
    "bias": {"bias": True},
    "all": {"z_loss": 0.02, "cap": 5.0, "scale": 0.5, "bias": True},
}


def written_out(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, cap: float, scale: float
) -> tuple[Tensor, Tensor]:
    """log p(target) and the normaliser, from all logits in float64."""
    logits = hidden.double() @ weight.double().T
    logits = scale * (logits if bias is None else logits + bias.double())
    logits = cap * torch.tanh(logits / cap) if cap else logits
    normaliser = torch.logsumexp(logits, dim=-1)
    return logits.gather(1, targets[:, None])[:, 0] - normaliser, normaliser


def shaped(form: dict[str, Any], vocabulary: int) -> tuple[float, float, float, Tensor | None]:
    bias = drawn(vocabulary, seed=2).requires_grad_() if form.get("bias") else None
    return form.get("z_loss", 0.0), form.get("cap", 0.0), form.get("scale", 1.0), bias


@pytest.mark.parametrize("count", [1, 16, 50])
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ones", [True, False], ids=["unweighted", "weighted"])
def test_every_form_of_the_logits_is_that_of_all_at_once(
    count: int, name: str, ones: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
    hidden, weight, targets, weights = problem(count, 37)
    weights = torch.ones_like(weights) if ones else weights
    z_loss, cap, scale, bias = shaped(FORMS[name], 37)
    of = [hidden.requires_grad_(), weight.requires_grad_(), *([bias] if bias is not None else [])]
    logp, normaliser = written_out(hidden, weight, targets, bias, cap, scale)
    expected = (weights * (z_loss * normaliser.square() - logp)).sum()
    options: dict[str, Any] = {"bias": bias, "cap": cap, "scale": scale}
    loss = cross_entropy_sum(hidden, weight, targets, weights, z_loss=z_loss, **options)
    assert loss.dtype == torch.float32
    near(loss, expected)
    for found, wanted in zip(gradients(3 * loss, *of), gradients(3 * expected, *of), strict=True):
        near(found, wanted)
    again, added = cross_entropy_and_z(hidden, weight, targets, weights, z_loss=z_loss, **options)
    assert torch.equal(again, loss)
    near(added, (weights * z_loss * normaliser.square()).sum())
    with torch.no_grad():  # a road of its own
        near(cross_entropy_sum(hidden, weight, targets, weights, z_loss=z_loss, **options), expected)
    found_logp = log_probabilities(hidden, weight, targets, **options)
    near(found_logp, logp)
    logp, _ = written_out(hidden, weight, targets, bias, cap, scale)
    pairs = [gradients((x * weights * x).sum(), *of) for x in (found_logp, logp)]
    for found, wanted in zip(*pairs, strict=True):
        near(found, wanted, 3e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_form_not_a_bit_is_another(dtype: torch.dtype) -> None:
    """The plain road, operation by operation, as it was before there were any others."""
    hidden, weight, targets, weights = problem(40, 37)
    hidden, compute = hidden.to(dtype).requires_grad_(), weight.to(dtype)
    weight.requires_grad_()
    loss = cross_entropy_sum(hidden, weight, targets, weights, bias=None, z_loss=0.0, cap=0.0, scale=1.0)
    grad = torch.softmax(hidden.detach() @ compute.t(), dim=-1)
    cells = torch.arange(40), targets
    logp = grad[cells].float().clamp_min(linear_loss.SMALLEST).log_()
    assert torch.equal(loss, (0.0 - (logp * weights).sum(dtype=torch.float64)).float())
    grad[cells] -= 1
    grad.mul_(weights.unsqueeze(1).to(dtype))
    found = gradients(loss, hidden, weight)
    assert torch.equal(found[0], grad @ compute)
    assert torch.equal(found[1], torch.zeros_like(weight) + grad.t() @ hidden.detach())


def test_a_small_z_loss_is_not_rounded_away_in_bf16() -> None:
    """1 + 2·1e-4·6 is 1 in bf16; the part of the gradient that comes from it must not go with that."""
    hidden, weight, targets, weights = problem(400, 300)
    weight, weights = weight * 0.1, torch.ones_like(weights)
    half, plain = hidden.bfloat16(), weight.requires_grad_()
    with_z, without = (
        gradients(cross_entropy_sum(half, plain, targets, weights, z_loss=z), plain)[0] for z in (1e-4, 1e-12)
    )
    master = weight.detach().double().requires_grad_()
    normaliser = torch.logsumexp(half.double() @ master.T, dim=-1)
    wanted = gradients((1e-4 * normaliser.square()).sum(), master)[0]
    found = with_z.double() - without.double()  # the rounding of both is in it too, five times as large, but not along
    assert float((found * wanted).sum() / wanted.square().sum()) == pytest.approx(1, abs=0.3)


def test_a_z_loss_brings_the_normaliser_down() -> None:
    """Cross-entropy does not care for it: a constant added to all logits is no loss."""
    hidden, weight, targets, _ = problem(60, 11)
    ends = []
    for z_loss in (0.0, 0.1):
        bias = torch.full((11,), 4.0, requires_grad=True)
        for _ in range(200):
            loss = cross_entropy_sum(hidden, weight, targets, torch.ones(60), bias=bias, z_loss=z_loss)
            bias = (bias - 0.01 * gradients(loss, bias)[0]).detach().requires_grad_()
        ends.append(float(torch.logsumexp(hidden @ weight.T + bias.detach(), dim=-1).abs().mean()))
    assert ends[1] < 0.8 * ends[0]


def test_a_form_holds_no_more_than_chunks_either(monkeypatch: pytest.MonkeyPatch) -> None:
    count, vocabulary = 640, 500
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 4 * vocabulary * 32)
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
    hidden, weight, targets, weights = problem(count, vocabulary)
    weight.requires_grad_()
    bias = torch.zeros(vocabulary, requires_grad=True)
    with Largest() as seen:
        loss = cross_entropy_sum(hidden, weight, targets, weights, bias=bias, z_loss=1e-4, cap=30.0, scale=0.5)
        gradients(loss, weight, bias)
    assert seen.numbers == 32 * vocabulary


def test_chunks_are_alike_and_as_large_as_their_vocabulary_allows() -> None:
    def sizes(count: int, vocabulary: int) -> list[int]:
        return [part.stop - part.start for part in linear_loss._chunks(count, vocabulary)]

    assert sizes(1290, 49_152) == [430, 430, 430]
    assert sizes(512, 150_000) == [256, 256]
    assert sizes(4096, 8192) == [512] * 8
    assert sizes(0, 100) == []
