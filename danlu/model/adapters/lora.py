"""LoRA (Hu et al. 2021): y = x Wᵀ + s · (x Aᵀ) Bᵀ, where W is frozen and A and B are thin.

B begins at zero, so the model begins as it was; A begins as Kaiming's uniform with a = √5, which is uniform within
1/√(fan in): not the paper's normal distribution but its authors' code's, and everybody's since. s is alpha / rank, or
alpha / √rank with rsLoRA (Kalajdzievski 2023). The layers are wrapped from outside; nothing in the model knows of it.
Other beginnings are in `danlu.model.adapters.starting`. W may be in four bits (`danlu.model.quantized`): QLoRA
(Dettmers et al. 2023, arXiv:2305.14314). LoRA+ (Hayou et al. 2024, arXiv:2402.12354) lets B learn faster than A.

Where a directory keeps several matrices in one tensor, they share an A and each has its rows of B, so that this is the
change of that tensor that peft makes and stores; with dropout each sees its own part of the input, there all the same.

DoRA (Liu et al. 2024) learns the length m of each row of the changed matrix apart from its direction: a row of
W + s · B A is divided by its own length, which counts as a constant in the backward pass (section 4.3), and multiplied
by m, which begins as the length of W's row. The lengths come from products of r columns, not of the whole matrix.

Legend: r rank, I in, O out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError, nearest
from danlu.base.seed import derive
from danlu.model import families
from danlu.model.adapters.layers import NETWORK, Slot, block_of, grouped, put, slots
from danlu.model.adapters.pairs import Pair
from danlu.model.adapters.product import changed
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.settings import ALL_LINEAR, Lora
from danlu.model.adapters.starting import MOVING, start
from danlu.model.config import ModelConfig
from danlu.model.foreign import ForeignConfig
from danlu.model.quantized import Nf4Linear, in_format, rounded
from danlu.model.transformer import Transformer

SHORTEST = 1e-24  # the square of a row's length by which DoRA still divides


class LoraLinear(nn.Module):
    """A frozen linear layer and its change; the names are peft's."""

    def __init__(
        self, base: nn.Linear | Nf4Linear, rank: int, scale: float, dropout: float = 0.0, dora: bool = False
    ) -> None:
        super().__init__()
        self.lora_magnitude_vector: nn.Parameter | None
        self.base, self.scale, self.dropout = base.requires_grad_(False), scale, dropout
        self.b_rate_ratio = 1.0  # B's learning rate over A's, for `rate_ratios`
        place = next(iter([*base.parameters(), *base.buffers()])).device
        self.lora_A = nn.Parameter(torch.zeros(rank, base.in_features, device=place))  # [r, I]
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=place))  # [O, r]
        own = base.weight.detach().square().sum(dim=1) if dora else None
        self.register_buffer("squares", own, persistent=False)  # [O]
        self.squares: Tensor
        self.register_parameter("lora_magnitude_vector", None if own is None else nn.Parameter(own.sqrt()))  # [O]

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., I] -> [..., O], in x's dtype."""
        x = in_format(x)
        if self.lora_magnitude_vector is None and not (self.dropout and self.training):
            bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
            matrix = self.base.matrix if isinstance(self.base, Nf4Linear) else self.base.weight.to
            return changed(x, self.lora_A, self.lora_B, matrix, bias, self.scale)
        y, seen = self.base(x), x
        if self.dropout and self.training:
            seen = nn.functional.dropout(x, self.dropout)
        if self.lora_magnitude_vector is None:
            return self._changed(y, seen)
        share, unbiased = self.shares().to(x.dtype), self.base.bias is None
        if seen is x and unbiased:
            return self._changed(y, x) * share
        if isinstance(self.base, Nf4Linear):
            plain = self.base.product(seen)
        else:
            plain = nn.functional.linear(seen, self.base.weight.to(x.dtype))
        return y + (self._changed(plain, seen) * share - plain)

    @torch.no_grad()
    def lengths(self) -> Tensor:
        """The lengths of the rows of W + s · B A, [O]; with DoRA only. A row of zeros is given one that divides."""
        along = (self.base.weight @ self.lora_A.t() * self.lora_B).sum(dim=1)  # row of W · row of B A
        thin = self.lora_A @ self.lora_A.t()  # [r, r]
        both = ((self.lora_B @ thin) * self.lora_B).sum(dim=1)
        return (self.squares + 2 * self.scale * along + self.scale**2 * both).clamp_min(SHORTEST).sqrt()

    def shares(self) -> Tensor:
        """DoRA's m over those lengths, [O]; through the lengths no gradient flows."""
        assert self.lora_magnitude_vector is not None
        return self.lora_magnitude_vector / self.lengths()

    def _changed(self, y: Tensor, x: Tensor) -> Tensor:
        """y + s · (x Aᵀ) Bᵀ."""
        rows = x.reshape(-1, x.shape[-1])  # [N, I]
        thin = nn.functional.linear(rows, self.lora_A.to(x.dtype))  # [N, r]
        wide = self.lora_B.to(x.dtype).t()
        # One pass over y where a product, a scaling and a sum would be three.
        return torch.addmm(y.reshape(-1, y.shape[-1]), thin, wide, alpha=self.scale).view_as(y)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The one layer that does the same: W + s · B A, and with DoRA its rows brought to their length, in float32."""
        shares = None if self.lora_magnitude_vector is None else self.shares()
        whole = self.base.linear() if isinstance(self.base, Nf4Linear) else self.base
        whole.weight.add_(self.lora_B @ self.lora_A, alpha=self.scale)
        if shares is not None:
            whole.weight.mul_(shares.unsqueeze(1))
        return whole


@dataclass(frozen=True)
class Starts:
    """Of each changed matrix, by its name in a directory: what its change is scaled with; the first A and B, where the
    matrix gave up their product for them; and the pair whose product was taken from it before anything else."""

    scales: dict[str, float] = field(default_factory=dict)
    pairs: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    taken: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def scale_of(rank: int, alpha: float, rslora: bool) -> float:
    """What the change is multiplied with."""
    return alpha / (rank**0.5 if rslora else rank)


def hub_name(config: ModelConfig, name: str) -> str:
    """The name of a module in a Hugging Face directory."""
    return tensor_name(config, f"{name}.weight").removesuffix(".weight")


def tensor_name(config: ModelConfig, name: str) -> str:
    """The name of a parameter there, or of the one that it is a part of."""
    return name.removeprefix(NETWORK) if isinstance(config, ForeignConfig) else families.hub_name(config, name)


def linear_layers(model: Transformer) -> dict[str, tuple[str, nn.Linear | Nf4Linear]]:
    """The linear layers of the blocks: their name in a Hugging Face directory → our name and the layer.

    A `UserError` where a directory has not each as a tensor of its own, or where the blocks are not known.
    """
    assert model.blocks is not None
    families.separate(model.config)
    found = ((name, *slot.parts[0]) for name, slot in slots(model).items())
    return {name: (own, layer) for name, own, layer in found if isinstance(layer, nn.Linear | Nf4Linear)}


def changed_slots(model: Transformer) -> dict[str, Slot]:
    """The matrices that have a change, by their name in a Hugging Face directory; the layers are `LoraLinear`."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    return grouped(model, dict(found)) if found else {}


def adapted(model: Transformer) -> dict[str, LoraLinear]:
    """The layers that have a change, by their name in a directory, or ours where they are a part of a tensor there."""
    return {
        name if len(slot.parts) == 1 else own: layer
        for name, slot in changed_slots(model).items()
        for own, layer in slot.parts
        if isinstance(layer, LoraLinear)
    }


def pair_of(slot: Slot) -> Pair:
    """The change of one matrix as a directory has it."""
    layers = [layer for _, layer in slot.parts if isinstance(layer, LoraLinear)]
    lengths = [layer.lora_magnitude_vector for layer in layers if layer.lora_magnitude_vector is not None]
    whole = slot.glue([layer.lora_B for layer in layers])
    return Pair(layers[0].lora_A, whole, layers[0].scale, slot.glue([*lengths]) if lengths else None)


@torch.no_grad()
def since(pair: Pair, a: Tensor, b: Tensor) -> Pair:
    """What became of a change that began as ``b @ a``, as one of as many ranks more: B A - b a."""
    place = pair.a.device
    return pair._replace(a=torch.cat((pair.a, a.to(place))), b=torch.cat((pair.b, -b.to(place)), dim=1))


def rate_ratios(model: nn.Module) -> dict[str, float]:
    """Parameters that learn at another rate than the run's: their name → the multiple of it."""
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear))
    return {f"{name}.lora_B": layer.b_rate_ratio for name, layer in layers if layer.b_rate_ratio != 1.0}


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


def in_layers(names: list[str], layers: tuple[int, ...]) -> list[str]:
    """Those in the blocks of these numbers, or all of them if none is given; a `UserError` for a block with none."""
    blocks = {block_of(name) for name in names}
    for number in layers:
        if number not in blocks:
            what = f"block {number} has no layer that is to be changed; the blocks are numbered from 0"
            raise UserError(what, where="recipe: lora.layers", remedy=f"The last that has one is {max(blocks)}")
    return [name for name in names if not layers or block_of(name) in layers]


def ranks_of(found: dict[str, Slot], settings: Lora) -> dict[str, int]:
    """The layers that are to be changed, and the rank of each; a `UserError` for what names none, or fits none."""
    names = in_layers(chosen(found, settings.targets), settings.layers)
    for key, patterns in (("rank_pattern", settings.rank_pattern), ("alpha_pattern", settings.alpha_pattern)):
        for pattern in patterns:
            if not any(pattern_value({pattern: 1.0}, name, 0.0) for name in names):
                raise UserError(f"no layer that is to be changed ends in '{pattern}'", where=f"recipe: lora.{key}")
    ranks = {name: int(pattern_value(settings.rank_pattern, name, settings.rank)) for name in names}
    for name, rank in ranks.items():
        smallest = min(found[name].shape)
        if rank > smallest:
            what = f"rank {rank} is more than {name} has, whose smaller side is {smallest}"
            raise UserError(what, where="recipe: lora.rank", remedy=f"Use --lora.rank {smallest} or less")
    return ranks


@torch.no_grad()
def add_lora(model: Transformer, settings: Lora, seed: int, quantization: Quantization | None = None) -> Starts:
    """Freeze ``model`` and give the chosen layers their changes; returns how they began.

    With ``quantization`` the linear layers are rounded first, after they gave up what the changes begin with.
    """
    found = slots(model)
    ranks = ranks_of(found, settings)
    model.requires_grad_(False)
    starts, pairs = Starts(), dict[str, tuple[Tensor, Tensor]]()
    for name, rank in ranks.items():
        slot, alpha = found[name], pattern_value(settings.alpha_pattern, name, settings.alpha)
        scale = starts.scales[name] = scale_of(rank, alpha, settings.rslora)

        def rounding(whole: Tensor, slot: Slot = slot) -> Tensor:
            return slot.glue([rounded(part, quantization is None or quantization.double) for part in slot.cut(whole)])

        draw = torch.Generator().manual_seed(derive(seed, "lora", name))
        first = start(slot.weight, rank, scale, settings, draw, rounding)
        pairs[name] = first.a, first.b
        if first.taken is not None:
            starts.taken[name] = first.taken
    prepare(model, starts, quantization)
    for name, slot in slots(model).items():
        if name in pairs:
            wrap(model, slot, *pairs[name], starts.scales[name], settings)
    if settings.init in MOVING:
        starts.pairs.update(pairs)
    return starts


@torch.no_grad()
def prepare(model: Transformer, starts: Starts, quantization: Quantization | None) -> None:
    """Make of a model the base that changes stand beside: less what was taken for them, and then rounded."""
    found = slots(model)
    for name, (a, b) in starts.taken.items():
        for (_, layer), part in zip(found[name].parts, found[name].cut(b), strict=True):
            if not isinstance(layer, nn.Linear):
                what = f"{name} is in four bits already, and can give up no part for its change to begin with"
                raise UserError(what, remedy="Let attach quantise the model, or begin with kaiming")
            layer.weight.sub_(part @ a, alpha=starts.scales[name])
    if quantization is not None:
        quantise(model, quantization)


@torch.no_grad()
def quantise(model: Transformer, quantization: Quantization) -> list[Nf4Linear]:
    """Put every linear layer of the blocks into NF4, before anything is put beside it; returns those layers."""
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        raise UserError("the model has changes beside its layers already", remedy="Quantise first, then add LoRA")
    made = []
    for slot in slots(model).values():
        for own, layer in slot.parts:
            if isinstance(layer, nn.Linear):
                made.append(Nf4Linear(layer, quantization.double))
                put(model, own, made[-1])
    return made


@torch.no_grad()
def wrap(model: Transformer, slot: Slot, a: Tensor, b: Tensor, scale: float, settings: Lora) -> list[LoraLinear]:
    """Give the layers of one matrix their change: one A, [r, I], for all of them, and of B, [O, r], each its rows."""
    shared, made = None, list[LoraLinear]()
    for (own, base), part in zip(slot.parts, slot.cut(b), strict=True):
        assert isinstance(base, nn.Linear | Nf4Linear)
        layer = LoraLinear(base, len(a), scale, settings.dropout, settings.dora)
        layer.b_rate_ratio = settings.b_rate_ratio
        layer.lora_A.copy_(a)  # into torch's own alignment: a mapped file's would change rounding
        layer.lora_B.copy_(part)
        shared = layer.lora_A = layer.lora_A if shared is None else shared
        if layer.lora_magnitude_vector is not None:
            layer.lora_magnitude_vector.copy_(layer.lengths())
        put(model, own, layer)
        made.append(layer)
    return made


def pattern_value(patterns: Mapping[str, float], name: str, default: float) -> float:
    """The value of the first pattern that matches the end of a layer's name, as peft reads ``alpha_pattern``."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default
