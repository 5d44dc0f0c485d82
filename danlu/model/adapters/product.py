"""A frozen matrix and its low-rank change as one product: x Wᵀ + s · (x Aᵀ) Bᵀ, forward and backward.

Left to autograd, the sum of the two is a pass of its own over what comes out, and so is the sum of their two gradients
over what went in; here the thin product is added where the wide one stands. Kept for the backward pass: x, and x Aᵀ.

Legend: N rows, I in, O out, r rank.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.model.products import product

Matrix = Callable[[torch.dtype], Tensor]  # the frozen matrix [O, I] in a format; asked again in the backward pass


class _Changed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, matrix: Matrix, bias: Tensor | None, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # [N, I]
        narrow_a, narrow_b = a.to(x.dtype), b.to(x.dtype)
        thin = rows @ narrow_a.t()  # [N, r]
        ctx.save_for_backward(rows, thin, narrow_a, narrow_b)
        ctx.matrix, ctx.scale, ctx.shape, ctx.dtypes = matrix, scale, x.shape, (a.dtype, b.dtype)
        y = product(rows, matrix(x.dtype), bias)
        return y.addmm_(thin, narrow_b.t(), alpha=scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None, None]:
        rows, thin, a, b = ctx.saved_tensors
        grad = grads[0].reshape(rows.shape[0], -1)  # [N, O]
        thin_grad = (grad @ b).mul_(ctx.scale)  # [N, r]
        # With the thin one turned, the long sums take three quarters of the time.
        b_grad = (thin.t() @ grad).t().to(ctx.dtypes[1], memory_format=torch.contiguous_format).mul_(ctx.scale)
        a_grad = (thin_grad.t() @ rows).to(ctx.dtypes[0])
        if not ctx.needs_input_grad[0]:
            return None, a_grad, b_grad, None, None, None
        x_grad = product(grad, ctx.matrix(grad.dtype).t()).addmm_(thin_grad, a)
        return x_grad.view(ctx.shape), a_grad, b_grad, None, None, None


def changed(x: Tensor, a: Tensor, b: Tensor, matrix: Matrix, bias: Tensor | None, scale: float) -> Tensor:
    """x: [..., I], a: [r, I], b: [O, r] -> [..., O], in x's dtype; gradients of x, a and b."""
    return _Changed.apply(x, a, b, matrix, bias, scale)
