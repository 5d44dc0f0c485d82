"""The families that are native: a transformers class for each, whose configuration and weights go both ways.

A family is a module with ``TYPES``, the model types it reads; ``read(values, where)``, ``config.json`` → `ModelConfig`
or a `UserError` that names the key that is not expressed; ``write(config)``, the way back, None where the class does
not compute exactly this; and ``load`` and ``save``, tensors by their names to ours and back. A model is written as
the first of the list that can: Llama before its heirs, since most programs open that.

``NAMES``, where a family has it, is the table of names; ``LEFT_OUT`` says what of its files is no part of the model.
"""

import re
from types import ModuleType

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.families import (
    bert,
    bloom,
    gemma2,
    gemma3,
    gpt2,
    gpt_neox,
    llama,
    mamba2,
    mistral,
    mixture,
    phi3,
    qwen2,
    qwen3,
    roberta,
    smollm3,
)
from danlu.model.families.names import Tensors
from danlu.model.families.names import theirs as theirs

FAMILIES: tuple[ModuleType, ...] = (
    *(
        llama,
        mistral,
        qwen2,
        qwen3,
        smollm3,
        gemma2,
        gemma3,
        phi3,
        gpt2,
        gpt_neox,
        bloom,
        mixture,
        mamba2,
        bert,
        roberta,
    ),
)


def types() -> list[str]:
    """The model types that are native."""
    return [kind for family in FAMILIES for kind in family.TYPES]


def reading(kind: str) -> ModuleType | None:
    """The family that reads a model type."""
    return next((family for family in FAMILIES if kind in family.TYPES), None)


def writing(config: ModelConfig) -> ModuleType | None:
    """The first family whose class computes exactly this; None is ``model_type: danlu``."""
    return next((family for family in FAMILIES if family.write(config) is not None), None)


def hub_name(config: ModelConfig, name: str) -> str:
    """What our parameter is called in a directory that `danlu.model.hub` writes."""
    family = writing(config)
    return theirs(getattr(family, "NAMES", {}), name)


def separate(config: ModelConfig) -> None:
    """A `UserError` where the directory has not each matrix as a tensor of its own: adapters' files name those."""
    family = writing(config)
    names = getattr(family, "NAMES", {})
    if family is not None and (not names or "blocks.{}.attention.qkv" in names):
        what = f"a {family.TYPES[0]} model's files keep several matrices as one, which only LoRA can change here"
        raise UserError(what, remedy="Use LoRA, or train all weights")


def left_out(family: ModuleType, tensors: Tensors) -> list[str]:
    """Tensors of a file that are no part of the model."""
    pattern = getattr(family, "LEFT_OUT", "")
    return sorted(name for name in tensors if pattern and re.search(pattern, name))
