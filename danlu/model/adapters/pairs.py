"""What the files of a LoRA adapter are made of: pairs of matrices, and how JSON and tensors of any adapter are read."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.model.hub import DAMAGED, check_hash

A, B = ".lora_A.weight", ".lora_B.weight"


class Pair(NamedTuple):
    """A [r, I], B [O, r], what their product is scaled with, and DoRA's lengths [O]."""

    a: Tensor
    b: Tensor
    scale: float
    lengths: Tensor | None


def read_json(file: Path) -> dict[str, Any]:
    """A configuration."""
    try:
        values = json.loads(existing(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=file, remedy=DAMAGED) from None
    if not isinstance(values, dict):
        raise UserError(f"expected keys and values, found {type(values).__name__}", where=file, remedy=DAMAGED)
    return values


def read_tensors(file: Path) -> dict[str, Tensor]:
    """A safetensors file as float32, whatever it holds: an adapter in bf16 still changes weights that are float32."""
    check_hash(file.parent, file)
    try:
        return {name: value.to(torch.float32) for name, value in load_file(file).items()}
    except (SafetensorError, OSError, struct.error) as error:
        raise UserError(f"cannot be read as safetensors ({error})", where=file, remedy=DAMAGED) from None
