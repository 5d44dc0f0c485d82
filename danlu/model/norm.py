"""RMSNorm (Zhang and Sennrich 2019) and LayerNorm, with float32 weights on activations of any dtype, or without.

RMSNorm has a backward of its own. Composed of torch operations in float32 it took a sixth of a bf16 training
step on a CPU, nearly all of it copies; here the activations stay in their dtype, and only the sum of squares,
which needs it, is float32. Both row sums of the backward pass are matrix-vector products.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.config import ModelConfig


class _RMSNorm(torch.autograd.Function):
    """y = x · s · w with s = (mean(x²) + ε)^-½, one s a row; no w is 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()  # [..., 1]
        ctx.save_for_backward(x, weight, scale)
        scaled = x * scale.to(x.dtype)
        return scaled if weight is None else scaled.mul_(weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        compute = x.new_ones(x.shape[-1]) if weight is None else weight.to(x.dtype)
        narrow = scale.to(x.dtype)
        product = (grads[0] * x).flatten(0, -2)  # [N, D]
        inner = (product @ compute).view_as(scale) * scale**3 / x.shape[-1]
        x_grad = (grads[0] * compute).mul_(narrow).addcmul_(x, inner.to(x.dtype), value=-1)
        learns = weight is not None and ctx.needs_input_grad[1]
        return x_grad, (narrow.flatten() @ product).to(weight.dtype) if learns else None, None


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale, where it has weights."""

    def __init__(self, width: int, epsilon: float, plus_one: bool = False, weighted: bool = True) -> None:
        super().__init__()
        self.weight: nn.Parameter | None
        self.epsilon, self.plus_one = epsilon, plus_one
        self.register_parameter("weight", nn.Parameter(torch.ones(width)) if weighted else None)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., D], same dtype."""
        weight = self.weight + 1 if self.plus_one and self.weight is not None else self.weight
        return _RMSNorm.apply(x, weight, self.epsilon)


class LayerNorm(nn.LayerNorm):
    """torch's LayerNorm with float32 weights on activations of any dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., D], same dtype."""
        weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
        return nn.functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that the config names."""
    if config.norm == "layernorm":
        return LayerNorm(config.width, config.norm_epsilon, config.norm_weight, config.norm_bias)
    return RMSNorm(config.width, config.norm_epsilon, config.norm_plus_one, config.norm_weight)
