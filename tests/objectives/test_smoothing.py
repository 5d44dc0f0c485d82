"""Label smoothing in the chunked loss: torch's, forward and gradient, and what is held out is measured without."""

from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor, nn

from danlu.objectives import linear_loss
from danlu.objectives.linear_loss import cross_entropy_and_z, cross_entropy_sum
from danlu.objectives.next_token import NextToken
from tests.objectives.test_linear_loss import drawn, gradients, near, problem
from tests.objectives.test_next_token import batch


def by_torch(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """The reference, from all logits."""
    each = nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    return (each * weights).sum()


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("form", [{}, {"bias": 3}, {"cap": 2.0, "scale": 0.7}], ids=["plain", "bias", "capped"])
def test_it_is_torchs(smoothing: float, form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_loss, "CHUNK_BYTES", 1)
    monkeypatch.setattr(linear_loss, "FEWEST_ROWS", 16)
    monkeypatch.setattr(linear_loss, "BETTER_ROWS", 16)
    hidden, weight, targets, weights = problem(50, 37)
    learned = [hidden.requires_grad_(), weight.requires_grad_()]
    if "bias" in form:
        form = {"bias": drawn(37, seed=form["bias"]).requires_grad_()}
        learned.append(form["bias"])
    logits = (hidden.double() @ weight.double().T + form.get("bias", 0)) * form.get("scale", 1.0)
    if "cap" in form:
        logits = torch.tanh(logits / form["cap"]) * form["cap"]
    expected = by_torch(logits, targets, weights.double(), smoothing)
    found = cross_entropy_sum(hidden, weight, targets, weights, smoothing=smoothing, **form)
    near(found, expected)
    for ours, theirs in zip(gradients(3 * found, *learned), gradients(3 * expected, *learned), strict=True):
        near(ours, theirs)
    with torch.no_grad():
        near(cross_entropy_sum(hidden, weight, targets, weights, smoothing=smoothing, **form), expected)


def test_with_a_z_loss_each_is_added_once() -> None:
    hidden, weight, targets, weights = problem(20, 37)
    hidden.requires_grad_()
    total, added = cross_entropy_and_z(hidden, weight, targets, weights, z_loss=0.01, smoothing=0.2)
    logits = hidden.double() @ weight.double().T
    z = (logits.logsumexp(-1).square() * weights).sum() * 0.01
    expected = by_torch(logits, targets, weights.double(), 0.2) + z
    near(total, expected)
    near(added, z.detach())
    near(gradients(total, hidden)[0], gradients(expected, hidden)[0])


def test_in_bf16_it_keeps_its_accuracy() -> None:
    hidden, weight, targets, weights = problem(50, 37)
    found = cross_entropy_sum(hidden.bfloat16().requires_grad_(), weight, targets, weights, smoothing=0.1)
    logits = hidden.bfloat16().double() @ weight.bfloat16().double().T
    near(found.detach(), by_torch(logits, targets, weights.double(), 0.1), 1e-2)


def test_the_objective_smooths(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    plain, smoothed = (NextToken(smoothing=s)(model, data)[0] for s in (0.0, 0.1))
    logits = model(data.ids, data.segments)[:, :-1].flatten(0, 1)
    targets, weights = data.ids[:, 1:].flatten(), data.mask[:, 1:].flatten()
    torch.testing.assert_close(smoothed, by_torch(logits, targets, weights, 0.1))
    assert smoothed != plain
