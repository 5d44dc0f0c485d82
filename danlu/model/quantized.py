"""Linear layers whose frozen weights are kept in four bits: NF4 with double quantisation (QLoRA).

Dettmers et al. 2023, arXiv:2305.14314. The weights of a layer, row after row, are cut into blocks of 64; a block is
divided by its largest magnitude, and each number is rounded to the nearest of 16 levels that are the quantiles of a
normal distribution, two to a byte. The magnitudes themselves, less their mean, are rounded to 8 bits in groups of 256
(Dettmers et al. 2022, arXiv:2110.02861): 4.13 bits a number. Codes and numbers are those of the library
bitsandbytes, whatever the shape of a layer, since blocks there do not mind the ends of rows either; only the last is
filled up.

A product unpacks the weights into its own format and forgets them; its backward pass unpacks them again, so nothing is
kept but the codes. Unpacking looks up a byte, two numbers at a time, in a table of 256 pairs of float32, and scales
those: for 576 x 1536 on one core 1.4 ms, beside 3 ms for the bf16 product with 512 rows and 18 with 4,096. Pairs of
bf16 took half, and rounded thrice what is rounded once here; a number at a time took 3.5 ms, a table of the products
of each block 4.8.

Left out: FP4, which the paper found worse, other sizes of blocks, and training in paged memory.

Legend: N numbers, G blocks of 64, I in, O out.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.linear import Linear
from danlu.model.products import product

BLOCK, GROUP = 64, 256
TINY = 1e-38  # the least that a block is divided by
# The paper's appendix E: quantiles of the normal distribution in [-1, 1], zero among them
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class Packed(NamedTuple):
    """A matrix in NF4; scales are float32 as they are, or codes of `dynamic_levels` with theirs, above the offset."""

    codes: Tensor  # [32 G] uint8, the first of two numbers in the high half
    scales: Tensor  # [G]
    group_scales: Tensor | None = None  # [G / 256]
    offset: Tensor | None = None  # []


@cache
def levels(device: torch.device) -> Tensor:
    """The 16 numbers of NF4, in order, [16]."""
    return torch.tensor(NF4, device=device)


@cache
def pairs(device: torch.device) -> Tensor:
    """What each byte stands for: two float32, as one number of 64 bits, so that both are looked up at once. [256]."""
    byte = torch.arange(256, device=device)
    both = torch.stack((levels(device)[byte >> 4], levels(device)[byte & 15]), dim=1)
    return both.view(torch.int64).squeeze(1)


@cache
def dynamic_levels(device: torch.device) -> Tensor:
    """The 256 numbers of the 8-bit dynamic tree (arXiv:2110.02861, section 1.2), in order, [256].

    Seven decades, each with twice as many levels as the one below: the middles of equal parts of 0.1 to 1.
    """
    found = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1)
        middles = 10.0 ** (decade - 6) * ((edges[:-1] + edges[1:]) / 2)
        found += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(found), device=device)


def _nearest(blocks: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """blocks: [G, B] -> the nearest level of each number over its block's largest, [G, B], and those, [G]."""
    largest = blocks.abs().amax(dim=1)
    shares = (blocks * (1.0 / largest.clamp(min=TINY)).unsqueeze(1)).clamp(-1, 1)
    return torch.bucketize(shares, (table[:-1] + table[1:]) / 2, out_int32=True).to(torch.uint8), largest


def _blocks(flat: Tensor, size: int) -> Tensor:
    """[N] -> [-, size], filled up with zeros."""
    return nn.functional.pad(flat, (0, -len(flat) % size)).view(-1, size)


@torch.no_grad()
def pack(weight: Tensor, double: bool = True) -> Packed:
    """weight: [O, I] float32 -> its codes; ``double`` rounds the scales too. A `UserError` for what is no number."""
    place = weight.device
    index, scales = _nearest(_blocks(weight.detach().float().flatten(), BLOCK), levels(place))
    if not scales.isfinite().all():
        raise UserError("a weight is infinite or no number, so it cannot be quantised", remedy="The model is damaged")
    codes = ((index[:, ::2] << 4) | index[:, 1::2]).flatten()
    if not double:
        return Packed(codes, scales)
    offset = scales.mean()
    index, group_scales = _nearest(_blocks(scales - offset, GROUP), dynamic_levels(place))
    return Packed(codes, index.flatten()[: len(scales)].clone(), group_scales, offset)


def block_scales(packed: Packed) -> Tensor:
    """The scale of each block, [G] float32."""
    if packed.group_scales is None or packed.offset is None:
        return packed.scales
    found = _blocks(dynamic_levels(packed.codes.device).index_select(0, packed.scales.int()), GROUP)
    return (found * packed.group_scales.unsqueeze(1)).flatten()[: len(packed.scales)] + packed.offset


@torch.no_grad()
def unpack(packed: Packed, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The matrix [O, I]: float32 products of level and scale, rounded once to ``dtype``."""
    both = pairs(packed.codes.device).index_select(0, packed.codes.int())
    numbers = both.view(torch.float32).view(-1, BLOCK).mul_(block_scales(packed).unsqueeze(1))
    return numbers.to(dtype).flatten()[: shape[0] * shape[1]].view(shape)


def rounded(weight: Tensor, double: bool = True) -> Tensor:
    """What NF4 makes of a matrix, [O, I] float32."""
    return unpack(pack(weight, double), (weight.shape[0], weight.shape[1]), torch.float32)


def in_format(x: Tensor) -> Tensor:
    """x in the format that is computed in: its own, and under autocast, in a network of transformers, that one."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class _Product(torch.autograd.Function):
    """x Wᵀ + b; of x alone there is a gradient, for which W is unpacked again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "Nf4Linear", bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        return product(x, layer.matrix(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return product(grads[0], ctx.layer.matrix(grads[0].dtype).t()), None, None


class Nf4Linear(nn.Module):
    """y = x Wᵀ + b in x's dtype, W frozen and in NF4. The bias stays as it was."""

    codes: Tensor
    scales: Tensor

    def __init__(self, base: nn.Linear, double: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.bias = None if base.bias is None else nn.Parameter(base.bias.detach().clone(), requires_grad=False)
        for name, value in pack(base.weight, double)._asdict().items():
            self.register_buffer(name, value, persistent=False)

    @property
    def packed(self) -> Packed:
        """Codes and scales."""
        return Packed(*(getattr(self, name) for name in Packed._fields))

    @property
    def weight(self) -> Tensor:
        """The matrix itself, unpacked anew each time, [O, I] float32."""
        return self.matrix(torch.float32)

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """The matrix in the format that is computed in, [O, I]."""
        return unpack(self.packed, (self.out_features, self.in_features), dtype)

    def product(self, x: Tensor) -> Tensor:
        """x: [..., I] -> x Wᵀ, [..., O]."""
        return _Product.apply(x, self, None)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., I] -> [..., O]."""
        x = in_format(x)
        return _Product.apply(x, self, None if self.bias is None else self.bias.to(x.dtype))

    def linear(self) -> Linear:
        """A layer with the same numbers in float32."""
        made = Linear(self.in_features, self.out_features, self.bias is not None, device=self.codes.device)
        made.weight = nn.Parameter(self.weight)
        if self.bias is not None:
            made.bias = nn.Parameter(self.bias.detach().clone())
        return made

    @property
    def stored_bytes(self) -> int:
        """What the matrix takes."""
        return sum(value.nbytes for value in self.packed if value is not None)
