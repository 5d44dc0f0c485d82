"""What an adapter says of a base in four bits, and that base again, bit for bit.

peft's files have no place for it, so two of our own lie beside them. ``quantization.json`` says how the base was
rounded while the adapter was trained, and whether the first half of each pair is what was trained and the second what
it began as, with the sign turned. ``quantization.safetensors``, where something was taken from the matrices before they
were rounded (`danlu.model.adapters.starting`), holds that, by the names of the layers. Who does not know of these
files, peft among others, puts the change beside the whole base: the usual way to use a QLoRA adapter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.files import remove, sync, write_text
from danlu.base.progress import count, say
from danlu.base.recipe import from_dict, to_dict
from danlu.model.adapters.lora import Starts, prepare
from danlu.model.adapters.pairs import A, B, Pair, read_json, read_tensors
from danlu.model.adapters.quantization import Quantization
from danlu.model.hub import DAMAGED
from danlu.model.quantized import Nf4Linear
from danlu.model.transformer import Transformer

NOTE, TAKEN = "quantization.json", "quantization.safetensors"
FORMAT = "nf4"


@dataclass(frozen=True)
class Rounding:
    """How the base of an adapter was rounded, what was taken from it before, and if its pairs carry how they began."""

    quantization: Quantization = Quantization()
    began: bool = False
    taken: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def write_rounding(path: Path, rounding: Rounding | None) -> None:
    """Write the two files, or none: what an earlier run left there is gone either way."""
    remove(path / NOTE)
    remove(path / TAKEN)
    if rounding is None:
        return
    if rounding.taken:
        tensors = {f"{name}{end}": value for name, pair in rounding.taken.items() for end, value in zip((A, B), pair)}
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path / TAKEN)
        sync(path / TAKEN)
    values = {"format": FORMAT, **to_dict(rounding.quantization), "began": rounding.began}
    write_text(path / NOTE, json.dumps(values, indent=2) + "\n")


def read_rounding(path: Path) -> Rounding | None:
    """How the base of the adapter in ``path`` was rounded; None if it was not. A `UserError` for what is damaged."""
    if not (path / NOTE).is_file():
        return None
    values = read_json(path / NOTE)
    if values.pop("format", None) != FORMAT or not isinstance(began := values.pop("began", None), bool):
        what = f"does not say that the base was in {FORMAT}, and how the pairs begin"
        raise UserError(what, where=path / NOTE, remedy=DAMAGED)
    tensors = read_tensors(path / TAKEN) if (path / TAKEN).is_file() else {}
    names = sorted(name.removesuffix(A) for name in tensors if name.endswith(A))
    if len(tensors) != 2 * len(names) or any(f"{name}{B}" not in tensors for name in names):
        raise UserError("holds tensors that are no pairs of A and B", where=path / TAKEN, remedy=DAMAGED)
    taken = {name: (tensors[f"{name}{A}"], tensors[f"{name}{B}"]) for name in names}
    return Rounding(from_dict(Quantization, values, str(path / NOTE)), began, taken)


def round_base(model: Transformer, pairs: Mapping[str, Pair], rounding: Rounding, path: Path) -> dict[str, Pair]:
    """Make of ``model`` the rounded base of the adapter in ``path``; returns the pairs that stand beside it."""
    for name, (a, b) in rounding.taken.items():
        if name not in pairs or (len(b), a.shape[1]) != (len(pairs[name].b), pairs[name].a.shape[1]):
            raise UserError(f"what was taken from {name} does not fit the adapter", where=path / TAKEN, remedy=DAMAGED)
    scales = {name: pair.scale for name, pair in pairs.items()}
    prepare(model, Starts(scales, {}, dict(rounding.taken)), rounding.quantization)
    tell(model)
    return {name: _trained(pair) if rounding.began else pair for name, pair in pairs.items()}


def _trained(pair: Pair) -> Pair:
    """The half that was trained."""
    rank = len(pair.a) // 2
    return pair._replace(a=pair.a[:rank], b=pair.b[:, :rank])


def tell(model: Transformer) -> None:
    """What is in four bits now, and what that takes."""
    layers = [module for module in model.modules() if isinstance(module, Nf4Linear)]
    numbers = sum(layer.in_features * layer.out_features for layer in layers)
    size = sum(layer.stored_bytes for layer in layers)
    rest = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    kept = f"{count(numbers)} numbers of {len(layers)} layers in NF4, {size / numbers:.3f} bytes each"
    say(f"  {kept}; {count(rest)} frozen numbers stay in float32")
