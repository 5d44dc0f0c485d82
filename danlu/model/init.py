"""The first weights.

Matrices: normal with standard deviation 1/√(fan in), which keeps the size of activations (Glorot and Bengio
2010) at any width. What writes into the residual stream starts at zero, so that each block begins as the
identity (Goyal et al. 2017; Yang et al. 2022). The embedding is small because it is also the output
layer when tied. Nothing is denormal: products with denormal numbers are ten times slower on a CPU.
"""

import math

import torch
from torch import Tensor, nn

from danlu.base.seed import derive

EMBEDDING_STD = 0.02
# Of Mamba-2 (Dao and Gu 2024, and their code): how fast heads forget, and how long a step takes at first.
FORGETTING, PACES = (1.0, 16.0), (0.001, 0.1)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Fill every parameter of a `Transformer`, the same for the same seed whatever ran before."""
    for name, parameter in model.named_parameters():
        draw = torch.Generator().manual_seed(derive(seed, "init", name))
        if name.endswith("mixture"):
            parameter.copy_(torch.tensor([1.0, 0.0]))  # the stream alone
        elif name.endswith("forgetting"):
            parameter.copy_(_between(*FORGETTING, torch.rand(parameter.shape, generator=draw)).log())
        elif name.endswith("pace_shift"):
            low, high = (math.log(pace) for pace in PACES)
            pace = _between(low, high, torch.rand(parameter.shape, generator=draw)).exp()
            parameter.copy_(pace + torch.log(-torch.expm1(-pace)))  # softplus of it is the pace
        elif parameter.dim() < 2:
            plus_one = getattr(model.get_submodule(name.rpartition(".")[0]), "plus_one", False)
            parameter.fill_(0.0 if name.endswith("bias") or plus_one else 1.0)
        elif name.endswith(("o.weight", "down.weight")):
            parameter.zero_()
        elif "embed" in name or "table" in name:
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * EMBEDDING_STD)
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * parameter.shape[-1] ** -0.5)


def _between(low: float, high: float, share: Tensor) -> Tensor:
    return low + (high - low) * share
