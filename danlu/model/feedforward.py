"""The feed-forward layer: SwiGLU and GeGLU (Shazeer 2020), GELU (Hendrycks and Gimpel 2016), ReLU² (So et al. 2021)."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.config import GATED, Activation, ModelConfig
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


class _GeluGate(torch.autograd.Function):
    """gelu(gate) · up, the tanh form, likewise."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.gelu(gate, approximate="tanh").mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        opened = nn.functional.gelu(gate, approximate="tanh")
        closed = torch.ops.aten.gelu_backward(grads[0] * up, gate, approximate="tanh")
        return closed, opened.mul_(grads[0])


def activate(x: Tensor, activation: Activation) -> Tensor:
    """What stands between two linear layers without a gate; of a gated kind, its gate's."""
    if activation == "swiglu":
        return nn.functional.silu(x)
    if activation == "relu2":
        return nn.functional.relu(x).square()
    return nn.functional.gelu(x, approximate="none" if activation == "gelu_exact" else "tanh")


def open_gate(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """activation(gate) · up, for the gated kinds."""
    return (_SiluGate if activation == "swiglu" else _GeluGate).apply(gate, up)


class FeedForward(nn.Module):
    """width → feedforward → width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        if config.gated:
            self.gate = Linear(config.width, config.feedforward, config.bias)
        self.up = Linear(config.width, config.feedforward, config.bias)
        self.down = Linear(config.feedforward, config.width, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        if self.activation in GATED:
            return self.down(open_gate(self.gate(x), self.up(x), self.activation))
        return self.down(activate(self.up(x), self.activation))
