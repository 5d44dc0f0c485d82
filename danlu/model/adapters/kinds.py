"""The kinds of adapter beside LoRA: a module each, by the name that peft gives to it.

A kind is a module of functions. ``add`` freezes a model and gives it what its settings say; ``tensors`` and ``config``
are what its files hold, and ``place`` is the way back, onto a model that was read; ``remove`` leaves the model as it
was, to the bit. ``UNMERGED`` says why it cannot be merged into its base, and is empty where it can.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.adapters import bottleneck, ia3, prefix, prompt, ptuning
from danlu.model.adapters.common import Held
from danlu.model.adapters.method_settings import Bottleneck, Ia3, Other, Prefix, Prompt, Ptuning
from danlu.model.transformer import Transformer

KINDS: dict[str, ModuleType] = {module.TYPE: module for module in (prefix, prompt, ptuning, ia3, bottleneck)}
OF_SETTINGS: dict[type, ModuleType] = {
    Prefix: prefix,
    Prompt: prompt,
    Ptuning: ptuning,
    Ia3: ia3,
    Bottleneck: bottleneck,
}
USE = "Use it as it is: 'danlu chat', 'danlu eval' and 'danlu preferences' take it"


def add(model: Transformer, settings: Other, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and give it the adapter; returns the names of the layers that it changes, where it does."""
    names: tuple[str, ...] = OF_SETTINGS[type(settings)].add(model, settings, seed, words)
    return names


def tensors(model: Transformer, settings: Other) -> dict[str, Tensor]:
    """What is saved, by names without peft's beginning."""
    found: dict[str, Tensor] = OF_SETTINGS[type(settings)].tensors(model)
    return found


def config(model: Transformer, settings: Other, layers: tuple[str, ...], base: Path) -> dict[str, Any]:
    """``adapter_config.json``."""
    kind = OF_SETTINGS[type(settings)]
    shared = {"task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "inference_mode": True}
    return {"peft_type": kind.TYPE, **shared, **kind.config(model, settings, layers)}


def place(held: Held, model: Transformer) -> None:
    """Give ``model`` the adapter that was read; a `UserError` if it was made for another."""
    KINDS[held.config["peft_type"]].place(held, model)


def remove(model: Transformer) -> None:
    """Take every such adapter off again."""
    for kind in KINDS.values():
        kind.remove(model)


def virtual_tokens(held: Held) -> int:
    """How many positions of the model it takes."""
    taken = held.config["peft_type"] in (prefix.TYPE, prompt.TYPE, ptuning.TYPE)
    return held.number("num_virtual_tokens") if taken else 0


def check_merges(kind: object, where: Path | None) -> None:
    """A `UserError` that says why, where adapters of this `peft_type` cannot be merged."""
    module = KINDS.get(str(kind))
    if module is not None and module.UNMERGED:
        raise UserError(f"cannot be merged: {module.UNMERGED}", where=where, remedy=USE)
