"""Write ``model.safetensors`` a piece at a time, for a model that need not fit in memory.

The library writes tensors that it is given whole. Its format is simple enough to be written here as it is read
there: eight bytes of length, a JSON header padded with spaces to a multiple of eight, and the tensors' bytes one
after the other (https://huggingface.co/docs/safetensors, "Format"). The tests read it back with the library.
"""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.base.files import atomic, remove, write_text
from danlu.model.hub import INDEX, SHARD_BYTES, WEIGHTS

Dtype = Literal["float32", "bfloat16"]
NAMES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}


class Streamed(NamedTuple):
    """A tensor of the file: ``chunks()`` gives its float32 values in order, in pieces of any size."""

    name: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterable[NDArray[np.float32]]]


def write_weights(path: Path, tensors: Sequence[Streamed], dtype: Dtype, limit: int = SHARD_BYTES) -> int:
    """Write the tensors into the directory ``path``, a new shard before ``limit`` bytes; returns the bytes of all.

    ``bfloat16`` rounds to the nearest, ties to even, as PyTorch does.
    """
    shards = list(_shards(sorted(tensors), dtype, limit))
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write(path / name, shard, dtype)
    total = sum(_size(tensor, dtype) for tensor in tensors)
    remove(path / INDEX)
    if len(shards) > 1:
        weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_text(path / INDEX, json.dumps(index, indent=2) + "\n")
    return total


def _size(tensor: Streamed, dtype: Dtype) -> int:
    return prod(tensor.shape) * NAMES[dtype][1]


def _shards(tensors: Iterable[Streamed], dtype: Dtype, limit: int) -> Iterator[list[Streamed]]:
    shard: list[Streamed] = []
    size = 0
    for tensor in tensors:
        if shard and size + _size(tensor, dtype) > limit:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += _size(tensor, dtype)
    yield shard


def _write(path: Path, tensors: Sequence[Streamed], dtype: Dtype) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        end = at + _size(tensor, dtype)
        header[tensor.name] = {"dtype": NAMES[dtype][0], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            written = 0
            for chunk in tensor.chunks():
                raw = _raw(chunk, dtype)
                handle.write(raw)
                written += raw.nbytes
            assert written == _size(tensor, dtype), f"{tensor.name}: {written} bytes"


def _raw(chunk: NDArray[np.float32], dtype: Dtype) -> NDArray[Any]:
    """The values as the file wants them, little-endian."""
    if dtype == "float32":
        return np.ascontiguousarray(chunk, dtype="<f4")
    rounded = torch.from_numpy(np.ascontiguousarray(chunk)).to(torch.bfloat16)
    return rounded.view(torch.int16).numpy()
