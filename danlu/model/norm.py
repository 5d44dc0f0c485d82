"""RMSNorm (Zhang and Sennrich 2019) and LayerNorm, with float32 weights on activations of any dtype.

RMSNorm has a backward of its own. Composed of torch operations in float32 it took a sixth of a bf16 training
step on a CPU, nearly all of it copies; here the activations stay in their dtype, and only the sum of squares,
which needs it, is float32. Both row sums of the backward pass are matrix-vector products.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.config import ModelConfig


class _RMSNorm(torch.autograd.Function):
    """y = x · s · w with s = (mean(x²) + ε)^-½, one s a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()  # [..., 1]
        ctx.save_for_backward(x, weight, scale)
        return (x * scale.to(x.dtype)).mul_(weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        compute, narrow = weight.to(x.dtype), scale.to(x.dtype)
        product = (grads[0] * x).flatten(0, -2)  # [N, D]
        weight_grad = narrow.flatten() @ product
        inner = (product @ compute).view_as(scale) * scale**3 / x.shape[-1]
        x_grad = (grads[0] * compute).mul_(narrow).addcmul_(x, inner.to(x.dtype), value=-1)
        return x_grad, weight_grad.to(weight.dtype), None


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale."""

    def __init__(self, width: int, epsilon: float, plus_one: bool = False) -> None:
        super().__init__()
        self.weight, self.epsilon, self.plus_one = nn.Parameter(torch.ones(width)), epsilon, plus_one

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., D], same dtype."""
        return _RMSNorm.apply(x, self.weight + 1 if self.plus_one else self.weight, self.epsilon)


class LayerNorm(nn.LayerNorm):
    """torch's LayerNorm with float32 weights on activations of any dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., D], same dtype."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return nn.functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that the config names."""
    if config.norm == "layernorm":
        return LayerNorm(config.width, config.norm_epsilon)
    return RMSNorm(config.width, config.norm_epsilon, config.norm_plus_one)
