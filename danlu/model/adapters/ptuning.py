"""P-tuning (Liu et al. 2021, arXiv:2103.10385): virtual tokens that a small network makes while they are learned.

The network is peft's, layer by layer and by the same names: a table, then either three linear layers with ReLU between
them, or an LSTM that reads both ways and two linear layers. What is saved are the vectors that it makes, and what is
loaded is `danlu.model.adapters.prompt`'s. Left out: virtual tokens in the middle of a document, dropout in the LSTM.

Legend: D width, n virtual tokens.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from danlu.model.adapters import virtual
from danlu.model.adapters.common import initialise
from danlu.model.adapters.method_settings import Ptuning
from danlu.model.adapters.virtual import give, shape_keys
from danlu.model.transformer import Transformer

TYPE = "P_TUNING"
UNMERGED = virtual.UNMERGED
place, remove, tensors = virtual.place, virtual.remove, virtual.tensors


class PromptEncoder(nn.Module):
    """A table [n, D] and the network above it."""

    def __init__(self, settings: Ptuning, width: int) -> None:
        super().__init__()
        hidden = settings.hidden or width
        self.embedding = nn.Embedding(settings.tokens, width)
        self.lstm_head: nn.LSTM | None = None
        if settings.encoder == "lstm":
            both = 2 * hidden
            self.lstm_head = nn.LSTM(width, hidden, settings.layers, bidirectional=True, batch_first=True)
            self.mlp_head = nn.Sequential(nn.Linear(both, both), nn.ReLU(), nn.Linear(both, width))
        else:
            first, second, last = nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, width)
            self.mlp_head = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    def forward(self) -> Tensor:
        """[n, D]."""
        x = self.embedding.weight
        if self.lstm_head is not None:
            x = self.lstm_head(x.unsqueeze(0))[0].squeeze(0)
        made = self.mlp_head(x)
        assert isinstance(made, Tensor)
        return made


def add(model: Transformer, settings: Ptuning, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and give it virtual tokens and the network that makes them."""
    encoder = PromptEncoder(settings, model.config.width)
    initialise(encoder, seed, "ptuning")
    model.requires_grad_(False)
    give(model, encoder, settings.tokens)
    return ()


def config(model: Transformer, settings: Ptuning, layers: tuple[str, ...]) -> dict[str, Any]:
    """peft's keys of its own."""
    return {
        **shape_keys(model, settings.tokens),
        "encoder_reparameterization_type": settings.encoder.upper(),
        "encoder_hidden_size": settings.hidden or model.config.width,
        "encoder_num_layers": settings.layers,
        "encoder_dropout": 0.0,
    }
