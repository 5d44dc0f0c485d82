"""Danlu (丹炉): raw text to a language model you can talk to.

The rooms, in the order in which data flows; a room imports only rooms above it.

base        settings, devices, files: recipes, artifacts, devices, seeds, atomic files, errors, progress
text        raw files → clean documents: reading, extraction, filters, privacy, deduplication, decontamination, mixing
tokens      documents → ids → batches: tokenizer training, the one chat renderer, shards, packing, batches
model       ids → hidden → logits: the transformer and its switches, caches, Hugging Face directories
generate    logits → text: batched sampling with a key-value cache
objectives  outputs → one number: next_token, ahead, masked, dpo, tasks with labels, regularisers
train       batches → weights: the loop, exact checkpoints, schedules, precision, optimisers, hooks
evaluate    weights → is it good?: perplexity, bits per byte, stop rate, preference accuracy, report
compress    weights → fewer bits: four-bit codes chosen together (GPTQ), by a walk through the blocks
plan        a size → what it needs: scaling laws and their sources, fits with intervals
recipes     wires everything: one file a stage, presets, the chain

The names below are loaded when first used, so that ``import danlu`` and ``danlu --help`` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.base.artifact import Artifact as Artifact
    from danlu.base.errors import UserError as UserError
    from danlu.generate.engine import Engine as Engine
    from danlu.model.config import ModelConfig as ModelConfig
    from danlu.model.transformer import Transformer as Transformer
    from danlu.text.document import Document as Document
    from danlu.tokens.tokenizer import Tokenizer as Tokenizer

__version__ = "0.1.0"
__all__ = ["Artifact", "Document", "Engine", "ModelConfig", "Tokenizer", "Transformer", "UserError", "__version__"]

_HOMES = {
    "Artifact": "danlu.base.artifact",
    "Document": "danlu.text.document",
    "Engine": "danlu.generate.engine",
    "ModelConfig": "danlu.model.config",
    "Tokenizer": "danlu.tokens.tokenizer",
    "Transformer": "danlu.model.transformer",
    "UserError": "danlu.base.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'danlu' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
