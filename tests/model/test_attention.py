"""Attention over blocks of queries against attention written out."""

import pytest
import torch
from torch import Tensor

from danlu.model import attention
from danlu.model.attention import Scores, attend
from danlu.model.positions.alibi import slopes

HIDDEN = float("-inf")


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def written_out(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q kᵀ / √W + bias) v, every key and value head repeated for its queries."""
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    scores = torch.einsum("bhtw,bhsw->bhts", q, k) / q.shape[-1] ** 0.5 + bias
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("bhts,bhsw->bhtw", weights, v)


def causal(rows: int, length: int) -> Tensor:
    return torch.full((length, length), HIDDEN, dtype=torch.float64).triu(1).expand(rows, 1, -1, -1)


def packed(length: int) -> Tensor:
    """Two rows: documents of a third and the rest, and one document."""
    bias = causal(2, length).clone()
    third = max(length // 3, 1)
    bias[0, :, third:, :third] = HIDDEN
    return bias


def alibi(heads: int, length: int) -> Tensor:
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return packed(length) - torch.tensor(slopes(heads), dtype=torch.float64)[:, None, None] * distance.abs()


@pytest.mark.parametrize("kind", ["packed", "alibi"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 4, 9, 12])
def test_blocks_are_the_whole(kind: str, kv_heads: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 4)
    bias = packed(length) if kind == "packed" else alibi(4, length)
    heads = (4, kv_heads, kv_heads)
    inputs = [drawn(2, h, length, 6, seed=i) for i, h in enumerate(heads)]
    out, found = drawn(2, 4, length, 6, seed=9), []
    for compute in (attend, written_out):
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        y = compute(q, k, v, bias)
        y.backward(out)
        found.append([y, q.grad, k.grad, v.grad])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kept", [0, 99])
def test_its_backward_is_right(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 2)
    monkeypatch.setattr(attention, "LONGEST_KEPT", kept)
    q, k, v = (drawn(2, h, 5, 3, seed=h + i).requires_grad_() for i, h in enumerate((4, 2, 2)))
    torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, alibi(4, 5)), (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_roads_agree(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, blocks of a context too long to keep what they were, and SDPA without gradients."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    q, k, v = (drawn(2, h, 11, 8, seed=i, dtype=dtype) for i, h in enumerate((4, 2, 2)))
    bias = packed(11)
    expected = written_out(q.double(), k.double(), v.double(), bias)
    learned = q.clone().requires_grad_()
    blocked = attend(learned, k, v, bias.to(dtype))
    assert "_Blocked" in str(blocked.grad_fn.next_functions[0][0])  # type: ignore[union-attr]
    monkeypatch.setattr(attention, "LONGEST_KEPT", 10)
    long = attend(learned, k, v, bias.to(dtype))
    assert torch.equal(long, blocked)
    with torch.no_grad():
        free = attend(q, k, v, bias.to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 2**-6
    for y in (blocked, long, free):
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


def test_no_bias_means_plain_causal() -> None:
    q, k, v = (drawn(2, h, 7, 8, seed=i) for i, h in enumerate((4, 2, 2)))
    torch.testing.assert_close(attend(q, k, v, None), written_out(q, k, v, causal(2, 7)))


def windowed(length: int, window: int, causal: bool) -> Tensor:
    """Two rows of `packed` documents, or of whole ones seen both ways, in a window."""
    bias = packed(length).clone() if causal else torch.zeros(2, 1, length, length, dtype=torch.float64)
    index = torch.arange(length)
    bias[:, :, (index[:, None] - index).abs() >= window] = HIDDEN
    return bias


@pytest.mark.parametrize("kept", [0, 99])
@pytest.mark.parametrize("cap", [0.0, 0.5])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 3, 5, 8])
def test_blocks_skip_what_a_window_hides(
    window: int, causal: bool, cap: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 4)
    monkeypatch.setattr(attention, "LONGEST_KEPT", kept)
    bias, kind = windowed(13, window, causal), Scores(cap=cap, causal=causal, window=window)
    inputs = [drawn(2, h, 13, 6, seed=i) for i, h in enumerate((4, 2, 2))]
    out, found = drawn(2, 4, 13, 6, seed=9), []
    for compute in (lambda q, k, v: attend(q, k, v, bias, kind), lambda q, k, v: capped(q, k, v, bias, cap)):
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        y = compute(q, k, v)
        y.backward(out)
        found.append([y, q.grad, k.grad, v.grad])
    torch.testing.assert_close(*found)


def capped(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, cap: float) -> Tensor:
    """softmax(cap · tanh(q kᵀ / √W / cap) + bias) v, written out."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhtw,bhsw->bhts", q, k) / q.shape[-1] ** 0.5
    scores = (cap * torch.tanh(scores / cap) if cap else scores) + bias
    return torch.einsum("bhts,bhsw->bhtw", scores.softmax(-1), v)


@pytest.mark.parametrize("kind", ["packed", "alibi"])
def test_capped_scores_are_the_formula(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning, and not; a query at the end of many keys, as in decoding."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    bias = packed(9) if kind == "packed" else alibi(4, 9)
    q, k, v = (drawn(2, h, 9, 6, seed=i) for i, h in enumerate((4, 2, 2)))
    expected = capped(q, k, v, bias, 0.5)
    torch.testing.assert_close(attend(q, k, v, bias, Scores(cap=0.5)), expected)
    torch.testing.assert_close(attend(q.requires_grad_(), k, v, bias, Scores(cap=0.5)), expected)
    with torch.no_grad():
        last = attend(q[:, :, 8:], k, v, bias[:, :, 8:], Scores(cap=0.5))
    torch.testing.assert_close(last, expected[:, :, 8:])
    torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, bias, Scores(cap=0.5)), (q, k.requires_grad_(), v))


def test_a_scale_of_its_own() -> None:
    q, k, v = (drawn(2, h, 7, 8, seed=i) for i, h in enumerate((4, 2, 2)))
    expected = written_out(q * (0.3 * 8**0.5), k, v, causal(2, 7))
    for bias in (None, causal(2, 7)):
        torch.testing.assert_close(attend(q, k, v, bias, Scores(scale=0.3)), expected)
    torch.testing.assert_close(attend(q.requires_grad_(), k, v, causal(2, 7), Scores(scale=0.3)), expected)
