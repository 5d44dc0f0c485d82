"""The norms against their formulas, written out and left to torch's autograd."""

import pytest
import torch
from torch import Tensor, nn

from danlu.model.norm import LayerNorm, RMSNorm

EPSILON = 1e-3  # large enough to be seen in the result


def rms(x: Tensor, weight: Tensor) -> Tensor:
    """Zhang and Sennrich 2019, equation 4."""
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt() * weight


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 5, 16), (1, 1, 2), (7, 16)])
def test_rmsnorm_is_its_formula(shape: tuple[int, ...]) -> None:
    x, weight, out = drawn(*shape), drawn(shape[-1], seed=1), drawn(*shape, seed=2)
    norm = RMSNorm(shape[-1], EPSILON)
    norm.weight.data.copy_(weight)
    ours = x.clone().requires_grad_()
    y = norm(ours)
    y.backward(out)
    theirs, scale = x.double().requires_grad_(), weight.double().requires_grad_()
    expected = rms(theirs, scale)
    expected.backward(out.double())
    for found, wanted in ((y, expected), (ours.grad, theirs.grad), (norm.weight.grad, scale.grad)):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-5)  # type: ignore[union-attr]


def test_rmsnorm_without_weights_is_one_with_ones() -> None:
    x, out = drawn(3, 5, 16), drawn(3, 5, 16, seed=2)
    bare, ones = RMSNorm(16, EPSILON, weighted=False), RMSNorm(16, EPSILON)
    assert list(bare.parameters()) == []
    found, wanted = (x.clone().requires_grad_() for _ in range(2))
    bare(found).backward(out)
    ones(wanted).backward(out)
    assert torch.equal(bare(x), ones(x))
    assert found.grad is not None
    assert wanted.grad is not None
    torch.testing.assert_close(found.grad, wanted.grad)


def test_rmsnorm_in_bf16_is_as_close_as_bf16_allows() -> None:
    x, out = drawn(64, 32).bfloat16(), drawn(64, 32, seed=2).bfloat16()
    norm = RMSNorm(32, EPSILON)
    norm.weight.data.copy_(drawn(32, seed=1))
    ours = x.clone().requires_grad_()
    y = norm(ours)
    y.backward(out)
    assert (y.dtype, norm.weight.dtype) == (torch.bfloat16, torch.float32)
    assert norm.weight.grad is not None
    assert ours.grad is not None
    assert norm.weight.grad.dtype == torch.float32
    theirs, scale = x.double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    expected = rms(theirs, scale)
    expected.backward(out.double())
    for found, wanted in ((y, expected), (ours.grad, theirs.grad), (norm.weight.grad, scale.grad)):
        assert wanted is not None
        assert (found.double() - wanted).norm() < 2**-7 * wanted.norm()  # bf16 keeps 8 bits


@pytest.mark.parametrize(
    ("dtype", "large", "small", "epsilon"),
    [(torch.float32, 1e15, 1e-12, 1e-30), (torch.bfloat16, 1e15, 1e-12, 1e-30), (torch.float16, 1e3, 1e-3, 1e-9)],
)
def test_large_and_small_rows_survive(dtype: torch.dtype, large: float, small: float, epsilon: float) -> None:
    """In fp16 a sum of squares would overflow or vanish; it is float32 whatever the rows are."""
    x = torch.stack([torch.full((16,), large), torch.full((16,), small), torch.zeros(16)]).to(dtype)
    y = RMSNorm(16, epsilon)(x)
    torch.testing.assert_close(y.float(), torch.tensor([[1.0], [1.0], [0.0]]).expand(3, 16), rtol=2**-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layernorm_is_torchs(dtype: torch.dtype) -> None:
    norm, plain = LayerNorm(16, EPSILON), nn.LayerNorm(16, EPSILON, dtype=dtype)
    for ours, theirs in zip(norm.parameters(), plain.parameters()):
        ours.data.copy_(drawn(16, seed=3))
        theirs.data.copy_(ours)
    x = drawn(4, 16).to(dtype)
    assert torch.equal(norm(x), plain(x))
    for weighted, biased in ((True, False), (False, False)):
        few, bare = LayerNorm(16, EPSILON, weighted, biased), nn.LayerNorm(16, EPSILON, weighted, biased, dtype=dtype)
        assert torch.equal(few(x), bare(x))
    assert norm.weight.dtype == torch.float32
