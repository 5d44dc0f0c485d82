"""More rows for the embeddings of a model directory of any family, and not a bit changed in anything else.

The weights are copied file by file as raw bytes, a megabyte at a time; where a table of one row for each id comes by,
its old rows are copied and the new ones put after them. So memory does not grow with the model, and a family that
Danlu cannot run can still be extended. Left out: quantised tables, whose rows cannot be written one by one.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.base.artifact import find
from danlu.base.errors import UserError
from danlu.base.files import BLOCK, atomic, existing, write_text
from danlu.model.hub import DAMAGED, INDEX, WEIGHTS

Rows = NDArray[np.float32]
# By the end of the name, in the order tried. Llama and most others; GPT-2; BLOOM, Falcon; GPT-NeoX; Llama's own; Danlu
INPUTS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight",
          "embed.weight")  # fmt: skip
OUTPUTS = ("lm_head.weight", "embed_out.weight", "output.weight", "head.weight", "decoder.weight")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROWS = 4096  # read at a time
MOST_HEADER = 100_000_000  # bytes, as in the safetensors library


class Tensor(NamedTuple):
    """Where a tensor lies."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    bytes: int


class Found(NamedTuple):
    """The tables with a row for each id. ``output`` is None where it is the input's, ``copies`` are its other names."""

    input: Tensor
    output: Tensor | None
    copies: tuple[Tensor, ...]
    bias: Tensor | None


@dataclass(frozen=True)
class Table:
    """The rows [V, D] of one tensor, read from disk as they are asked for; ``used`` of them belong to ids."""

    tensor: Tensor
    used: int

    @property
    def width(self) -> int:
        """D."""
        return self.tensor.shape[1]

    def rows(self, ids: NDArray[np.int64]) -> Rows:
        """The rows of these ids, [n, D], float32 whatever the file holds."""
        raw = np.memmap(self.tensor.file, np.uint8, "r", self.tensor.start, (self.tensor.shape[0], self._row_bytes))
        return self._floats(np.ascontiguousarray(raw[ids]))

    def chunks(self) -> Iterator[Rows]:
        """All rows that belong to ids, in order."""
        for start in range(0, self.used, ROWS):
            yield self.rows(np.arange(start, min(start + ROWS, self.used)))

    @property
    def _row_bytes(self) -> int:
        return self.tensor.bytes // self.tensor.shape[0]

    def _floats(self, raw: NDArray[np.uint8]) -> Rows:
        if not raw.size:
            return np.zeros((0, self.width), np.float32)
        values = torch.from_numpy(raw.reshape(-1)).view(DTYPES[self.tensor.dtype]).to(torch.float32)
        return np.asarray(values.numpy(), np.float32).reshape(-1, self.width)


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model directory."""
    if not (path / INDEX).exists():
        return [existing(path / WEIGHTS, remedy="Give a model directory: one with config.json and model.safetensors")]
    try:
        names = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [existing(path / name) for name in sorted(set(names))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a usable index ({error!r})", where=path / INDEX, remedy=DAMAGED) from None


def header(file: Path) -> tuple[dict[str, str], list[Tensor]]:
    """The metadata of a safetensors file and its tensors in the order of their bytes."""
    try:
        with open(file, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > MOST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            values = json.loads(handle.read(length))
        metadata = values.pop("__metadata__", {})
        tensors = [
            Tensor(file, name, v["dtype"], tuple(v["shape"]), 8 + length + v["data_offsets"][0],
                   v["data_offsets"][1] - v["data_offsets"][0])
            for name, v in values.items()
        ]  # fmt: skip
        tensors.sort(key=lambda tensor: (tensor.start, tensor.bytes))
        end = 8 + length
        for tensor in tensors:
            if tensor.start != end or tensor.bytes < 0:
                raise ValueError(f"tensor {tensor.name} does not follow the one before it")
            end += tensor.bytes
        if end != file.stat().st_size:
            raise ValueError(f"{end} bytes are announced and {file.stat().st_size} are there")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UserError(f"cannot be read as safetensors ({error})", where=file, remedy=DAMAGED) from None
    return metadata, tensors


def vocabulary(config: dict[str, Any], where: Path) -> int:
    """The rows that ``config.json`` names, in itself or for the text part of a model of several."""
    found = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if not isinstance(found, int) or found < 1:
        raise UserError("names no vocab_size", where=where, remedy="Give a language model's directory")
    return found


def find_tables(path: Path, config: dict[str, Any]) -> Found:
    """The embeddings of a model directory; a `UserError` says what was looked for and not found."""
    rows = vocabulary(config, path / "config.json")
    tensors = [tensor for file in weight_files(path) for tensor in header(file)[1]]
    tables = [t for t in tensors if len(t.shape) == 2 and t.shape[0] == rows]
    source = next((t for end in INPUTS for t in tables if _ends(t.name, end)), None)
    if source is None:
        other = next((t for end in INPUTS for t in tensors if len(t.shape) == 2 and _ends(t.name, end)), None)
        if other is not None:
            what = f"config.json says {rows} ids, and {other.name} has {other.shape[0]} rows"
            raise UserError(what, where=path, remedy="The files are not of one model: copy them again")
        what = f"no embedding of {rows} rows, as config.json says, was found"
        raise UserError(what, where=path, remedy=f"Looked for tensors that end in {', '.join(INPUTS)}")
    output = next((t for end in OUTPUTS for t in tables if _ends(t.name, end) and t != source), None)
    tied = bool(config.get("tie_word_embeddings", output is None))
    biases = [*(f"{end.removesuffix('weight')}bias" for end in OUTPUTS), "predictions.bias"]  # the last is BERT's
    bias = next((t for t in tensors if t.shape == (rows,) and any(_ends(t.name, end) for end in biases)), None)
    for tensor in (source, output, bias):
        if tensor is not None and tensor.dtype not in DTYPES:
            what = f"tensor {tensor.name} is {tensor.dtype}, which cannot be extended"
            raise UserError(what, where=tensor.file, remedy=f"Supported: {', '.join(DTYPES)}")
    return Found(source, None if tied else output, (output,) if tied and output is not None else (), bias)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)


def new_size(old: int, ids: int, multiple: int) -> int:
    """Rows for ``ids`` ids: never fewer than there were, and more only up to a multiple if one is asked for."""
    return max(old, math.ceil(ids / multiple) * multiple)


def grow(path: Path, out: Path, found: Found, rows: int, used: int, fill: Callable[[Tensor], Rows]) -> int:
    """Write the weights of ``path`` into ``out``, the tables with ``rows`` rows; returns the bytes of all tensors.

    The first ``used`` rows of a table are kept, those of `fill` [n, D] (of a bias [n]) follow, then what the table
    had after them, then the mean of the used rows up to ``rows``: no id leads to these.
    """
    changed = {t.name: t for t in (found.input, found.output, found.bias, *found.copies) if t is not None}
    total = 0
    places: dict[str, str] = {}
    for file in weight_files(path):
        metadata, tensors = header(file)
        new = [_grown(t, rows) if t.name in changed else t for t in tensors]
        _copy(out / file.name, metadata, tensors, new, lambda t: _filled(t, rows, used, fill(t)))
        total += sum(tensor.bytes for tensor in new)
        places |= {tensor.name: file.name for tensor in new}
    if (path / INDEX).exists():
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        index["metadata"] = (index.get("metadata") or {}) | {"total_size": total}
        index["metadata"].pop("total_parameters", None)  # of the old model
        write_text(out / INDEX, json.dumps(index | {"weight_map": places}, indent=2) + "\n")
    return total


def _grown(tensor: Tensor, rows: int) -> Tensor:
    return tensor._replace(shape=(rows, *tensor.shape[1:]), bytes=tensor.bytes // tensor.shape[0] * rows)


def _copy(
    path: Path, metadata: dict[str, str], tensors: list[Tensor], new: list[Tensor], after: Callable[[Tensor], bytes]
) -> None:
    """One file: each tensor's bytes, those that grew followed by their new rows."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for tensor in new:
        offsets = [at, at + tensor.bytes]
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        at = offsets[1]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for old, grown in zip(tensors, new, strict=True):
            with open(old.file, "rb") as source:
                source.seek(old.start)
                tail = after(old) if grown is not old else b""
                left = grown.bytes - len(tail)
                while left:
                    block = source.read(min(left, BLOCK))
                    handle.write(block)
                    left -= len(block)
            handle.write(tail)


def _filled(tensor: Tensor, rows: int, used: int, new: Rows) -> bytes:
    """All of a grown tensor after its first ``used`` rows."""
    flat = Table(tensor._replace(shape=(tensor.shape[0], math.prod(tensor.shape[1:]))), used)
    kept = flat.rows(np.arange(min(used + len(new), tensor.shape[0]), tensor.shape[0]))
    mean = sum(chunk.sum(0, dtype=np.float64) for chunk in flat.chunks()) / used
    padding = np.broadcast_to(mean, (rows - used - len(new) - len(kept), flat.width)).astype(np.float32)
    values = np.concatenate((new.reshape(-1, flat.width), kept, padding))
    raw = torch.from_numpy(np.ascontiguousarray(values)).to(DTYPES[tensor.dtype])
    return raw.view(torch.uint8).numpy().tobytes()


def check_whole(path: Path) -> None:
    """Where a manifest says what the files were, hold them to that: safetensors itself notices no flipped bit."""
    artifact = find(path)
    if artifact is not None:
        artifact.verify()
