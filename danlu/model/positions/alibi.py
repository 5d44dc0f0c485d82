"""Attention with linear biases (Press et al. 2022): the farther a key, the lower its score."""

import math

import torch
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions


def slopes(heads: int) -> list[float]:
    """One slope a head: a geometric series for powers of two, filled up from the next power otherwise."""
    power = 2 ** math.floor(math.log2(heads))
    series = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-4 * (2 * i + 1) / power) for i in range(heads - power)]
    return series + between


class Alibi(Positions):
    """Add minus slope times distance to every score."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.empty(config.heads), persistent=False)
        self.slopes: Tensor
        self.fill()

    def fill(self) -> None:
        """One slope a head, [H]."""
        self.slopes.copy_(torch.tensor(slopes(self.slopes.shape[0])))

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions of queries [B, T] and of keys [B, S] -> [B, H, T, S]."""
        distance = (queries.unsqueeze(2) - keys.unsqueeze(1)).abs().float()  # [B, T, S]
        return -self.slopes.view(1, -1, 1, 1) * distance.unsqueeze(1)
