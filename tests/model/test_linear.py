"""Weights stay float32 whatever is computed, and so do their gradients."""

import pytest
import torch

from danlu.model.linear import Linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_computes_in_its_inputs_dtype(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = Linear(6, 4), torch.randn(3, 6).to(dtype)
    y = layer(x)
    assert y.dtype == dtype
    expected = x @ layer.weight.detach().to(dtype).T + layer.bias.detach().to(dtype)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad, x.sum(0).float().expand(4, 6), rtol=1e-2, atol=1e-2)


def test_small_updates_are_not_lost() -> None:
    """A step of 1e-4 on a weight of 1 is nothing in bf16; the float32 master weight keeps it."""
    layer = Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    layer.weight.data.add_(1e-4)
    assert layer.weight.item() != 1.0
    assert layer(torch.ones(1, dtype=torch.bfloat16)).item() == 1.0
