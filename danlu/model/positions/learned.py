"""A learned vector for each position, added to the embedding (GPT-2)."""

from torch import Tensor, nn

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions


class Learned(Positions):
    """A table with one row a position, after as many that none reads as the config says."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.offset = config.position_offset
        self.table = nn.Embedding(config.max_length + self.offset, config.width)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: [B, T, D], positions: [B, T] -> [B, T, D]."""
        return x + self.table(positions + self.offset).to(x.dtype)
