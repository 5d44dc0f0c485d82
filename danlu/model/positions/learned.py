"""A learned vector for each position, added to the embedding (GPT-2)."""

from torch import Tensor, nn

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions


class Learned(Positions):
    """A table with one row a position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.table = nn.Embedding(config.max_length, config.width)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: [B, T, D], positions: [B, T] -> [B, T, D]."""
        return x + self.table(positions).to(x.dtype)
