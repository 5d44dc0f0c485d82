"""Weighted sums of LoRA adapters, exact: their ranks are joined.

s · B A of several, weighted, is one product: A is all A's below one another, and B is all B's side by side, each times
its weight and its own scale. peft calls it `cat`. What is no sum is refused: DoRA, whose rows have a length of their
own, whole tensors, rows of new tokens, of which there would be several for one id, and every other kind of adapter.
Left out: an approximation of lower rank (peft's `svd`), which a merged model has no use for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.adapters.files import CONFIG, Saved, read_adapter, write_files
from danlu.model.adapters.loading import base_of
from danlu.model.adapters.pairs import Pair


def combine(adapters: Sequence[Path], weights: Sequence[float], out: Path) -> None:
    """Write the PEFT directory ``out`` of an adapter whose effect is the weighted sum of the effects of ``adapters``.

    A `UserError` for adapters that cannot be summed, that have different bases, or another number of weights.
    """
    saved = combined([read_adapter(path) for path in adapters], weights)
    bases = [base_of(path) for path in adapters]
    for path, base in zip(adapters, bases, strict=True):
        if base.resolve() != bases[0].resolve():
            raise UserError(f"its base is {base}, and the first one's {bases[0]}", where=path)
    tensors = dict[str, Tensor]()
    for name, pair in saved.pairs.items():
        tensors |= {f"{name}.lora_A.weight": pair.a, f"{name}.lora_B.weight": pair.b}
    write_files(out, tensors, saved.config | {"base_model_name_or_path": str(bases[0])})


def combined(parts: Sequence[Saved], weights: Sequence[float]) -> Saved:
    """The weighted sum, as if it had been read: its directory is the first one's."""
    if not parts or len(weights) != len(parts):
        what = f"{len(parts)} adapters need as many weights, found {len(weights)}"
        raise UserError(what, where="weights", remedy="Give one for each, the first one's first")
    for part in parts:
        _check(part)
    pairs = {name: _joined(name, parts, weights) for name in dict.fromkeys(n for part in parts for n in part.pairs)}
    return Saved(parts[0].path, _config(pairs), pairs)


def _check(part: Saved) -> None:
    """A `UserError` for what is no sum of products."""
    reason = ""
    if part.other is not None:
        reason = f"is of type {part.config['peft_type']}, and only the effects of LoRA add up"
    elif part.rows or part.whole:
        reason = "carries rows of tokens, or whole tensors, which do not add up"
    elif any(pair.lengths is not None for pair in part.pairs.values()):
        reason = "was trained with DoRA, whose effects do not add up"
    if reason:
        raise UserError(f"cannot be summed: it {reason}", where=part.path / CONFIG, remedy="Merge one after another")


def _joined(name: str, parts: Sequence[Saved], weights: Sequence[float]) -> Pair:
    found = [
        (part, part.pairs[name], weight) for part, weight in zip(parts, weights, strict=True) if name in part.pairs
    ]
    shapes = {(pair.b.shape[0], pair.a.shape[1]) for _, pair, _ in found}
    if len(shapes) > 1:
        raise UserError(f"{name} has another shape than in {found[0][0].path}", where=found[-1][0].path)
    a = torch.cat([pair.a for _, pair, _ in found])
    b = torch.cat([pair.b * (pair.scale * weight) for _, pair, weight in found], dim=1)
    return Pair(a, b, 1.0, None)


def _config(pairs: dict[str, Pair]) -> dict[str, Any]:
    """alpha is the rank everywhere, so that the scale is one."""
    ranks = {name: pair.a.shape[0] for name, pair in pairs.items()}
    usual = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != usual}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": usual,
        "lora_alpha": usual,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(pairs),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
