"""NF4: codes and numbers are bitsandbytes', products and gradients those of the numbers, and nothing but codes is kept."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.linear import Linear
from danlu.model.quantized import (
    NF4,
    Nf4Linear,
    block_scales,
    dynamic_levels,
    levels,
    pack,
    pairs,
    rounded,
    unpack,
)

CPU = torch.device("cpu")
SHAPES = [(48, 128), (33, 66), (7, 10), (200, 384)]  # of an odd row bitsandbytes compiles its kernel


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.fixture(scope="module")
def reference() -> Any:
    return pytest.importorskip(
        "bitsandbytes.functional", reason="bitsandbytes is not installed: pip install 'danlu[8bit]'"
    )


def test_the_levels_are_those_of_bitsandbytes(reference: Any) -> None:
    assert torch.equal(levels(CPU), reference.get_4bit_type("nf4", device="cpu"))
    assert torch.equal(dynamic_levels(CPU), reference.create_dynamic_map())


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_and_numbers_are_those_of_bitsandbytes(reference: Any, shape: tuple[int, int], double: bool) -> None:
    weight = drawn(*shape)
    codes, state = reference.quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
    found = pack(weight, double)
    count = weight.numel() // 2  # ours fills the last block up
    assert torch.equal(found.codes[:count], codes.flatten())
    theirs = found._replace(scales=state.absmax)
    if double:
        assert found.group_scales is not None
        assert found.offset is not None
        assert torch.equal(found.group_scales, state.state2.absmax)
        assert torch.equal(found.offset, state.offset)
        # Their search on a CPU is a short one: 15 of 10,000 numbers halfway between two levels go to the wrong one.
        apart = (found.scales.int() - state.absmax.int()).abs()
        assert int(apart.max()) <= 1
        assert float(apart.float().mean()) < 0.005
    else:
        assert torch.equal(found.scales, state.absmax)
    for dtype in (torch.float32, torch.bfloat16):
        state.dtype = dtype
        wanted = reference.dequantize_4bit(codes, state).view(shape)
        assert torch.equal(unpack(theirs, shape, dtype), wanted), dtype


def test_scales_go_to_the_nearest_level() -> None:
    """As bitsandbytes has it on a GPU, and says that it has."""
    scales = drawn(64, 64 * 64).abs().view(-1, 64).amax(dim=1)
    apart, table = scales - scales.mean(), dynamic_levels(CPU)
    found = pack(drawn(64, 64 * 64))
    largest = apart.view(-1, 256).abs().amax(dim=1, keepdim=True)
    nearest = (apart.view(-1, 256) / largest).unsqueeze(2).sub(table).abs().argmin(dim=2)
    assert torch.equal(found.scales.long().view(-1, 256), nearest)


def test_golden_codes() -> None:
    """Each level in turn, by hand: a scale of 2, two to a byte, the first in the high half; the rest are zeros, code 7."""
    found = pack(torch.tensor([NF4]) * 2, double=False)
    assert found.codes[:8].tolist() == [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
    assert found.codes[8:].tolist() == [0x77] * 24
    assert found.scales.tolist() == [2.0]
    between = torch.tensor([[1.0, (NF4[14] + NF4[15]) / 2 - 1e-4, (NF4[14] + NF4[15]) / 2 + 1e-4, 0.0]])
    assert pack(between, double=False).codes[:2].tolist() == [0xFE, 0xF7]


def test_a_byte_stands_for_two_numbers() -> None:
    both = pairs(CPU).view(torch.float32).view(256, 2)
    assert both[0x1E].tolist() == pytest.approx([NF4[1], NF4[14]])


@pytest.mark.parametrize("double", [False, True])
def test_how_far_it_moves_a_number(double: bool) -> None:
    """By at most half of the widest gap between two levels, of the block's largest; rounded scales add their own."""
    weight = drawn(64, 640)
    largest = weight.view(-1, 64).abs().amax(dim=1)
    widest = max(b - a for a, b in pairwise(NF4)) / 2
    moved = (rounded(weight, double) - weight).view(-1, 64).abs().amax(dim=1)
    off = (block_scales(pack(weight, double)) - largest).abs()
    assert float(off.max()) == 0 if not double else 0 < float(off.max()) < 0.05 * float(largest.mean())
    assert bool((moved <= widest * largest + off + 1e-7).all())


def test_rounding_again_changes_nothing_where_scales_are_whole() -> None:
    once = rounded(drawn(40, 96), double=False)
    assert torch.equal(rounded(once, double=False), once)


def test_what_is_zero_stays_zero_and_what_is_no_number_is_refused() -> None:
    weight = torch.zeros(4, 640)
    for double in (False, True):
        assert torch.equal(rounded(weight, double), weight)
    for bad in (float("nan"), float("inf")):
        weight[2, 3] = bad
        with pytest.raises(UserError, match="infinite or no number"):
            pack(weight)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_is_the_product_with_its_numbers(bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    base = Linear(65, 33, bias=bias)
    made, x = Nf4Linear(base.requires_grad_(False)), drawn(2, 5, 65, seed=1).to(dtype)
    assert torch.equal(made.weight, rounded(base.weight))
    whole = made.linear()
    assert torch.equal(made(x), whole.requires_grad_(False)(x))
    assert made(x).dtype == dtype
    assert made(x[0, 0]).shape == (33,)
    assert {name for name, _ in made.named_parameters()} == ({"bias"} if bias else set())
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert float((made(x) - base(x)).abs().max()) > 1e-3


def test_the_gradient_of_its_input_is_that_of_the_product() -> None:
    torch.manual_seed(0)
    made = Nf4Linear(Linear(65, 33))
    weight = made.weight.requires_grad_()
    x = drawn(4, 65).requires_grad_()
    (wanted,) = torch.autograd.grad(nn.functional.linear(x, weight, made.bias).square().sum(), x)
    (found,) = torch.autograd.grad(made(x).square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda value: made(value.float()).double(), drawn(2, 65).double().requires_grad_(), eps=1e-2, atol=1e-3
    )


def test_nothing_is_kept_for_the_backward_pass() -> None:
    made, kept = Nf4Linear(Linear(128, 64)), list[int]()
    x = drawn(4, 128).requires_grad_()

    def keep(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        made(x)
        assert kept == []
        Linear(128, 64)(x)
    assert kept


def test_four_bits_are_four_bits() -> None:
    for shape, double, most in (((1536, 576), True, 0.5162), ((576, 576), True, 0.5163), ((576, 576), False, 0.5626)):
        made = Nf4Linear(Linear(*shape, bias=False), double)
        size = sum(buffer.untyped_storage().nbytes() for buffer in made.buffers())
        assert size == made.stored_bytes
        assert 0.5 < size / (shape[0] * shape[1]) < most
