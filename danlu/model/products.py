"""Matrix products in float32 on a CPU, by the faster of the two libraries that torch brings.

torch gives float32 to MKL, and bf16 to oneDNN, which on a processor of AMD is faster in float32 too. On an EPYC, two
threads, 4,096 x 512 times 512 x 1,408: 0.19 and 0.44 TFLOP/s; with the processor capped to AVX2 0.19 and 0.21. A
training step of 30M takes 3.0 s in place of 4.8, and capped 4.4. Small products are faster in MKL.

Which is taken follows from the processor and the shapes alone, so a run that is taken up again rounds as it did.

Legend: N rows, I in, O out.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.device import onednn, onednn_leads

LEAST = 1 << 25  # multiplications; from 128 x 512 times 512 x 512 on oneDNN is faster
PLAIN = (Tensor, nn.Parameter)  # a shard of a tensor is neither


def suits(x: Tensor, weight: Tensor) -> bool:
    """Is x Wᵀ one for oneDNN?"""
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.device.type != "cpu" or type(x) not in PLAIN:
        return False
    if x.numel() * weight.shape[0] < LEAST or type(weight) not in PLAIN or torch.compiler.is_compiling():
        return False
    return onednn_leads()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return onednn(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (rows, weight), grad, (wanted, learns, shifts) = ctx.saved_tensors, grads[0], ctx.needs_input_grad
        weight_grad = None
        if learns:  # with the shorter side in front it takes a seventh less time
            narrow = weight.shape[0] <= weight.shape[1]
            weight_grad = product(grad.t(), rows.t()) if narrow else product(rows.t(), grad.t()).t()
        return product(grad, weight.t()) if wanted else None, weight_grad, grad.sum(dim=0) if shifts else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x: [..., I], weight: [O, I], bias: [O] -> x Wᵀ + b, [..., O], with gradients of all three, and theirs."""
    if not suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    found: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return found.view(*x.shape[:-1], -1)
