"""What A and B begin as, and what the frozen matrix W gives up for it.

kaiming and gaussian draw A and leave B at zero; orthogonal (peft's, after datta0's "Rethinking LoRA initialisation")
draws both in directions that do not meet, so that their product is zero. The model begins as it was.

PiSSA (Meng et al. 2024, arXiv:2404.02948): B A is the part of W that its r largest singular vectors span, and W what is
left; the largest directions learn, and what is quantised of W is smaller. By subspace iteration (Halko et al. 2011) it
takes seconds in place of minutes. LoftQ (Li et al. 2023, arXiv:2310.08659): W is rounded, B A is the best of rank r for
what that lost, and both are done again on what the other leaves; the last is B A, as in the paper and in peft. The
paper's products are not scaled; here they are divided by s first, so that s · B A is what was found.

An adapter that began so means nothing beside the W that people have. So it is saved as the difference that training
made, s · B A - s · B₀ A₀: a plain LoRA of twice the rank (`danlu.model.adapters.files`).

Left out: EVA, LoRA-GA and CorDA, which need data to begin, and OLoRA.

Legend: r rank, I in, O out.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from danlu.model.adapters.settings import Lora

Rounding = Callable[[Tensor], Tensor]  # a matrix, [O, I] → the same in few bits
MOVING = ("pissa", "loftq")  # these change what stands beside them


class Start(NamedTuple):
    """A [r, I] and B [O, r], and the pair whose product, times s, is taken from W before it is used or rounded."""

    a: Tensor
    b: Tensor
    taken: tuple[Tensor, Tensor] | None = None


@torch.no_grad()
def start(weight: Tensor, rank: int, scale: float, settings: Lora, draw: torch.Generator, rounding: Rounding) -> Start:
    """The first A and B beside ``weight``, [O, I]; LoftQ needs to know the ``rounding``. ``scale`` is s."""
    if settings.init == "pissa":
        a, b = principal(weight, rank, scale, settings.pissa_iterations, draw)
        return Start(a, b, (a, b))
    if settings.init == "loftq":
        return loftq(weight, rank, scale, settings.loftq_iterations, rounding)
    outputs, inputs = weight.shape
    zero = weight.new_zeros(outputs, rank)
    if settings.init == "gaussian":
        return Start(torch.randn(rank, inputs, generator=draw) / rank, zero)
    if settings.init == "orthogonal":
        return Start(*orthogonal(outputs, inputs, rank, draw))
    bound = inputs**-0.5
    return Start(torch.empty(rank, inputs).uniform_(-bound, bound, generator=draw), zero)


def orthogonal(outputs: int, inputs: int, rank: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A and B, each random in its half of r orthonormal directions, a tenth in size. ``rank`` must be even."""
    directions, _ = torch.linalg.qr(torch.randn(rank, rank, generator=draw))
    a = (torch.randn(inputs, rank // 2, generator=draw) @ directions[0::2]).t() / 10
    b = torch.randn(rank // 2, outputs, generator=draw).t() @ directions[1::2] / 10
    return a.contiguous(), b.contiguous()


def principal(weight: Tensor, rank: int, scale: float, iterations: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A and B with s · B A the best matrix of that rank for ``weight``; exact without ``iterations``."""
    if iterations:
        with torch.random.fork_rng(devices=[]):  # it draws from torch's own generator
            torch.manual_seed(draw.initial_seed())
            left, values, right = torch.svd_lowrank(weight, rank, niter=iterations)
        right = right.t()
    else:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = (values[:rank] / scale).sqrt()
    return root.unsqueeze(1) * right[:rank], left[:, :rank] * root


def loftq(weight: Tensor, rank: int, scale: float, iterations: int, rounding: Rounding) -> Start:
    """Round and fit in turn; what is taken from W before the last rounding is the product of the fit before it."""
    left, generator = weight, torch.Generator()
    taken: tuple[Tensor, Tensor] | None = None
    for turn in range(iterations):
        a, b = principal(weight - rounding(left), rank, scale, 0, generator)
        if turn + 1 < iterations:
            taken, left = (a, b), weight - scale * b @ a
    return Start(a, b, taken)
