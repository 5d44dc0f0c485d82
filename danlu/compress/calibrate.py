"""Walk through the blocks of a model with a few documents, and change each layer by what goes into it.

A block's layers are changed in the order in which they are called, each seeing what the changed ones before it make of
the documents, so that a layer makes up for what came before as well. What is kept is the inputs of one block, and
nothing within it. Routers and experts stay as they are, as they do in QLoRA: they are no linear layers of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.adapters.layers import linears
from danlu.model.foreign import Foreign
from danlu.model.linear import Linear
from danlu.model.transformer import Transformer

Change = Callable[[Tensor, Tensor], Tensor]  # a weight [O, I] and the sum of xᵀx over its inputs [I, I] -> a weight
Seeing = Callable[[nn.Module, tuple[Tensor, ...]], None]


class _Seen(Exception):
    """All that was wanted of a pass has been seen."""


@torch.no_grad()
def calibrate(model: Transformer, documents: Sequence[Sequence[int]], change: Change) -> Iterator[int]:
    """Change every linear layer of the blocks; yields how many blocks are done. ``documents`` are token ids."""
    check_blocks(model)
    if not documents:
        raise UserError("there is no document to walk through the model with")
    model.eval()
    inputs, contexts = _entered(model, documents)
    for number, block in enumerate(model.blocks):
        through = partial(_through, block, inputs, [beside[number] for beside in contexts])
        own = [layer for name, layer in linears(model) if name.startswith(f"blocks.{number}.")]
        for group in in_turn([layer for layer in own if isinstance(layer, Linear)], through):
            covariance = _covariance(group[0], through, len(inputs))
            for layer in group:
                layer.weight.copy_(change(layer.weight, covariance))
        inputs = [through(i) for i in range(len(inputs))]
        yield number + 1


def check_blocks(model: Transformer) -> None:
    """A `UserError` where the blocks cannot be walked through."""
    if isinstance(model, Foreign) or any(model.config.is_recurrent(layer) for layer in range(model.config.layers)):
        what = "only blocks of attention that Danlu computes itself can be walked through one by one"
        raise UserError(what, remedy="'danlu sft --method qlora' rounds a model to the nearest by itself")


def _through(block: nn.Module, inputs: list[Tensor], contexts: list[Tensor], i: int) -> Tensor:
    """What a block makes of document ``i``."""
    made: Tensor = block(inputs[i], contexts[i])
    return made


def _hooked(layers: Sequence[nn.Module], see: Seeing) -> ExitStack:
    """A context in which ``see`` is called with what goes into each layer."""
    stack = ExitStack()
    for layer in layers:
        stack.callback(layer.register_forward_pre_hook(see).remove)
    return stack


def _entered(model: Transformer, documents: Sequence[Sequence[int]]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Of each document what goes into the first block, and what beside it into every block."""
    inputs, contexts = list[Tensor](), list[list[Tensor]]()

    def see(block: nn.Module, given: tuple[Tensor, ...]) -> None:
        if block is model.blocks[0]:
            inputs.append(given[0])
            contexts.append([])
        contexts[-1].append(given[1])

    with _hooked(list(model.blocks), see):
        for ids in documents:
            model.hidden(torch.tensor([list(ids)], device=model.embed.weight.device))
    return inputs, contexts


def in_turn(layers: Sequence[Linear], through: Callable[[int], Tensor]) -> list[list[Linear]]:
    """The layers in the order in which a document calls them; those that are given one tensor stand together."""
    found, last = list[list[Linear]](), list[Tensor]()

    def see(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, Linear)
        if any(layer in group for group in found):
            return
        if not last or given[0] is not last[0]:
            found.append([])
            last[:] = [given[0]]
        found[-1].append(layer)

    with _hooked(layers, see):
        through(0)
    return found


def _covariance(layer: Linear, through: Callable[[int], Tensor], documents: int) -> Tensor:
    """The sum of xᵀx over all that goes into a layer, [I, I] float32."""
    total = torch.zeros(layer.in_features, layer.in_features, device=layer.weight.device)

    def see(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].flatten(0, -2).float()  # [N, I]
        total.addmm_(x.t(), x)
        raise _Seen

    with _hooked([layer], see):
        for i in range(documents):
            with suppress(_Seen):
                through(i)
    return total
