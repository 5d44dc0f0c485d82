"""The matrices that a directory names, and the layers of ours that hold them.

Mostly one is the other. Some families keep several matrices in one tensor (GPT-2 its queries, keys and values), and
adapters' files name that one: then it is several layers here, whose rows stand in the tensor in an order of their own.
Which rows stand where, the family itself says: it is given biases that number the rows, and saves them.

Legend: I in, O out.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model import families
from danlu.model.adapters.rows import TrainableRows
from danlu.model.foreign import Foreign, ForeignConfig
from danlu.model.linear import Linear
from danlu.model.quantized import Nf4Linear
from danlu.model.transformer import Transformer

NETWORK = "network."  # before the names of a model of transformers
STATES = ("mamba", "falcon_h1")  # in the names of families whose fast kernels are handed the weights themselves
ALONE = ("router", "shared_gate")  # choose experts, and are no matrices that adapters change in any library


class Slot(NamedTuple):
    """A matrix of a directory: our names and layers of its parts, and where its rows stand among theirs."""

    parts: tuple[tuple[str, nn.Module], ...]
    order: Tensor | None = None  # [O], None if they follow one another

    def glue(self, pieces: list[Tensor]) -> Tensor:
        """What belongs to the rows of each part, [O of the part, ...] -> as the directory has it, [O, ...]."""
        whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return whole if self.order is None else whole[self.order]

    def cut(self, whole: Tensor) -> list[Tensor]:
        """The way back."""
        if self.order is not None:
            whole = torch.empty_like(whole).index_copy_(0, self.order.to(whole.device), whole)
        return list(whole.split([rows(layer) for _, layer in self.parts]))

    @property
    def weight(self) -> Tensor:
        """The matrix, turned as a linear layer has it, [O, I]."""
        return self.glue([matrix(layer) for _, layer in self.parts])

    @property
    def shape(self) -> tuple[int, int]:
        """O and I."""
        return sum(rows(layer) for _, layer in self.parts), columns(self.parts[0][1])


def rows(layer: nn.Module) -> int:
    """O of a linear layer, or of one with a change beside it."""
    found = getattr(layer, "base", layer)
    assert isinstance(found, nn.Linear | Nf4Linear)
    return found.out_features


def columns(layer: nn.Module) -> int:
    """I of a linear layer."""
    found = getattr(layer, "base", layer)
    assert isinstance(found, nn.Linear | Nf4Linear)
    return found.in_features


def matrix(layer: nn.Module) -> Tensor:
    """The frozen matrix of a linear layer, [O, I] float32."""
    found = getattr(layer, "base", layer)
    assert isinstance(found, nn.Linear | Nf4Linear)
    return found.weight.detach()


@torch.no_grad()
def narrow(model: Transformer, dtype: torch.dtype) -> None:
    """Keep the frozen matrices, the tables among them, in the format that they are computed in.

    Every product rounds them to it anyway: the results are the same bits, at half the memory and without a cast for
    each. What was rounded away is gone, so this is for a base that is not written again. Left in float32 are tables of
    which some rows learn, matrices whose rows' lengths count (DoRA), and a model of transformers, which rounds in
    places of its own.
    """
    if isinstance(model, Foreign):
        return
    wide = {layer.base for layer in model.modules() if getattr(layer, "lora_magnitude_vector", None) is not None}
    wide |= {layer.table for layer in model.modules() if isinstance(layer, TrainableRows)}
    for module in model.modules():
        if isinstance(module, Linear | nn.Embedding) and not module.weight.requires_grad and module not in wide:
            module.weight.data = module.weight.data.to(dtype)


def linears(model: Transformer) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers that may change, by our names: those of the blocks; of a foreign model all but the output's."""
    kinds = (nn.Linear, Nf4Linear)
    if isinstance(model, Foreign):
        for name, module in model.network.named_modules(prefix="network"):
            if isinstance(module, kinds) and module is not model.head:
                yield name, module
        return
    for name, module in model.blocks.named_modules(prefix="blocks"):
        if isinstance(module, Linear | Nf4Linear) and name.rpartition(".")[2] not in ALONE:
            yield name, module


def slots(model: Transformer) -> dict[str, Slot]:
    """Every matrix that an adapter may change, by its name in a Hugging Face directory.

    A `UserError` for state spaces of transformers, which peft does not change either, and where there is no layer.
    """
    return grouped(model, dict(linears(model)))


def grouped(model: Transformer, found: dict[str, nn.Module]) -> dict[str, Slot]:
    """Layers by our names → the matrices of the directory that they are; of each matrix all layers must be given."""
    if not found:
        raise UserError("the model has no linear layer that an adapter could change")
    kind = model.config.model_type if isinstance(model.config, ForeignConfig) else ""
    family = None if kind else families.writing(model.config)
    if any(part in kind for part in STATES) or (family is not None and model.config.state_space is not None):
        what = (
            f"a {kind or 'mamba2'} model reads some matrices without calling their layers, so no change would be seen"
        )
        raise UserError(what, remedy="Train all weights")
    if kind:
        return {name.removeprefix(NETWORK): Slot(((name, layer),)) for name, layer in found.items()}
    if family is None:
        return {name: Slot(((name, layer),)) for name, layer in found.items()}
    firsts, start = dict[int, str](), 0
    numbers = dict[str, Tensor]()
    for name, layer in found.items():
        numbers[f"{name}.bias"] = torch.arange(start, start + rows(layer))
        firsts[start] = name
        start += rows(layer)
    begins = torch.tensor(list(firsts))
    result = dict[str, Slot]()
    for name, order in family.save(numbers, model.config).items():
        owners = torch.bucketize(order, begins, right=True) - 1
        names = [firsts[int(begins[owner])] for owner in owners.unique()]
        parts = tuple((part, found[part]) for part in names)
        straight = torch.cat([numbers[f"{part}.bias"] for part in names])
        place = None if torch.equal(order, straight) else torch.searchsorted(straight, order)
        result[name.removesuffix(".bias")] = Slot(parts, place)
    return result


def block_of(name: str) -> int:
    """The number of the block that a layer is in, by its name in a directory; -1 if it is in none."""
    found = re.search(r"(?:^|\.)(\d+)\.", name)
    return int(found[1]) if found else -1


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
