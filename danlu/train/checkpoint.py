"""Checkpoints that are exact and whole.

A checkpoint is a folder with ``tensors.safetensors``, ``state.json`` and ``hashes.json``. It is written
under a temporary name, fsynced file by file, hashed, and renamed; a kill at any instant leaves the previous
ones as they were. The last two are kept. On the way back every hash is checked: a damaged checkpoint is
named and the one before it is used. No pickle.
"""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.files import remove, sha256, sync, write_text
from danlu.base.progress import say

TENSORS, STATE, HASHES = "tensors.safetensors", "state.json", "hashes.json"
KEPT = 2


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write the checkpoint of ``step`` and forget all but the last two."""
        self.path.mkdir(parents=True, exist_ok=True)
        final, temporary = self.path / f"step-{step:08d}", self.path / ".writing"
        remove(temporary)
        temporary.mkdir()
        try:
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary / TENSORS)
        except SafetensorError as error:
            raise OSError(28, f"could not write a checkpoint ({error})", str(temporary / TENSORS)) from None
        sync(temporary / TENSORS)
        write_text(temporary / STATE, json.dumps({"step": step, **state}))
        hashes = {name: sha256(temporary / name) for name in (TENSORS, STATE)}
        write_text(temporary / HASHES, json.dumps(hashes))
        remove(final)
        temporary.rename(final)
        sync(self.path)
        for old in self._found()[:-KEPT]:
            remove(old)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and state of the newest whole checkpoint, or None if there is none at all.

        Each damaged one is named on the way; if all are damaged that is a `UserError`.
        """
        found = self._found()
        for path in reversed(found):
            problem = self._problem(path)
            if problem is None:
                try:
                    tensors = load_file(path / TENSORS)
                    return tensors, json.loads((path / STATE).read_text(encoding="utf-8"))
                except (SafetensorError, OSError, ValueError, struct.error) as error:
                    problem = str(error)
            say(f"{path}: damaged ({problem}); using the checkpoint before it")
        if found:
            raise UserError(
                "no checkpoint is whole", where=self.path, remedy="Start over with --fresh, or restore a copy"
            )
        return None

    def newest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        found = self._found()
        return int(found[-1].name.removeprefix("step-")) if found else None

    def newest_proven(self, step: int) -> int | None:
        """The step of the newest checkpoint, after forgetting that of ``step`` if there is an older one, or None.

        ``step`` is the last after which the weights were never seen to work.
        """
        found = self._found()
        if len(found) > 1 and found[-1].name == f"step-{step:08d}":
            remove(found[-1])
        return self.newest()

    def _found(self) -> list[Path]:
        return sorted(self.path.glob("step-*")) if self.path.is_dir() else []

    def _problem(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None."""
        try:
            hashes = json.loads((path / HASHES).read_text(encoding="utf-8"))
            for name in (TENSORS, STATE):
                if sha256(path / name) != hashes[name]:
                    return f"{name} differs from its hash"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return None


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names with a prefix, for several owners in one file."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def owned(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one owner, without its prefix."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


@torch.no_grad()
def copy_into(parameters: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copy values into existing memory, so that alignment, and with it rounding, is that of the first run."""
    if parameters.keys() != values.keys():
        odd = sorted(parameters.keys() ^ values.keys())
        raise UserError(f"the checkpoint does not fit the model: {', '.join(odd[:3])}", remedy="Use --fresh")
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
