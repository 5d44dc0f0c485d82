"""How a model knows order. One protocol, four answers; each overrides only what it uses.

``embed`` adds to the token embeddings, ``rotate`` turns queries and keys, ``bias`` adds to the scores.
"""

from torch import Tensor, nn


class Positions(nn.Module):
    """No information about order at all: what every kind does where it does nothing."""

    def fill(self) -> None:
        """Compute the tables that are not weights; transformers calls it again after it has made room for them."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: [B, T, D], positions: [B, T] -> [B, T, D]."""
        return x

    def rotate(self, q: Tensor, k: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """q: [B, H, T, W], k: [B, K, T, W], positions: [B, T] -> the same shapes."""
        return q, k

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Positions of queries [B, T] and of keys [B, S] -> [B, H, T, S] to add to the scores, or None."""
        return None
