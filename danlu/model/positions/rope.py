"""Rotary positions (Su et al. 2021), in the rotate-half layout of Llama checkpoints.

Number i of a head is paired with number i + W/2 and the pair is turned by position x theta^(-2i/W). The
turn's backward is the turn by the opposite angle, written out so that nothing but cos and sin is kept.
"""

from typing import Any

import torch
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: [B, H, T, W], cos and sin: [B, 1, T, W/2] -> [B, H, T, W], contiguous."""
    left, right = x.chunk(2, dim=-1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    out_left, out_right = out.chunk(2, dim=-1)
    torch.mul(left, cos, out=out_left)
    out_left.addcmul_(right, sin, value=-1)
    torch.mul(right, cos, out=out_right)
    out_right.addcmul_(left, sin)
    return out


class Rope(Positions):
    """Turn queries and keys, so that a score depends on the distance alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width, self.theta = config.head_width, config.rope_theta
        for name in ("cos", "sin"):
            table = torch.empty(config.max_length, config.head_width // 2)
            self.register_buffer(name, table, persistent=False)
        self.cos: Tensor
        self.sin: Tensor
        self.fill()

    def fill(self) -> None:
        """cos and sin of position x frequency, [max_length, W/2]."""
        share = torch.arange(0, self.head_width, 2, dtype=torch.float64) / self.head_width
        angles = torch.outer(torch.arange(self.cos.shape[0], dtype=torch.float64), self.theta**-share)
        self.cos.copy_(angles.cos())
        self.sin.copy_(angles.sin())

    def rotate(self, q: Tensor, k: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """q: [B, H, T, W], k: [B, K, T, W], positions: [B, T] -> the same shapes, turned."""
        cos = self.cos[positions].unsqueeze(1).to(q.dtype)  # [B, 1, T, W/2]
        sin = self.sin[positions].unsqueeze(1).to(q.dtype)
        return _Rotate.apply(q, cos, sin), _Rotate.apply(k, cos, sin)
