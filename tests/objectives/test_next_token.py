"""The next token's loss: the mask decides, and a batch gives the same gradients however it is cut."""

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.kinds import Experts
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken, sequence_log_probabilities
from danlu.tokens.batches import Batch

ROWS, LENGTH = 8, 16


def batch() -> Batch:
    """Rows of two documents and padding, with masks of uneven weight; the last row has a single target."""
    draw = torch.Generator().manual_seed(5)
    ids = torch.randint(1, 61, (ROWS, LENGTH), generator=draw)
    borders = torch.randint(2, LENGTH - 4, (ROWS, 1), generator=draw)
    column = torch.arange(LENGTH)
    segments = (column >= borders).int()
    segments[::2, -3:] = -1
    mask = torch.rand(ROWS, LENGTH, generator=draw) * 2 * (torch.rand(ROWS, LENGTH, generator=draw) > 0.4)
    mask[segments < 0] = 0
    mask[:, 0] = 0
    mask.scatter_(1, borders, 0)  # the first token of a segment is nobody's target
    mask[-1] = 0
    mask[-1, 1] = 1.5
    return Batch(ids, mask, segments)


def by_hand(model: Transformer, data: Batch) -> Tensor:
    """From the logits of all positions."""
    logp = torch.log_softmax(model(data.ids, data.segments), dim=-1)[:, :-1]
    return -(logp.gather(2, data.ids[:, 1:, None])[..., 0] * data.mask[:, 1:]).sum()


def gradients(model: Transformer, pieces: list[Batch]) -> tuple[float, list[Tensor]]:
    """As the loop does it: sums and weights over micro-batches, divided once."""
    objective = NextToken()
    weight, loss = sum(objective.weight(piece) for piece in pieces), 0.0
    model.zero_grad()
    for piece in pieces:
        summed, _ = objective(model, piece)
        (summed / weight).backward()
        loss += float(summed.detach()) / weight
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_it_is_the_masked_mean_by_hand(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    loss, found = gradients(model, [data])
    weight = NextToken().weight(data)
    assert weight == pytest.approx(float(data.mask.sum()))
    model.zero_grad()
    expected = by_hand(model, data) / weight
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for a, p in zip(found, model.parameters(), strict=True):
        assert p.grad is not None
        assert (a - p.grad).norm() < 1e-5 * p.grad.norm()


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_micro_batches_give_the_same_gradients(tiny: Tiny, positions: str, parts: int) -> None:
    model, data = tiny(positions=positions), batch()
    weights = [NextToken().weight(piece) for piece in data.split(8)]
    assert max(weights) > 5 * min(weights)  # so that a mean of means would be another number
    loss, whole = gradients(model, [data])
    again, cut = gradients(model, data.split(parts))
    assert again == pytest.approx(loss, rel=1e-6)
    distance = torch.stack([(a - b).norm() for a, b in zip(whole, cut, strict=True)]).norm()
    assert distance < 1e-6 * torch.stack([a.norm() for a in whole]).norm()


def test_what_is_masked_contributes_exactly_nothing(tiny: Tiny) -> None:
    """Everything behind a row's last target is only ever a target itself."""
    model, data = tiny(tied=False), batch()
    data.mask[:, 9:] = 0
    loss, found = gradients(model, [data])
    changed = data.ids.clone()
    changed[:, 9:] = changed[:, 9:] % 60 + 1
    again, others = gradients(model, [Batch(changed, data.mask, data.segments)])
    assert again == loss
    assert all(torch.equal(a, b) for a, b in zip(found, others, strict=True))
    data.mask[:, 9] = 1
    assert gradients(model, [Batch(changed, data.mask, data.segments)])[0] != gradients(model, [data])[0]


def test_only_positions_with_a_weight_reach_the_output_layer(tiny: Tiny) -> None:
    model, data = tiny(tied=False), batch()
    data.mask.zero_()
    data.mask[2, 5] = 1
    NextToken()(model, data)[0].backward()
    assert model.head.weight.grad is not None
    hidden = model.hidden(data.ids, data.segments)[2, 4]
    logits = (model.head.weight @ hidden).detach().requires_grad_()
    (slope,) = torch.autograd.grad(-torch.log_softmax(logits, 0)[data.ids[2, 5]], logits)
    torch.testing.assert_close(model.head.weight.grad, torch.outer(slope, hidden.detach()))


def test_a_batch_with_every_weight_is_the_same_road(tiny: Tiny) -> None:
    """Where nothing is masked the positions are not gathered; the numbers are those of the other road."""
    model, data = tiny(), batch()
    data.mask[:, 1:] = 1.0
    expected = by_hand(model, data)
    torch.testing.assert_close(NextToken()(model, data)[0], expected)
    assert NextToken().weight(data) == ROWS * (LENGTH - 1)


def test_the_first_column_is_nobodys_target(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    loss, weight = NextToken()(model, data)[0], NextToken().weight(data)
    data.mask[:, 0] = 5.0
    assert torch.equal(NextToken()(model, data)[0], loss)
    assert NextToken().weight(data) == weight


def test_the_log_probability_of_a_row(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    data.mask[3] = 0
    found = sequence_log_probabilities(model, data.ids, data.mask, data.segments)
    rows = [by_hand(model, piece) for piece in data.split(ROWS)]
    torch.testing.assert_close(found, -torch.stack(rows), rtol=1e-5, atol=1e-5)
    assert found[3] == 0


def test_what_the_output_layer_does_is_in_the_loss(tiny: Tiny) -> None:
    """Bias, scale and soft cap, for the loss and for the log-probabilities of rows."""
    data = batch()
    plain = NextToken()(tiny(), data)[0]
    model = tiny(logit_cap=2.0, logit_scale=0.5, head_bias=True)
    logp = torch.log_softmax(model(data.ids, data.segments), dim=-1)[:, :-1]
    rows = (logp.gather(2, data.ids[:, 1:, None])[..., 0] * data.mask[:, 1:]).sum(1)
    found = NextToken()(model, data)[0]
    torch.testing.assert_close(found, -rows.sum(), rtol=1e-5, atol=1e-4)
    assert abs(float(found.detach() - plain.detach())) > 1
    again = sequence_log_probabilities(model, data.ids, data.mask, data.segments)
    torch.testing.assert_close(again, rows, rtol=1e-5, atol=1e-4)
    found.backward()
    assert model.head_bias.bias.grad is not None


def test_a_z_loss_is_added_and_told_apart(tiny: Tiny) -> None:
    model, data = tiny(), batch()
    plain, nothing = NextToken()(model, data)
    loss, metrics = NextToken(z_loss=1e-3)(model, data)
    normaliser = torch.logsumexp(model(data.ids, data.segments), dim=-1)[:, :-1]
    added = (1e-3 * normaliser.square() * data.mask[:, 1:]).sum()
    torch.testing.assert_close(loss, plain + added)
    torch.testing.assert_close(metrics["z_loss"], added.detach())
    assert nothing == {}
    assert not metrics["z_loss"].requires_grad


def test_routers_of_experts_learn_by_losses_of_their_own(tiny: Tiny) -> None:
    """The value stays the cross-entropy; the router's gradient is another; evaluation writes nothing down."""
    data, found = batch(), []
    for balance in (0.0, 0.5):
        model = tiny(experts=Experts(4, 2, 16, balance=balance, router_z=0.1))
        loss, metrics = NextToken()(model, data)
        loss.backward()
        routers = [p.grad for name, p in model.named_parameters() if "router" in name]
        found.append((loss.detach(), torch.cat([g.flatten() for g in routers if g is not None])))
        assert set(metrics) == {"balance", "router_z"}
        with torch.no_grad():
            again, nothing = NextToken()(model, data)
        assert nothing == {}
        torch.testing.assert_close(again, loss.detach(), rtol=1e-5, atol=1e-4)
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_an_encoder_has_nothing_to_predict(tiny: Tiny) -> None:
    data = batch()
    with pytest.raises(UserError, match="an encoder sees the tokens that it would have to predict"):
        NextToken()(tiny(causal=False), data)
    with pytest.raises(UserError, match="Use a causal model"):
        sequence_log_probabilities(tiny(causal=False), data.ids, data.mask, data.segments)
