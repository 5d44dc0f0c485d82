"""Keys and values of what was read so far, one block of memory a layer, and what Mamba-2 layers remember of it.

Rows of a batch have prompts of different lengths, so they are padded on the left: every row's newest token
lies in the same column, and ``valid`` says which columns a row may look at.
"""

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig


class Cache:
    """``capacity`` columns for ``rows`` sequences; padding may fill more than the model has positions."""

    def __init__(
        self, config: ModelConfig, rows: int, capacity: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        recurrent = [layer for layer in range(config.layers) if config.is_recurrent(layer)]
        attending = [layer for layer in range(config.layers) if not config.is_recurrent(layer)]
        self._places = {layer: place for kind in (recurrent, attending) for place, layer in enumerate(kind)}
        shape = (len(attending), rows, config.kv_heads, capacity, config.head_width)
        self.keys, self.values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        self.valid = torch.zeros(rows, capacity, dtype=torch.bool, device=device)  # [B, S]
        self.positions = torch.zeros(rows, capacity, dtype=torch.long, device=device)  # [B, S]
        self.ids = torch.zeros(rows, capacity, dtype=torch.long, device=device)  # [B, S], for who reads all again
        self.length, self.longest = 0, config.max_length
        if config.state_space:
            settings, width = config.state_space, config.width
            window = (len(recurrent), rows, settings.convolution - 1, settings.mixed(width))
            state = (len(recurrent), rows, settings.heads(width), settings.head_width, settings.state)
            self.windows = torch.zeros(window, dtype=dtype, device=device)  # [layers, B, K - 1, M]
            self.states = torch.zeros(state, device=device)  # [layers, B, H, P, N]

    def widen(self, columns: int) -> None:
        """Room, and positions, for so many virtual tokens, of which whoever made the cache knew nothing."""
        self.keys, self.values = (nn.functional.pad(held, (0, 0, 0, columns)) for held in (self.keys, self.values))
        self.valid = nn.functional.pad(self.valid, (0, columns))
        self.positions, self.ids = (nn.functional.pad(held, (0, columns)) for held in (self.positions, self.ids))
        self.longest += columns

    def open(self, valid: Tensor) -> Tensor:
        """Claim columns for new tokens; ``valid``: [B, T]. Returns their positions, counted over valid tokens."""
        start, stop = self.length, self.length + valid.shape[1]
        self.valid[:, start:stop] = valid
        counted = self.valid[:, :stop].cumsum(1)[:, start:] - 1
        if int(counted.max()) >= self.longest:
            raise UserError(
                f"{int(counted.max()) + 1} tokens are longer than the {self.longest} that the model allows",
                remedy="Shorten the prompt or ask for fewer new tokens",
            )
        self.positions[:, start:stop] = counted.clamp_min(0)
        self.length = stop
        return self.positions[:, start:stop]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v: [B, K, T, W] of the newest columns; returns all so far, [B, K, S, W]."""
        start, place = self.length - k.shape[2], self._places[layer]
        self.keys[place, :, :, start : self.length] = k
        self.values[place, :, :, start : self.length] = v
        return self.keys[place, :, :, : self.length], self.values[place, :, :, : self.length]

    def recall(self, layer: int) -> tuple[Tensor, Tensor]:
        """What a Mamba-2 layer's convolution last saw, [B, K - 1, M], and its state, [B, H, P, N]."""
        return self.windows[self._places[layer]], self.states[self._places[layer]]

    def remember(self, layer: int, window: Tensor, state: Tensor) -> None:
        """Keep both for the next tokens."""
        self.windows[self._places[layer]], self.states[self._places[layer]] = window, state

    def keep(self, rows: Tensor) -> None:
        """Drop finished sequences: keep only ``rows`` (indices), in that order."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.valid, self.positions, self.ids = self.valid[rows], self.positions[rows], self.ids[rows]
        if hasattr(self, "states"):
            self.windows, self.states = self.windows[:, rows], self.states[:, rows]
