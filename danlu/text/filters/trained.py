"""A small trained model on disk: ``model.json`` with what it is and ``weights.safetensors``; pickle is never used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.files import atomic, existing, write_text
from danlu.text.stamp import stamp

FACTS, WEIGHTS = "model.json", "weights.safetensors"
FORMAT = 1
REMEDY = "Give a folder that 'danlu quality' wrote"
Arrays = dict[str, NDArray[Any]]


def write(folder: Path, kind: str, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Write a model of ``kind``; the same model gives the same bytes."""
    with atomic(folder / WEIGHTS, "wb") as handle:
        handle.write(save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}))
    values = {"kind": kind, "format": FORMAT, **facts}
    write_text(folder / FACTS, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def read(folder: Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and facts of a model of ``kind``; a `UserError` for another kind, a damaged or a missing file."""
    existing(folder / FACTS, remedy=REMEDY)
    existing(folder / WEIGHTS, remedy=REMEDY)
    made = artifact.find(folder)
    if made is not None:
        made.verify()
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        found = (facts["kind"], facts["format"])
        arrays: Arrays = load((folder / WEIGHTS).read_bytes())
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"not a readable model ({error!r})", where=folder, remedy=REMEDY) from None
    if found != (kind, FORMAT):
        what = f"holds a model of kind '{found[0]}', format {found[1]}, and '{kind}', format {FORMAT}, is needed"
        raise UserError(what, where=folder, remedy="Train one with: danlu quality")
    return arrays, facts


def version(folder: Path) -> int:
    """Changes when the model is trained again."""
    return stamp(folder / FACTS)
