"""What the kinds of adapter have in common: their files once read, first values from a seed, and their errors."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.seed import derive, generator
from danlu.model.foreign import Foreign
from danlu.model.hub import DAMAGED
from danlu.model.transformer import Transformer

GIVE = "Give it with --base to 'danlu merge', or correct base_model_name_or_path in the adapter's configuration"
LONE = "prompt_embeddings"  # peft's name of the one tensor of what is put before a document


class Held(NamedTuple):
    """The files of an adapter that is no LoRA: its directory, its configuration, and its tensors by their names."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def number(self, key: str) -> int:
        """A whole number of the configuration, at least 1."""
        found = self.config.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise UserError(f"needs a number '{key}', found {found!r}", where=self.path, remedy=DAMAGED)
        return found

    def lone(self) -> Tensor:
        """The one tensor that there must be, [virtual tokens, anything]."""
        count = self.number("num_virtual_tokens")
        found = self.tensors.get(LONE)
        if set(self.tensors) != {LONE} or found is None or found.dim() != 2 or found.shape[0] != count:
            what = f"must hold one tensor, {LONE}, of {count} rows"
            raise UserError(what, where=self.path, remedy=DAMAGED)
        if self.config.get("num_transformer_submodules") not in (None, 1):
            raise UserError("is for a model that writes one sequence from another", where=self.path)
        return found


def another(path: Path, what: str) -> UserError:
    """The adapter does not fit the model."""
    return UserError(f"was made for another base: {what}", where=path, remedy=GIVE)


@torch.no_grad()
def initialise(module: nn.Module, seed: int, name: str) -> None:
    """First values that depend on the seed alone, torch's own distributions: normal in tables, uniform elsewhere."""
    for path, parameter in module.named_parameters():
        draw = torch.Generator().manual_seed(derive(seed, name, path))
        owner = module.get_submodule(path.rpartition(".")[0])
        if isinstance(owner, nn.Embedding):
            value = torch.randn(parameter.shape, generator=draw)
        else:
            fan_in = owner.in_features if isinstance(owner, nn.Linear) else owner.hidden_size
            assert isinstance(fan_in, int)
            value = torch.empty(parameter.shape).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=draw)
        parameter.copy_(value)


def first_ids(count: int, vocabulary: int, words: Sequence[int], seed: int, name: str) -> Tensor:
    """The ids that virtual tokens begin as, [count]: those of a text, repeated or cut, or some of the vocabulary."""
    if words:
        return torch.tensor([words[i % len(words)] for i in range(count)])
    return torch.from_numpy(generator(seed, name, "vocabulary").integers(vocabulary, size=count))


def back(model: Transformer) -> None:
    """Let a model that was given another class have its own again."""
    model.__class__ = Transformer


def native(model: Transformer) -> None:
    """A `UserError` for a model whose layers are not known here."""
    if isinstance(model, Foreign):
        what = f"a {model.config.model_type} model is not native, and takes no virtual tokens here"
        raise UserError(what, remedy="Use a native family, or --method full or freeze")


def shorten(model: Transformer, tokens: int) -> None:
    """Take ``tokens`` of the model's positions for virtual ones, or give them back, below 0; a `UserError` if none are
    left.
    """
    left = model.config.max_length - tokens
    if left < 2:
        what = f"{tokens} virtual tokens leave no room in a model of {model.config.max_length}"
        raise UserError(what, remedy="Use fewer")
    model.config = dataclasses.replace(model.config, max_length=left)
