"""The feed-forward layer: SwiGLU (Shazeer 2020), GELU (Hendrycks and Gimpel 2016), ReLU² (So et al. 2021)."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.config import ModelConfig
from danlu.model.linear import Linear


class _SiluGate(torch.autograd.Function):
    """silu(gate) · up, keeping only its two inputs for the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad = grads[0]
        return torch.ops.aten.silu_backward(grad * up, gate), nn.functional.silu(gate).mul_(grad)


class FeedForward(nn.Module):
    """width → feedforward → width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        if config.activation == "swiglu":
            self.gate = Linear(config.width, config.feedforward, config.bias)
        self.up = Linear(config.width, config.feedforward, config.bias)
        self.down = Linear(config.feedforward, config.width, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        hidden = self.up(x)
        if self.activation == "swiglu":
            hidden = _SiluGate.apply(self.gate(x), hidden)
        elif self.activation == "gelu":
            hidden = nn.functional.gelu(hidden, approximate="tanh")
        else:
            hidden = nn.functional.relu(hidden).square()
        return self.down(hidden)
