"""LoRA (Hu et al. 2021): y = x Wᵀ + s · (x Aᵀ) Bᵀ, where W is frozen and A and B are thin.

B begins at zero, so the model begins as it was; A begins as Kaiming's uniform with a = √5, which is uniform within
1/√(fan in): not the paper's normal distribution but its authors' code's, and everybody's since. s is alpha / rank, or
alpha / √rank with rsLoRA (Kalajdzievski 2023). The layers are wrapped from outside; nothing in the model knows of it.

DoRA (Liu et al. 2024) learns the length m of each row of the changed matrix apart from its direction: a row of
W + s · B A is divided by its own length, which counts as a constant in the backward pass (section 4.3), and multiplied
by m, which begins as the length of W's row. The lengths come from products of r columns, not of the whole matrix.

Legend: r rank, I in, O out.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError, nearest
from danlu.base.seed import derive
from danlu.model import families
from danlu.model.adapters.product import changed
from danlu.model.adapters.settings import ALL_LINEAR, Lora
from danlu.model.config import ModelConfig
from danlu.model.linear import Linear
from danlu.model.transformer import Transformer


class LoraLinear(nn.Module):
    """A frozen linear layer and its change; the names are peft's."""

    def __init__(self, base: Linear, rank: int, scale: float, dropout: float = 0.0, dora: bool = False) -> None:
        super().__init__()
        self.lora_magnitude_vector: nn.Parameter | None
        self.base, self.scale, self.dropout = base.requires_grad_(False), scale, dropout
        place = base.weight.device
        self.lora_A = nn.Parameter(torch.zeros(rank, base.in_features, device=place))  # [r, I]
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=place))  # [O, r]
        own = base.weight.detach().square().sum(dim=1)
        self.register_buffer("squares", own if dora else None, persistent=False)  # [O]
        self.squares: Tensor
        self.register_parameter("lora_magnitude_vector", nn.Parameter(own.sqrt()) if dora else None)  # [O]

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., I] -> [..., O], in x's dtype."""
        if self.lora_magnitude_vector is None and not (self.dropout and self.training):
            bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
            return changed(x, self.lora_A, self.lora_B, self.base.weight.to, bias, self.scale)
        y, seen = self.base(x), x
        if self.dropout and self.training:
            seen = nn.functional.dropout(x, self.dropout)
        if self.lora_magnitude_vector is None:
            return self._changed(y, seen)
        share, unbiased = self.shares().to(x.dtype), self.base.bias is None
        if seen is x and unbiased:
            return self._changed(y, x) * share
        plain = nn.functional.linear(seen, self.base.weight.to(x.dtype))
        return y + (self._changed(plain, seen) * share - plain)

    def shares(self) -> Tensor:
        """DoRA's m over the lengths of the rows of W + s · B A, [O]; through the lengths no gradient flows."""
        assert self.lora_magnitude_vector is not None
        with torch.no_grad():
            along = (self.base.weight @ self.lora_A.t() * self.lora_B).sum(dim=1)  # row of W · row of B A
            thin = self.lora_A @ self.lora_A.t()  # [r, r]
            both = ((self.lora_B @ thin) * self.lora_B).sum(dim=1)
            length = (self.squares + 2 * self.scale * along + self.scale**2 * both).sqrt()
        return self.lora_magnitude_vector / length

    def _changed(self, y: Tensor, x: Tensor) -> Tensor:
        """y + s · (x Aᵀ) Bᵀ."""
        rows = x.reshape(-1, x.shape[-1])  # [N, I]
        thin = nn.functional.linear(rows, self.lora_A.to(x.dtype))  # [N, r]
        wide = self.lora_B.to(x.dtype).t()
        # One pass over y where a product, a scaling and a sum would be three.
        return torch.addmm(y.reshape(-1, y.shape[-1]), thin, wide, alpha=self.scale).view_as(y)

    @torch.no_grad()
    def merged(self) -> Linear:
        """The one layer that does the same: W + s · B A, and with DoRA its rows brought to their length, in float32."""
        shares = None if self.lora_magnitude_vector is None else self.shares()
        self.base.weight.add_(self.lora_B @ self.lora_A, alpha=self.scale)
        if shares is not None:
            self.base.weight.mul_(shares.unsqueeze(1))
        return self.base


def scale_of(rank: int, alpha: float, rslora: bool) -> float:
    """What the change is multiplied with."""
    return alpha / (rank**0.5 if rslora else rank)


def hub_name(config: ModelConfig, name: str) -> str:
    """The name of a module in a Hugging Face directory."""
    return families.hub_name(config, f"{name}.weight").removesuffix(".weight")


def linear_layers(model: Transformer) -> dict[str, tuple[str, Linear]]:
    """The linear layers of the blocks: their name in a Hugging Face directory → our name and the layer."""
    families.separate(model.config)
    found = model.blocks.named_modules(prefix="blocks")
    return {hub_name(model.config, name): (name, module) for name, module in found if isinstance(module, Linear)}


def adapted(model: Transformer) -> dict[str, LoraLinear]:
    """The layers that have a change: their name in a Hugging Face directory → the layer."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    return {hub_name(model.config, name): module for name, module in found.items()}


def ends(name: str, end: str) -> bool:
    """Is it the name, or the last parts of it?"""
    return name == end or name.endswith(f".{end}")


def chosen(names: Iterable[str], targets: tuple[str, ...], where: str = "recipe: lora.targets") -> list[str]:
    """The layers that the targets name; a `UserError` for a target that names none, ``where`` it was given."""
    names = list(names)
    if targets == (ALL_LINEAR,):
        return names
    for target in targets:
        if not any(ends(name, target) for name in names):
            known = {ALL_LINEAR, *(name.rpartition(".")[2] for name in names)}
            raise UserError(f"no layer is called '{target}'", where=where, remedy=nearest(target, known))
    return [name for name in names if any(ends(name, target) for target in targets)]


def short_names(names: Iterable[str], targets: tuple[str, ...]) -> list[str]:
    """``target_modules`` of the configuration: what was asked for; all-linear by the last parts of the names."""
    return sorted({name.rpartition(".")[2] for name in names} if targets == (ALL_LINEAR,) else set(targets))


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


@torch.no_grad()
def add_lora(model: Transformer, settings: Lora, seed: int) -> list[str]:
    """Freeze ``model`` and give the chosen layers their changes; returns the layers' names, the hub's."""
    layers = linear_layers(model)
    names = chosen(layers, settings.targets)
    for name in names:
        smallest = min(layers[name][1].weight.shape)
        if settings.rank > smallest:
            what = f"rank {settings.rank} is more than {name} has, whose smaller side is {smallest}"
            raise UserError(what, where="recipe: lora.rank", remedy=f"Use --lora.rank {smallest} or less")
    model.requires_grad_(False)
    scale = scale_of(settings.rank, settings.alpha, settings.rslora)
    for name in names:
        own, base = layers[name]
        layer = LoraLinear(base, settings.rank, scale, settings.dropout, settings.dora)
        draw = torch.Generator().manual_seed(derive(seed, "lora", name))
        bound = base.in_features**-0.5
        layer.lora_A.copy_(torch.empty(layer.lora_A.shape).uniform_(-bound, bound, generator=draw))
        put(model, own, layer)
    return names


def pattern_value(patterns: dict[str, float], name: str, default: float) -> float:
    """The value of the first pattern that matches the end of a layer's name, as peft reads ``alpha_pattern``."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default
