"""Which optimizer updates which parameter."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.train.offload import borrowed, chunks, to_host
from danlu.train.optim.adafactor import Adafactor
from danlu.train.optim.adamw import AdamW
from danlu.train.optim.adamw8bit import SMALLEST, AdamW8bit
from danlu.train.optim.lion import Lion
from danlu.train.optim.muon import Muon
from danlu.train.optim.rule import Rule
from danlu.train.settings import OptimizerSettings


def is_matrix(name: str, parameter: Tensor) -> bool:
    """A matrix, or a stack of the experts' matrices; neither a convolution's kernel nor an embedding inside a block."""
    return (parameter.dim() == 2 and not name.endswith("table.weight")) or (
        parameter.dim() == 3 and ".experts." in name
    )


class Optimizer:
    """AdamW, Lion or Adafactor for all trainable parameters, or Muon or 8-bit AdamW for the matrices inside the blocks
    and AdamW for the rest.

    Embeddings, the output layer, norms and biases never go to Muon: their rows or numbers have meanings of their own,
    and orthogonalising would mix them (Jordan et al. 2024). Nor are their averages rounded to 8 bits: rare tokens'
    gradients differ by orders of magnitude (Dettmers et al. 2022, section 2.3).

    ``ratios`` are multiples of the learning rate, by parameters' names. With ``offload`` the state rests in the
    machine's memory and visits the parameters' device for the update.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizerSettings,
        dtype: torch.dtype,
        offload: bool = False,
        ratios: Mapping[str, float] | None = None,
    ) -> None:
        self.settings = settings
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise UserError("no parameter is trainable", remedy="Unfreeze some")
        matrices = frozenset(n for n, p in self.trainable.items() if "blocks." in n and is_matrix(n, p))
        kind = settings.name
        large = frozenset(name for name in matrices if self.trainable[name].numel() >= SMALLEST)
        every = frozenset(self.trainable)
        own = {"muon": matrices, "adamw8bit": large, "lion": every, "adafactor": every}.get(kind, frozenset[str]())
        mine = [(name, p) for name, p in self.trainable.items() if name in own]
        decay = {"weight_decay": settings.value("weight_decay")}
        scales = {name: settings.value("embedding_scale") for name in self.trainable if name.startswith("embed.")}
        scales |= ratios or {}
        lion = {"beta1": settings.beta1, "beta2": settings.value("beta2")}
        adam = {**lion, "epsilon": settings.epsilon, **decay}
        self.muon = Muon(
            mine if kind == "muon" else (), momentum=settings.momentum, dtype=dtype, scales=scales, **decay
        )
        rest = [(name, p) for name, p in self.trainable.items() if name not in own]
        self.adamw = AdamW(rest, decayed=matrices, scales=scales, **adam)
        self.rules: dict[str, Rule] = {"muon": self.muon, "adamw": self.adamw}
        if kind == "lion":
            self.rules[kind] = Lion(mine, decayed=matrices, scales=scales, **lion, **decay)
        elif kind == "adafactor":
            self.rules[kind] = Adafactor(mine, decayed=matrices, scales=scales, **decay)
        elif kind == "adamw8bit":
            self.rules[kind] = AdamW8bit(mine, decayed=matrices, scales=scales, **adam)
        self.offload = offload
        if offload:
            for rule in self.rules.values():
                to_host(rule.stores)

    def step(self, lr: float, names: Collection[str] | None = None) -> None:
        """Update every trainable parameter, or those named."""
        for rule in self.rules.values():
            if not self.offload:
                rule.step(lr, names)
                continue
            for some in chunks(rule.parameters, names):
                with borrowed(rule.stores, some, rule.parameters):
                    rule.step(lr, some)

    def zero(self) -> None:
        """Forget the gradients."""
        for parameter in self.trainable.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Name → tensor, the buffers themselves."""
        parts = ((kind, rule.state()) for kind, rule in self.rules.items())
        return {f"{kind}.{name}": value for kind, values in parts for name, value in values.items()}
