"""Tokens after the next one: which are targets, what their loss is, and that nothing else changes."""

import math
from pathlib import Path

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.model.heads import attach, heads_of
from danlu.model.transformer import Transformer
from danlu.objectives.ahead import NextTokens, targets
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.objectives.test_next_token import batch
from tests.train.conftest import loop
from tests.train.conftest import model as small
from tests.train.test_loop import Losses, Stop, weights


def ready(tiny: Tiny, count: int = 2) -> Transformer:
    """A model with heads in which nothing is left at zero."""
    model = tiny()
    attach(model, count, 0)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in heads_of(model).parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.2)
    return model


@pytest.mark.parametrize("k", [1, 2, 3, 20])
def test_targets_are_the_law_spelled_out(k: int) -> None:
    data = batch()
    found = targets(data.mask, data.segments, k)
    for row in range(data.ids.shape[0]):
        for i in range(data.ids.shape[1]):
            j = i + k + 1
            wanted = j < 16 and data.mask[row, j] != 0 and data.segments[row, j] == data.segments[row, i]
            assert bool(found[row, i]) == wanted
    assert bool(found.any()) == (k < 16)


def by_hand(model: Transformer, data: Batch) -> list[Tensor]:
    """The loss sum of each head, position by position."""
    hidden, sums = model.hidden(data.ids, data.segments), []
    blocks = list(heads_of(model).blocks)
    for k in range(1, len(blocks) + 1):
        total = torch.zeros(())
        for row, i in targets(data.mask, data.segments, k).nonzero().tolist():
            stream = hidden[row, i]
            for depth in range(1, k + 1):
                stream = blocks[depth - 1](stream[None], model.embed(data.ids[row, i + depth])[None])[0]
            logits = blocks[k - 1].norm(stream[None])[0] @ model.output_weight.t()
            total = total - torch.log_softmax(logits, -1)[data.ids[row, i + k + 1]] * data.mask[row, i + k + 1]
        sums.append(total)
    return sums


def test_the_loss_is_that_of_a_loop_over_positions(tiny: Tiny) -> None:
    model, data = ready(tiny), batch().split(3)[0]
    loss, metrics = NextTokens(ahead=0.5)(model, data)
    plain, sums = NextToken()(model, data)[0], by_hand(model, data)
    expected = plain + 0.5 / 2 * sum(sums)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(metrics["next_token"], plain.detach())
    for k, wanted in enumerate(sums, 1):
        torch.testing.assert_close(metrics[f"ahead_{k}"], wanted.detach(), rtol=1e-5, atol=1e-4)
    assert NextTokens().weight(data) == NextToken().weight(data)
    found = torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(found, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        assert (a - b).norm() < 1e-4 * b.norm()


def test_at_weight_zero_the_trunk_learns_as_without(tiny: Tiny) -> None:
    """Bit for bit: loss, and the gradient of every parameter of the model."""
    model, data = ready(tiny), batch()
    trunk = {name: p for name, p in model.named_parameters() if not name.startswith("ahead.")}
    plain, zero = NextToken()(model, data)[0], NextTokens(ahead=0.0)(model, data)[0]
    assert torch.equal(plain, zero)
    pairs = [torch.autograd.grad(loss, list(trunk.values())) for loss in (plain, zero)]
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    more = torch.autograd.grad(NextTokens(ahead=0.3)(model, data)[0], list(trunk.values()))
    assert not any(torch.equal(a, b) for a, b in zip(pairs[0], more, strict=True))


def test_a_head_never_sees_another_document(tiny: Tiny) -> None:
    """The row's second document changed, the losses of its first stay; and head 1 does see the token in between."""
    model, data = ready(tiny), batch()
    border = int((data.segments[1] == 0).sum())
    data.mask[:, border:] = 0
    row = data.split(8)[1]
    row.mask[0, 1:border] = 1
    before = NextTokens()(model, row)[1]
    other = row.ids.clone()
    other[:, border:] = other[:, border:] % 60 + 1
    after = NextTokens()(model, Batch(other, row.mask, row.segments))[1]
    assert before.keys() == {"next_token", "ahead_1", "ahead_2"}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert border > 4


@pytest.mark.parametrize("parts", [2, 8])
def test_micro_batches_give_the_same_gradients(tiny: Tiny, parts: int) -> None:
    model, data, objective = ready(tiny), batch(), NextTokens()
    found = []
    for pieces in ([data], data.split(parts)):
        model.zero_grad()
        for piece in pieces:
            (objective(model, piece)[0] / objective.weight(data)).backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    distance = torch.stack([(a - b).norm() for a, b in zip(*found, strict=True)]).norm()
    assert distance < 1e-6 * torch.stack([a.norm() for a in found[0]]).norm()


def test_rows_too_short_for_a_head_are_no_trouble(tiny: Tiny) -> None:
    model = ready(tiny, 3)
    data = Batch(torch.tensor([[1, 2]]), torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2, dtype=torch.int32))
    loss, metrics = NextTokens()(model, data)
    assert torch.equal(loss, NextToken()(model, data)[0])
    assert float(metrics["ahead_1"]) == 0


def trained(folder: Path, stop: int | None = None) -> tuple[dict[str, Tensor], list[float]]:
    """Forty steps over counting sequences with two heads, in one go or two."""
    optimizer = OptimizerSettings(name="muon", lr=1e-2)
    settings = TrainSettings(steps=40, optimizer=optimizer, checkpoint_every=4)
    seen = Losses()
    for hooks in ([Stop(stop), seen], [Stop(0), seen]) if stop else ([seen],):
        model = small()
        attach(model, 2, 0)
        run = loop(folder, settings, model=model, objective=NextTokens(), hooks=hooks)
        try:
            run.run()
        except KeyboardInterrupt:
            continue
    return weights(run), seen.seen


def test_it_learns_and_goes_on_exactly(tmp_path: Path) -> None:
    """A stop between two checkpoints ends in the same bits, heads included; counting is learned two and three ahead."""
    whole, losses = trained(tmp_path / "whole")
    again, _ = trained(tmp_path / "again", stop=18)
    assert any(name.startswith("ahead.blocks.1") for name in whole)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert losses[0] > 1.2 * math.log(32)  # 0.3 of the heads' is in it
    assert losses[-1] < losses[0] / 8
