"""Which optimizer updates which parameter."""

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.train.optim.adamw import AdamW
from danlu.train.optim.muon import Muon
from danlu.train.settings import OptimizerSettings


class Optimizer:
    """AdamW for all trainable parameters, or Muon for the matrices inside the blocks and AdamW for the rest.

    Embeddings, the output layer, norms and biases always go to AdamW: their rows or numbers have meanings of
    their own, and orthogonalising would mix them (Jordan et al. 2024).
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings, dtype: torch.dtype) -> None:
        self.settings = settings
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise UserError("no parameter is trainable", remedy="Unfreeze some")
        tables = (n for n in self.trainable if n.endswith("table.weight"))  # embeddings inside blocks, a row a token
        matrices = {n for n, p in self.trainable.items() if p.dim() == 2 and "blocks." in n} - set(tables)
        orthogonal = matrices if settings.name == "muon" else set()
        self.muon = Muon(
            ((n, p) for n, p in self.trainable.items() if n in orthogonal),
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            dtype=dtype,
        )
        self.adamw = AdamW(
            ((n, p) for n, p in self.trainable.items() if n not in orthogonal),
            beta1=settings.beta1,
            beta2=settings.beta2,
            epsilon=settings.epsilon,
            weight_decay=settings.weight_decay,
            decayed=frozenset(matrices),
            scales={name: settings.embedding_scale for name in self.trainable if name.startswith("embed.")},
        )

    def step(self, lr: float) -> None:
        """Update every trainable parameter."""
        self.muon.step(lr)
        self.adamw.step(lr)

    def zero(self) -> None:
        """Forget the gradients."""
        for parameter in self.trainable.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Name → tensor, the buffers themselves."""
        parts = (("muon", self.muon.state()), ("adamw", self.adamw.state()))
        return {f"{part}.{name}": value for part, values in parts for name, value in values.items()}
