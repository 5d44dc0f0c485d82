"""Heads for tasks with labels, attached to a model from outside: the trunk loses its output layer and gains these.

A decoder is read at its last token and an encoder at its first, as the classes of transformers read them; a vector
of a text may also be the mean of its tokens (Reimers and Gurevych 2019, arXiv:1908.10084). Heads compute in float32
whatever the trunk computes in: they are small, and softmax is where rounding shows.

Legend: B batch, T time, D width, L labels.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from danlu.base.seed import derive
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer

NAME = "tasks"  # of the module in the model, and so the beginning of its parameters' names
STD = 0.02  # of a new head's weights, as in BERT
Pooling = Literal["first", "last", "mean"]
OUTPUT = ("head.", "transform.", "head_bias.")  # parameters that only a language model's output has


class Head(nn.Module):
    """Maybe a layer with tanh, then the layer of the labels; dropout before what is new."""

    def __init__(self, width: int, labels: int, *, dense: bool, bias: bool, dropout: float, seed: int) -> None:
        super().__init__()
        self.dropout = dropout
        self.dense = nn.Linear(width, width) if dense else None
        self.out = nn.Linear(width, labels, bias=bias)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                draw = torch.Generator().manual_seed(derive(seed, "head", name))
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * (STD if parameter.dim() > 1 else 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., D] -> [..., L], float32."""
        x = x.float()
        if self.dense is not None:
            x = torch.tanh(self.dense(x))
        return self.out(nn.functional.dropout(x, self.dropout) if self.dropout and self.training else x)


def bare(config: ModelConfig) -> ModelConfig:
    """The configuration of a trunk alone: nothing after the last norm."""
    return dataclasses.replace(config, tied=True, head_transform=False, head_bias=False)


def strip(model: Transformer) -> None:
    """Take a language model's output layer off, in place."""
    for name in OUTPUT:
        if hasattr(model, name.rstrip(".")):
            delattr(model, name.rstrip("."))
    model.config = bare(model.config)


def attach(model: Transformer, heads: dict[str, Head]) -> None:
    """Give ``model`` a head for each task."""
    setattr(model, NAME, nn.ModuleDict(heads).to(model.embed.weight.device))


def head_of(model: Transformer, name: str) -> Head:
    """The head of a task."""
    found = getattr(model, NAME)[name]
    assert isinstance(found, Head)
    return found


def pooled(hidden: Tensor, segments: Tensor, how: Pooling) -> Tensor:
    """One vector a row. hidden: [B, T, D]; segments: [B, T], below 0 on padding at the right -> [B, D]."""
    if how == "first":
        return hidden[:, 0]
    real = segments >= 0
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), real.sum(1) - 1]
    weights = real.to(torch.float32).unsqueeze(-1)
    return (hidden.float() * weights).sum(1) / weights.sum(1)


@contextmanager
def of_types(model: Transformer, types: Tensor | None) -> Iterator[None]:
    """Within, the model's embeddings know which tokens are of the second kind (BERT's second text). types: [B, T].

    The model adds the first row of its table to every token, so what is added here is the difference.
    """
    if types is None or model.config.token_types <= 1:
        yield
        return
    table = model.type_table.weight

    def add(_: nn.Module, given: tuple[Tensor], made: Tensor) -> Tensor:
        return made + (table[types] - table[0])

    hook = model.embed.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
