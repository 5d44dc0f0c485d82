"""A linear layer whose weights stay float32 and which computes in the dtype of its input.

The master weights of mixed precision are the parameters themselves: the cast to bf16 is part of the graph,
so gradients arrive, and add up over micro-batches, in float32. No autocast context to forget.
"""

from torch import Tensor, nn

from danlu.model.products import product


class Linear(nn.Linear):
    """y = x Wᵀ + b in x's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in] -> [..., out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return product(x, self.weight.to(x.dtype), bias)
