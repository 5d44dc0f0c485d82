"""Fixed sines and cosines of falling frequency, added to the embedding (Vaswani et al. 2017).

The table is scaled to the size of our embeddings at the start (0.02 a number); with the paper's own
amplitude of 1 the words would drown in their positions.
"""

import torch
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions

AMPLITUDE = 0.02 * 2**0.5


class Sinusoidal(Positions):
    """sin and cos of position / 10000^(2i/D), side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("table", torch.empty(config.max_length, config.width), persistent=False)
        self.table: Tensor
        self.fill()

    def fill(self) -> None:
        """sin, cos, sin, cos, … of falling frequency, [max_length, D]."""
        length, width = self.table.shape
        share = torch.arange(0, width, 2, dtype=torch.float64) / width
        angles = torch.outer(torch.arange(length, dtype=torch.float64), 10_000.0**-share)
        self.table.copy_(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1) * AMPLITUDE)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: [B, T, D], positions: [B, T] -> [B, T, D]."""
        return x + self.table[positions].to(x.dtype)
