"""Bottleneck adapters: networks of two thin layers that learn beside frozen ones.

After attention and after the feed-forward layer (Houlsby et al. 2019, arXiv:1902.00751), after the feed-forward layer
alone (Pfeiffer et al. 2020, arXiv:2005.00247), or beside it, reading what it reads (He et al. 2021, arXiv:2110.04366).
h ← h + s · up(f(down(h))), before the residual sum and the norms around it; up begins at zero, so the model begins as
it was. Of a Mamba-2 block Houlsby's first stands after the mixing layer.

peft has no such kind, so the files are Danlu's own, `peft_type: BOTTLENECK`, and nothing else opens them: tensors are
`blocks.N.LAYER.down.weight`, `.down.bias`, `.up.weight` and `.up.bias`. Left out: AdapterFusion, and norms inside of
adapters, which Pfeiffer et al. found not to help.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict
from danlu.model.adapters.common import Held, another, initialise
from danlu.model.adapters.layers import put
from danlu.model.adapters.method_settings import Bottleneck, Placement
from danlu.model.linear import Linear
from danlu.model.transformer import Transformer

TYPE = "BOTTLENECK"
UNMERGED = "a bottleneck adapter has a nonlinearity between its layers, which no matrix of the model can hold"
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


class Bottlenecked(nn.Module):
    """A frozen layer of a block with a bottleneck after it, or, where it is parallel, beside it."""

    def __init__(self, base: nn.Module, width: int, settings: Bottleneck, device: torch.device) -> None:
        super().__init__()
        self.base, self.settings = base.requires_grad_(False), settings
        self.down = Linear(width, settings.width, device=device)
        self.up = Linear(settings.width, width, device=device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """x: [B, T, D] -> [B, T, D]; ``rest`` is what else the layer reads."""
        made = self.base(x, *rest)
        read = x if self.settings.kind == "parallel" else made
        added = self.up(ACTIVATIONS[self.settings.activation](self.down(read)))
        return torch.add(made, added, alpha=self.settings.scale)


def places(model: Transformer, kind: Placement) -> Iterator[str]:
    """The names of the layers that get one."""
    for number, block in enumerate(model.blocks):
        mixing = ("attention", "mamba") if kind == "houlsby" else ()
        for layer in (*mixing, "feedforward"):
            if hasattr(block, layer):
                yield f"blocks.{number}.{layer}"


def wrapped(model: Transformer) -> dict[str, Bottlenecked]:
    """The layers that have one, by our names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Bottlenecked)}


def add(model: Transformer, settings: Bottleneck, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and give the layers their bottlenecks; returns the layers' names."""
    names = tuple(places(model, settings.kind))
    if not names:
        raise UserError("the model has no such layers", where=f"recipe: adapter.kind {settings.kind}")
    model.requires_grad_(False)
    for name in names:
        layer = Bottlenecked(model.get_submodule(name), model.config.width, settings, model.embed.weight.device)
        initialise(layer.down, seed, f"adapter {name}")
        put(model, name, layer)
    return names


def tensors(model: Transformer) -> dict[str, Tensor]:
    """What learns, by our names."""
    parts = ((name, layer, part) for name, layer in wrapped(model).items() for part in ("down", "up"))
    return {
        f"{name}.{part}.{key}": value
        for name, layer, part in parts
        for key, value in getattr(layer, part).named_parameters()
    }


def config(model: Transformer, settings: Bottleneck, layers: tuple[str, ...]) -> dict[str, Any]:
    """The settings."""
    return {"kind": settings.kind, "width": settings.width, "activation": settings.activation, "scale": settings.scale}


def place(held: Held, model: Transformer) -> None:
    """Give the layers the bottlenecks of the files."""
    keys = {key: held.config.get(key) for key in Bottleneck.__dataclass_fields__}
    settings = from_dict(Bottleneck, keys, str(held.path))
    assert settings.kind in get_args(Placement)
    layers = {
        name: Bottlenecked(model.get_submodule(name), model.config.width, settings, model.embed.weight.device)
        for name in places(model, settings.kind)
    }
    wanted = {
        f"{name}.{key}": value
        for name, layer in layers.items()
        for key, value in layer.named_parameters()
        if not key.startswith("base.")
    }
    for key in {*wanted, *held.tensors}:
        ours, theirs = (tuple(found[key].shape) if key in found else None for found in (wanted, held.tensors))
        if ours != theirs:
            raise another(
                held.path, f"{key} is {theirs or 'missing'} in its files, and {ours or 'nothing'} in the model"
            )
    with torch.no_grad():
        for key, parameter in wanted.items():
            parameter.copy_(held.tensors[key])
    for name, layer in layers.items():
        put(model, name, layer)


def remove(model: Transformer) -> None:
    """Put the layers back as they were."""
    for name, layer in wrapped(model).items():
        put(model, name, layer.base)
