"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): embeddings before every document learn, and nothing else.

They begin as embeddings of the vocabulary or of a text, which the paper found to matter where a model is small.
`danlu.model.adapters.virtual` puts them in; this says what they begin as, and what the files say.
"""

from collections.abc import Sequence
from typing import Any

import torch

from danlu.base.seed import derive
from danlu.model.adapters import virtual
from danlu.model.adapters.common import first_ids
from danlu.model.adapters.method_settings import Prompt
from danlu.model.adapters.virtual import Vectors, give, shape_keys
from danlu.model.transformer import Transformer

TYPE = "PROMPT_TUNING"
UNMERGED = virtual.UNMERGED
place, remove, tensors = virtual.place, virtual.remove, virtual.tensors


@torch.no_grad()
def add(model: Transformer, settings: Prompt, seed: int, words: Sequence[int]) -> tuple[str, ...]:
    """Freeze ``model`` and give it virtual tokens; ``words`` are the ids of the settings' text."""
    table, scale = model.embed.weight.detach(), model.config.embedding_multiplier
    if settings.init == "random":
        draw = torch.Generator().manual_seed(derive(seed, "prompt", "random"))
        values = torch.randn(settings.tokens, table.shape[1], generator=draw).to(table.device) * table.std()
    else:
        ids = first_ids(settings.tokens, table.shape[0], words, seed, "prompt")
        values = table[ids.to(table.device)].clone()
    model.requires_grad_(False)
    give(model, Vectors(values * scale), settings.tokens)
    return ()


def config(model: Transformer, settings: Prompt, layers: tuple[str, ...]) -> dict[str, Any]:
    """peft's keys of its own; what the vectors began as is told as random, since peft would look for a tokenizer."""
    return {**shape_keys(model, settings.tokens), "prompt_tuning_init": "RANDOM"}
