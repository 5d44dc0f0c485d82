"""R-Drop: the divergence is that of all logits, forward and gradient; two passes agree where nothing drops."""

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.model.dropout import set_dropout
from danlu.objectives import linear_loss
from danlu.objectives.linear_loss import symmetric_divergence
from danlu.objectives.next_token import NextToken
from danlu.objectives.rdrop import RDrop
from tests.objectives.test_linear_loss import drawn, gradients, near, problem
from tests.objectives.test_next_token import batch


def by_torch(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """½ (KL + KL) of all logits."""
    logs = [torch.log_softmax(logits, dim=-1) for logits in (first, second)]
    pairs = ((logs[0], logs[1]), (logs[1], logs[0]))
    each = [torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1) for p, q in pairs]
    return ((each[0] + each[1]) * 0.5 * weights).sum()


@pytest.mark.parametrize("cap", [0.0, 3.0])
def test_the_divergence_is_that_of_all_logits(cap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
    first, weight, _, weights = problem(50, 37)
    learned = [first, first + 0.3 * drawn(50, 12, seed=3), weight, drawn(37, seed=5)]
    first, second, weight, bias = (value.detach().requires_grad_() for value in learned)
    logits = [h.double() @ weight.double().T + bias.double() for h in (first, second)]
    if cap:
        logits = [torch.tanh(found / cap) * cap for found in logits]
    expected = by_torch(*logits, weights.double())
    found = symmetric_divergence(first, second, weight, weights, bias=bias, cap=cap)
    assert found > 0
    near(found, expected)
    for ours, theirs in zip(
        gradients(3 * found, first, second, weight, bias), gradients(3 * expected, first, second, weight, bias)
    ):
        near(ours, theirs)


def test_it_is_the_mean_of_two_passes_and_how_far_they_are_apart(tiny: Tiny) -> None:
    model, data = tiny().train(), batch()
    set_dropout(model, 0.2)
    torch.manual_seed(3)
    found, metrics = RDrop(2.0)(model, data)
    torch.manual_seed(3)
    logits = [model(data.ids, data.segments)[:, :-1].flatten(0, 1) for _ in range(2)]
    targets, weights = data.ids[:, 1:].flatten(), data.mask[:, 1:].flatten()
    each = [torch.nn.functional.cross_entropy(x, targets, reduction="none") * weights for x in logits]
    apart = by_torch(*logits, weights)
    expected = (each[0].sum() + each[1].sum()) / 2 + 2.0 * apart
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(metrics["rdrop"], apart.detach())
    parameters = list(model.parameters())
    for ours, theirs in zip(gradients(found, *parameters), gradients(expected, *parameters)):
        near(ours, theirs, 1e-4)


def test_without_dropout_it_is_the_next_token(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    found, metrics = RDrop(5.0)(model, data)
    torch.testing.assert_close(found, NextToken()(model, data)[0])
    assert metrics["rdrop"] == 0
    assert RDrop(5.0).weight(data) == NextToken().weight(data)
