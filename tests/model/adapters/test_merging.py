"""Merged equals unmerged, and a merged model is one like any other."""

import math

import pytest
import torch
from conftest import Tiny

from danlu.model.adapters.lora import adapted, add_lora
from danlu.model.adapters.merging import MEASURED, largest_difference, logits_on_samples, merge
from danlu.model.adapters.rows import open_rows
from danlu.model.adapters.settings import Lora
from danlu.model.transformer import Transformer


def trained(model: Transformer, spread: float = 0.1, dora: bool = False) -> Transformer:
    """With an adapter that is at its first values no more."""
    add_lora(model, Lora(rank=3, alpha=5, dora=dora), 0)
    open_rows(model, 50)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in adapted(model).values():
            layer.lora_B.normal_(std=spread)
            if layer.lora_magnitude_vector is not None:
                layer.lora_magnitude_vector.mul_(1.5)
        model.embed.rows.normal_(std=0.2)  # type: ignore[operator]
    return model


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"bias": True, "activation": "gelu"}], ids=str)
def test_merged_equals_unmerged(tiny: Tiny, changes: dict[str, object], dora: bool) -> None:
    model, plain = trained(tiny(**changes), dora=dora), tiny(**changes)
    before = logits_on_samples(model)
    assert largest_difference(before, logits_on_samples(plain)) > 0.1
    merged = merge(model)
    assert largest_difference(before, logits_on_samples(merged)) <= 3e-5
    assert [(n, p.shape) for n, p in merged.named_parameters()] == [(n, p.shape) for n, p in plain.named_parameters()]
    assert all(p.requires_grad for p in merged.parameters())
    assert not adapted(merged)


def test_samples_are_the_same_each_time_and_fit_the_model(tiny: Tiny) -> None:
    model = tiny()
    assert logits_on_samples(model).shape == (MEASURED[0], 64, 61)  # the model takes no more than 64 tokens
    assert torch.equal(logits_on_samples(model), logits_on_samples(model))
    assert not torch.equal(logits_on_samples(model), logits_on_samples(model, seed=1))


def test_what_is_no_number_differs_from_everything(tiny: Tiny) -> None:
    model = trained(tiny())
    before = logits_on_samples(model)
    next(iter(adapted(model).values())).lora_A.data[0, 0] = float("nan")
    assert math.isnan(largest_difference(before, logits_on_samples(merge(model))))
