"""FGM and FreeLB: gradients are those of the algorithms written out by hand, and the loss there is worse."""

from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer
from danlu.objectives.adversarial import Perturbed
from danlu.objectives.next_token import NextToken
from danlu.objectives.noise import embedded_with, lengths, own_sum, uniform
from danlu.objectives.objective import passes
from danlu.objectives.settings import Adversarial
from danlu.tokens.batches import Batch
from tests.objectives.test_linear_loss import near
from tests.objectives.test_noise import numbered

FGM = Adversarial(name="fgm", epsilon=2.0)
FREELB = Adversarial(name="freelb", epsilon=0.5, step=0.2, steps=3)


def as_the_loop(model: Transformer, settings: Adversarial, data: Batch, parts: int = 1) -> tuple[float, list[Tensor]]:
    """The loss and the gradients that the loop would make."""
    objective = Perturbed(NextToken(), settings, seed=4)
    weight, loss = objective.weight(data), 0.0
    model.zero_grad()
    for piece in data.split(parts):
        for summed, _ in passes(objective, model, piece):
            (summed / weight).backward()
            loss += float(summed.detach()) / weight
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def norms(values: Tensor, data: Batch) -> Tensor:
    """Of each token's document."""
    return own_sum(values.square().sum(-1), data.segments).sqrt().unsqueeze(-1)


def by_hand(model: Transformer, settings: Adversarial, data: Batch) -> tuple[float, list[Tensor]]:
    """Both algorithms with autograd.grad, K losses in one sum at the end."""
    change = torch.zeros(*data.ids.shape, model.config.width)
    if settings.name == "freelb":
        size = settings.epsilon / (lengths(data.segments) * model.config.width).sqrt()
        change = uniform(model, data, 4) * size.unsqueeze(-1)
    losses: list[Tensor] = []
    for _ in range(settings.passes):
        change = change.detach().requires_grad_()
        with embedded_with(model, change):
            losses.append(NextToken()(model, data)[0])
        (grad,) = torch.autograd.grad(losses[-1], change, retain_graph=True)
        step = settings.epsilon if settings.name == "fgm" else settings.step
        moved = change.detach() + step * grad / norms(grad, data).clamp_min(1e-12)
        change = moved * (settings.epsilon / norms(moved, data).clamp_min(1e-12)).clamp_max(1)
    total = sum(losses, torch.zeros(())) / len(losses) / NextToken().weight(data)
    return float(total.detach()), list(torch.autograd.grad(total, list(model.parameters())))


@pytest.mark.parametrize("settings", [FGM, FREELB], ids=lambda s: s.name)
def test_it_is_the_algorithm(tiny: Tiny, settings: Adversarial) -> None:
    model, data = tiny(), numbered()
    loss, found = as_the_loop(model, settings, data)
    expected, wanted = by_hand(model, settings, data)
    assert loss == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(found, wanted, strict=True):
        near(ours, theirs, 1e-4)
    plain = float(NextToken()(model, data)[0].detach()) / NextToken().weight(data)
    assert loss > plain + 0.01


@pytest.mark.parametrize("settings", [FGM, FREELB], ids=lambda s: s.name)
def test_micro_batches_give_the_same_gradient(tiny: Tiny, settings: Adversarial) -> None:
    model, data = tiny(), numbered()
    whole, cut = as_the_loop(model, settings, data), as_the_loop(model, settings, data, parts=4)
    assert whole[0] == pytest.approx(cut[0], rel=1e-5)
    for ours, theirs in zip(whole[1], cut[1], strict=True):
        near(ours, theirs, 1e-4)


def test_a_document_is_moved_by_epsilon_and_padding_is_not(tiny: Tiny) -> None:
    model, data, changes = tiny(), numbered(), list[Tensor]()

    class Seen(NextToken):
        """Remembers what was added."""

        def __call__(self, model: Any, batch: Batch) -> Any:
            """As `NextToken`."""
            changes.append(
                (model.embed(batch.ids) - torch.nn.functional.embedding(batch.ids, model.embed.weight)).detach()
            )
            return super().__call__(model, batch)

    objective = Perturbed(Seen(), FGM, seed=4)
    for summed, metrics in objective.passes(model, data):
        summed.backward()
        seen = metrics
    assert not changes[0].any()
    learned = (own_sum(data.mask, data.segments) > 0) & (data.segments >= 0)
    sizes = norms(changes[1], data).squeeze(-1)[learned]
    torch.testing.assert_close(sizes, torch.full_like(sizes, 2.0))
    assert not changes[1][data.segments < 0].any()
    assert float(seen["adversarial"]) == pytest.approx(2 * float(summed.detach()), rel=1e-5)


def test_all_passes_drop_the_same(tiny: Tiny) -> None:
    model, data, drawn = tiny(dropout=0.3).train(), numbered(), list[Tensor]()

    class Draws(NextToken):
        """Remembers what dropout would draw."""

        def __call__(self, model: Any, batch: Batch) -> Any:
            """As `NextToken`."""
            state = torch.get_rng_state()
            drawn.append(state)
            return super().__call__(model, batch)

    for summed, _ in Perturbed(Draws(), FREELB, seed=4).passes(model, data):
        summed.backward()
    assert len(drawn) == 3
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], torch.get_rng_state())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "fgm", "epsilon": 0.0}, "must be above 0"),
        ({"name": "fgm", "steps": 5}, "fgm moves once"),
        ({"epsilon": 2.0}, "nothing is moved"),
        ({"name": "freelb", "steps": 1}, "at least 2"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Adversarial(**given)
