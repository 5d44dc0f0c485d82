"""Rows that learn are part of a table that does not: one memory, and their share of its gradient."""

import copy

import pytest
import torch
from conftest import Tiny

from danlu.model.adapters.rows import TrainableRows, grow_rows, open_rows
from danlu.model.transformer import Transformer

IDS = torch.arange(40, 60).view(2, 10)
FIRST = 50


def opened(model: Transformer) -> Transformer:
    open_rows(model.requires_grad_(False), FIRST)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_is_that_of_the_rows(tiny: Tiny, tied: bool) -> None:
    whole, part = tiny(tied=tied), opened(tiny(tied=tied))
    assert torch.equal(whole(IDS), part(IDS))
    whole(IDS).square().sum().backward()
    part(IDS).square().sum().backward()
    for name in ("embed",) if tied else ("embed", "head"):
        table = part.get_submodule(name)
        assert isinstance(table, TrainableRows)
        wanted = whole.get_submodule(name).weight.grad
        torch.testing.assert_close(table.rows.grad, wanted[FIRST:], rtol=0, atol=1e-5)  # type: ignore[index]
        assert table.table.weight.grad is None
    assert {n for n, p in part.named_parameters() if p.requires_grad} == (
        {"embed.rows"} if tied else {"embed.rows", "head.rows"}
    )


def test_input_and_output_share_what_is_learned(tiny: Tiny) -> None:
    model = opened(tiny())
    before = model(IDS)
    with torch.no_grad():
        model.embed.rows.mul_(2.0)  # type: ignore[operator]
    assert model.output_weight[FIRST:].equal(model.embed.rows)  # type: ignore[arg-type]
    assert not torch.equal(model(IDS)[..., FIRST:], before[..., FIRST:])
    assert int(IDS[0].max()) < FIRST
    torch.testing.assert_close(model(IDS)[0, :, :FIRST], before[0, :, :FIRST], rtol=0, atol=1e-5)  # no new id in it


@pytest.mark.parametrize("how", ["copy", "to", "both"])
def test_a_copy_and_a_moved_model_share_too(tiny: Tiny, how: str) -> None:
    model = opened(tiny())
    other = copy.deepcopy(model) if how != "to" else model
    other = other.to(torch.float64) if how != "copy" else other
    kept = model.embed.weight.clone()
    with torch.no_grad():
        other.embed.rows.fill_(5.0)  # type: ignore[operator]
    assert bool((other.embed.weight[FIRST:] == 5).all())
    assert not bool((other.embed.weight[:FIRST] == 5).any())
    assert other is model or torch.equal(model.embed.weight, kept)


def test_using_a_model_copies_no_table(tiny: Tiny) -> None:
    model = opened(tiny())
    assert model.embed.weight.data_ptr() == model.embed.table.weight.data_ptr()  # type: ignore[operator, union-attr]
    with torch.no_grad():
        assert model.output_weight is model.embed.table.weight  # type: ignore[union-attr]


@pytest.mark.parametrize("tied", [True, False])
def test_tables_grow(tiny: Tiny, tied: bool) -> None:
    model = tiny(tied=tied)
    before = model(IDS)
    grow_rows(model, 70)
    assert model.config.vocab_size == model.embed.num_embeddings == 70
    found = model(IDS)
    assert found.shape[-1] == 70
    torch.testing.assert_close(found[..., :61], before, rtol=0, atol=1e-6)
    assert not found[..., 61:].any()
