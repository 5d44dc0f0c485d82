"""IA3 (Liu et al. 2022, arXiv:2205.05638): keys, values and the feed-forward layer's hidden units, each multiplied by a
learned number.

A linear layer is wrapped from outside: its output is scaled, or, for the last matrix of the feed-forward layer, its
input. The numbers begin at one. Merged, they are in the rows, or the columns, of the matrix. Families whose files keep
several matrices as one are refused.

Legend: I in, O out.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.adapters.common import Held, another
from danlu.model.adapters.layers import put
from danlu.model.adapters.lora import chosen, ends, hub_name, linear_layers
from danlu.model.adapters.method_settings import Ia3
from danlu.model.hub import DAMAGED
from danlu.model.linear import Linear
from danlu.model.quantized import Nf4Linear
from danlu.model.transformer import Transformer

TYPE = "IA3"
UNMERGED = ""
OUTPUTS, INPUTS = (".attention.k", ".attention.v"), (".feedforward.down",)  # our names of the paper's layers
SCALES = ".ia3_l"


class Ia3Linear(nn.Module):
    """A frozen linear layer and the numbers [I] that its input, or [O] that its output, is multiplied with."""

    def __init__(self, base: nn.Linear | Nf4Linear, on_input: bool) -> None:
        super().__init__()
        self.base, self.on_input = base.requires_grad_(False), on_input
        size = base.in_features if on_input else base.out_features
        self.scales = nn.Parameter(torch.ones(size, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., I] -> [..., O], in x's dtype."""
        scales = self.scales.to(x.dtype)
        return self.base(x * scales) if self.on_input else self.base(x) * scales

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The one layer that does the same."""
        whole = self.base.linear() if isinstance(self.base, Nf4Linear) else self.base
        whole.weight.mul_(self.scales if self.on_input else self.scales.unsqueeze(1))
        if whole.bias is not None and not self.on_input:
            whole.bias.mul_(self.scales)
        return whole


def scaled(model: Transformer) -> dict[str, Ia3Linear]:
    """The layers that are scaled: their name in a Hugging Face directory → the layer."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, Ia3Linear)}
    return {hub_name(model.config, name): module for name, module in found.items()}


def add(model: Transformer, settings: Ia3, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and wrap the layers; returns their names. Nothing is drawn: all numbers begin at one."""
    layers = linear_layers(model)
    if settings.targets:
        names = chosen(layers, settings.targets, where="recipe: ia3.targets")
    else:
        names = [name for name, (own, _) in layers.items() if own.endswith((*OUTPUTS, *INPUTS))]
    if not names:
        raise UserError("the model has no layers that IA3 scales", where="recipe: ia3.targets", remedy="Name some")
    model.requires_grad_(False)
    for name in names:
        own, base = layers[name]
        named = any(ends(name, target) for target in settings.inputs)
        put(model, own, Ia3Linear(base, named if settings.targets else own.endswith(INPUTS)))
    return tuple(names)


def tensors(model: Transformer) -> dict[str, Tensor]:
    """peft's shapes: [1, I] for what scales an input, [O, 1] for what scales an output."""
    return {
        f"{name}{SCALES}": layer.scales.unsqueeze(0 if layer.on_input else 1) for name, layer in scaled(model).items()
    }


def config(model: Transformer, settings: Ia3, layers: tuple[str, ...]) -> dict[str, Any]:
    """peft's keys of its own."""
    found = scaled(model)
    others = set(linear_names(model)) - set(layers)
    inputs = [name for name in layers if found[name].on_input]
    outputs = [name for name in layers if not found[name].on_input]
    targets = {*brief(inputs, {*others, *outputs}), *brief(outputs, {*others, *inputs})}
    return {
        "target_modules": sorted(targets),
        "feedforward_modules": brief(inputs, {*others, *outputs}),
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "init_ia3_weights": True,
    }


def linear_names(model: Transformer) -> list[str]:
    """All linear layers of the blocks, wrapped or not, as a directory names them."""
    found = (name.removesuffix(".base") for name, module in model.named_modules() if isinstance(module, Linear))
    return [hub_name(model.config, name) for name in found if name.startswith("blocks.")]


def brief(names: Sequence[str], others: Iterable[str]) -> list[str]:
    """The last parts of the names where they mean no other layer, else the names."""
    leaves = {name.rpartition(".")[2] for name in names}
    return sorted(names if any(ends(other, leaf) for other in others for leaf in leaves) else leaves)


def place(held: Held, model: Transformer) -> None:
    """Wrap the layers that the files name, with their numbers."""
    if held.config.get("fan_in_fan_out"):
        raise UserError("'fan_in_fan_out' is not supported", where=held.path)
    layers = linear_layers(model)
    if not held.tensors:
        raise UserError("holds no tensors of IA3", where=held.path, remedy=DAMAGED)
    for key, value in held.tensors.items():
        name = key.removesuffix(SCALES)
        if name == key or name not in layers:
            raise another(held.path, f"it has {key}, which is no layer of a block of the model")
        own, base = layers[name]
        on_input = value.dim() == 2 and value.shape[0] == 1
        size = base.in_features if on_input else base.out_features
        if value.dim() != 2 or value.numel() != size or 1 not in value.shape:
            raise another(held.path, f"{name} has {size} numbers to scale, and {list(value.shape)} are given")
        layer = Ia3Linear(base, on_input)
        with torch.no_grad():
            layer.scales.copy_(value.flatten())
        put(model, own, layer)


def remove(model: Transformer) -> None:
    """Put the layers back as they were."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Ia3Linear):
            put(model, name, module.base)
