"""Direct preference optimisation: where it starts, what it is worth, and that its reference stays."""

import math

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.objectives.dpo import DPO
from danlu.tokens.batches import Batch

PAIRS, LENGTH, BETA = 8, 12, 0.3


def batch(pairs: int = PAIRS) -> Batch:
    """Prompts of 3 tokens, answers of uneven lengths, padding."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 61, (pairs, 2, LENGTH), generator=draw)
    ids[:, 1, :3] = ids[:, 0, :3]
    ends = torch.randint(5, LENGTH + 1, (pairs, 2, 1), generator=draw)
    column = torch.arange(LENGTH)
    segments = torch.where(column < ends, 0, -1).int()
    mask = ((column >= 3) & (column < ends)).float()
    return Batch(ids, mask, segments)


def log_probabilities(model: Transformer, data: Batch) -> Tensor:
    """[P, 2], from all logits."""
    ids, segments = data.ids.flatten(0, 1), data.segments.flatten(0, 1)
    logp = torch.log_softmax(model(ids, segments), dim=-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    return (logp * data.mask.flatten(0, 1)[:, 1:]).sum(-1).view(-1, 2)


def by_hand(model: Transformer, reference: Transformer, data: Batch, smoothing: float, anchor: float) -> Tensor:
    """Rafailov et al. 2023, equation 7; Mitchell 2023, equation 3; Pang et al. 2024, equation 1. One loss a pair."""
    policy, frozen = log_probabilities(model, data), log_probabilities(reference, data).detach()
    inside = BETA * ((policy[:, 0] - frozen[:, 0]) - (policy[:, 1] - frozen[:, 1]))
    loss = (1 - smoothing) * (1 + (-inside).exp()).log() + smoothing * (1 + inside.exp()).log()
    return loss - anchor * policy[:, 0] / data.mask[:, 0].sum(-1)


@pytest.mark.parametrize(("smoothing", "anchor"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.7), (0.1, 1.0)])
def test_value_and_gradient_are_the_formulas(tiny: Tiny, smoothing: float, anchor: float) -> None:
    model, reference, data = tiny(seed=1), tiny(seed=2), batch()
    objective = DPO(reference, beta=BETA, smoothing=smoothing, anchor=anchor)
    assert objective.weight(data) == PAIRS
    loss, metrics = objective(model, data)
    expected = by_hand(model, reference, data, smoothing, anchor).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    parameters = list(model.parameters())
    for a, b in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters)):
        assert (a - b).norm() <= 1e-4 * b.norm()
    policy, frozen = log_probabilities(model, data), log_probabilities(reference, data)
    ratio = policy - frozen
    margin = BETA * (ratio[:, 0] - ratio[:, 1])
    sums = {
        "accuracy": (margin > 0).sum().float(),
        "margin": margin.sum(),
        "chosen_logprob": policy[:, 0].sum(),
        "rejected_logprob": policy[:, 1].sum(),
        "chosen_shift": ratio[:, 0].sum(),
    }
    assert metrics.keys() == sums.keys()
    for name, wanted in sums.items():
        torch.testing.assert_close(metrics[name], wanted.detach(), rtol=1e-4, atol=1e-4)
        assert not metrics[name].requires_grad
    assert 0 < float(metrics["accuracy"]) < PAIRS


def test_it_starts_at_ln_2(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    for smoothing in (0.0, 0.3):
        loss, metrics = DPO(model, beta=BETA, smoothing=smoothing)(model, data)
        assert float(loss.detach()) / PAIRS == pytest.approx(math.log(2), abs=1e-5)
        assert float(metrics["margin"]) == pytest.approx(0, abs=1e-4)
        assert float(metrics["chosen_shift"]) == pytest.approx(0, abs=1e-4)


def test_no_preference_counts_half() -> None:
    """Fresh weights write nothing into the residual stream, so policy and reference agree to the bit."""
    model = Transformer(ModelConfig(vocab_size=61, width=32, layers=1, heads=2, kv_heads=2, head_width=8))
    metrics = DPO(model)(model, batch())[1]
    assert (float(metrics["margin"]), float(metrics["accuracy"])) == (0.0, PAIRS / 2)


def test_smoothing_and_anchor_change_the_loss(tiny: Tiny) -> None:
    model, reference, data = tiny(seed=1), tiny(seed=2), batch()

    def loss(**options: float) -> float:
        return float(DPO(reference, beta=BETA, **options)(model, data)[0].detach())

    plain, turned = loss(), loss(smoothing=1.0)
    assert loss(smoothing=0.25) == pytest.approx(0.75 * plain + 0.25 * turned, rel=1e-5)
    nats = -float((log_probabilities(model, data)[:, 0] / data.mask[:, 0].sum(-1)).sum().detach())
    assert loss(anchor=2.0) - plain == pytest.approx(2 * nats, rel=1e-4)
    assert abs(turned - plain) > 0.1


def gradients(model: Transformer, objective: DPO, pieces: list[Batch]) -> tuple[float, list[Tensor]]:
    """As the loop does it: sums and weights over micro-batches, divided once."""
    weight, loss = sum(objective.weight(piece) for piece in pieces), 0.0
    model.zero_grad()
    for piece in pieces:
        summed, _ = objective(model, piece)
        (summed / weight).backward()
        loss += float(summed.detach()) / weight
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_micro_batches_give_the_same_gradients(tiny: Tiny, parts: int) -> None:
    model, data = tiny(seed=1), batch()
    objective = DPO(tiny(seed=2), beta=0.05, smoothing=0.1, anchor=0.5)
    loss, whole = gradients(model, objective, [data])
    again, cut = gradients(model, objective, data.split(parts))
    assert again == pytest.approx(loss, rel=1e-6)
    distance = torch.stack([(a - b).norm() for a, b in zip(whole, cut, strict=True)]).norm()
    assert distance < 1e-6 * torch.stack([a.norm() for a in whole]).norm()


def test_the_prompt_and_padding_have_no_part_in_it(tiny: Tiny) -> None:
    model, data = tiny(seed=1), batch()
    objective = DPO(tiny(seed=2), beta=BETA)
    before = objective(model, data)[0]
    data.ids[data.segments < 0] = 60
    assert torch.equal(objective(model, data)[0], before)


def test_training_leaves_the_reference_and_learns_the_pairs(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    objective = DPO(model, beta=BETA)
    before = {name: p.clone() for name, p in objective.reference.named_parameters()}
    started, metrics = objective(model, data)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        objective(model, data)[0].backward()
        optimizer.step()
    loss, metrics = objective(model, data)
    assert float(loss.detach()) < 0.3 * float(started.detach())
    assert float(metrics["accuracy"]) == PAIRS
    assert not objective.reference.training
    for name, p in objective.reference.named_parameters():
        assert torch.equal(p, before[name])
        assert (p.requires_grad, p.grad) == (False, None)
    assert any((p != before[name]).any() for name, p in model.named_parameters())
