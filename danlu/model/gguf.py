"""Read GGUF, the file of llama.cpp: metadata, and tensors a few rows at a time.

The format is that of ggml's ``docs/gguf.md``, versions 2 and 3, little-endian: a header, keys with values, a
table of tensors, and their data. A reader of our own and not the `gguf` package, because a file comes from
strangers: every count and every length is held against the size of the file before anything is made of it, so a
header that claims 2^60 of something costs nothing, and what is wrong is one sentence. (The package is the
reference in the tests; on a header that claims too much it runs until memory ends.)

Nothing but the header is ever held: `Gguf.rows` reads and dequantises the rows it is asked for.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.model.gguf_blocks import FORMATS, OTHERS, Floats, Format, dequantize

MAGIC, VERSIONS = b"GGUF", (2, 3)
ALIGNMENT = 32  # unless general.alignment says otherwise
MOST_DIMENSIONS = 4  # ggml's GGML_MAX_DIMS
STRING, ARRAY = 8, 9
SCALARS = {
    number: np.dtype(code)
    for number, code in {
        0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
    }.items()
}  # fmt: skip
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list of texts"}
# What one of them takes at least: a key without a name and of one byte; a tensor without a name or dimensions
LEAST_KEY, LEAST_TENSOR, LEAST_STRING = 13, 24, 8
COPY_AGAIN = "The file is damaged or was not copied whole: copy it again"
T = TypeVar("T", int, float, str, bool, list[str])


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies. ``shape`` is in torch's order, the last number runs fastest."""

    name: str
    shape: tuple[int, ...]
    form: Format
    start: int
    size: int

    @property
    def row_bytes(self) -> int:
        """Of one row, which is always a whole number of blocks."""
        return self.shape[-1] // self.form.numbers * self.form.block.itemsize

    def __str__(self) -> str:
        return f"tensor {self.name} ({self.form.name})"


@dataclass(frozen=True)
class Gguf:
    """A file's metadata (lists of texts as `list`, of numbers as NumPy arrays) and its tensors by name."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """A value of the metadata; a `UserError` if it is missing without a default or is of another kind."""
        value = self.metadata.get(key, default)
        if value is None:
            raise UserError(f"metadata key '{key}' is missing", where=self.path, remedy="Danlu cannot do without it")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"metadata key '{key}' is not {KINDS[kind]}", where=self.path, remedy=COPY_AGAIN)
        return value

    def rows(self, tensor: GgufTensor, start: int, stop: int) -> Floats:
        """Rows ``[start, stop)`` as float32, [rows, numbers of a row]; a vector is one row."""
        size = tensor.row_bytes
        with open(self.path, "rb") as handle:
            handle.seek(tensor.start + start * size)
            data = np.fromfile(handle, dtype=np.uint8, count=(stop - start) * size)
        if data.size != (stop - start) * size:
            raise UserError(f"the file ends inside {tensor}", where=self.path, remedy=COPY_AGAIN)
        values = dequantize(data.reshape(stop - start, size), tensor.form)
        if not np.isfinite(values).all():
            raise UserError(f"{tensor} holds values that are not numbers", where=self.path, remedy=COPY_AGAIN)
        return values


def read_gguf(path: Path) -> Gguf:
    """Read everything but the tensors' data; a `UserError` if the file is not what it should be."""
    existing(path, remedy="Give the path of a .gguf file")
    if not path.is_file():
        raise UserError("is not a file", where=path, remedy="Give the path of a .gguf file")
    size = path.stat().st_size
    if size < 24:  # magic, version and two counts; an empty file cannot be mapped
        raise UserError(f"is no GGUF file: it has {size} bytes", where=path, remedy=COPY_AGAIN)
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Header(path, data, size).read()


class _Header:
    """A position in the file that cannot leave it."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path, self.data, self.size, self.at = path, data, size, 0

    def fail(self, what: str, remedy: str = COPY_AGAIN) -> UserError:
        """The error, with the file's name."""
        return UserError(what, where=self.path, remedy=remedy)

    def claim(self, count: int, least: int, what: str) -> None:
        """Are ``count`` things of ``least`` bytes possible in what is left?"""
        if count * least > self.size - self.at:
            raise self.fail(f"{what} would need {count * least:,} bytes and the file has {self.size - self.at:,} left")

    def number(self, code: str, what: str) -> int:
        """One unsigned number."""
        width = struct.calcsize(code)
        self.claim(1, width, what)
        (value,) = struct.unpack_from(code, self.data, self.at)
        self.at += width
        return int(value)

    def string(self, what: str) -> str:
        """A length and so many bytes of UTF-8."""
        length = self.number("<Q", what)
        self.claim(length, 1, what)
        raw = self.data[self.at : self.at + length]
        self.at += length
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None

    def numbers(self, kind: int, count: int, what: str) -> np.ndarray[Any, Any]:
        """``count`` numbers of one kind."""
        dtype = SCALARS[kind]
        self.claim(count, dtype.itemsize, what)
        found = np.frombuffer(self.data, dtype, count, self.at).copy()  # a view would keep the file mapped
        self.at += count * dtype.itemsize
        return found

    def value(self, kind: int, what: str) -> Any:
        """A value of the metadata."""
        if kind in SCALARS:
            return self.numbers(kind, 1, what)[0].item()
        if kind == STRING:
            return self.string(what)
        if kind != ARRAY:
            raise self.fail(f"{what} is of an unknown kind, {kind}")
        inner, count = self.number("<I", what), self.number("<Q", what)
        if inner in SCALARS:
            return self.numbers(inner, count, what)
        if inner != STRING:
            raise self.fail(f"{what} is a list of kind {inner}, which no known file has")
        self.claim(count, LEAST_STRING, what)
        return [self.string(what) for _ in range(count)]

    def read(self) -> Gguf:
        """The whole header."""
        if self.data[:4] != MAGIC:
            raise self.fail("is no GGUF file", "Give a file that llama.cpp reads")
        self.at = 4
        version = self.number("<I", "the version")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "is big-endian" if swapped in VERSIONS else f"is of GGUF version {version}"
            raise self.fail(f"{what}, and only little-endian files of version 2 and 3 are read", "Convert it anew")
        tensors, keys = self.number("<Q", "the header"), self.number("<Q", "the header")
        self.claim(keys, LEAST_KEY, f"{keys:,} metadata keys")
        metadata: dict[str, Any] = {}
        for index in range(keys):
            key = self.string(f"the name of metadata key {index + 1}")
            if key in metadata:
                raise self.fail(f"metadata key '{key}' is there twice")
            metadata[key] = self.value(self.number("<I", f"metadata key '{key}'"), f"metadata key '{key}'")
        self.claim(tensors, LEAST_TENSOR, f"{tensors:,} tensors")
        entries = [self.entry(index) for index in range(tensors)]
        return Gguf(self.path, metadata, self.tensors(entries, metadata.get("general.alignment", ALIGNMENT)))

    def entry(self, index: int) -> tuple[str, tuple[int, ...], Format, int]:
        """A line of the table of tensors: name, shape, format, offset from where the data begins."""
        name = self.string(f"the name of tensor {index + 1}")
        what = f"tensor {name}"
        dimensions = self.number("<I", what)
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self.fail(f"{what} has {dimensions} dimensions")
        shape = tuple(self.number("<Q", what) for _ in range(dimensions))[::-1]
        kind, offset = self.number("<I", what), self.number("<Q", what)
        if kind not in FORMATS:
            known = ", ".join(form.name for form in FORMATS.values())
            found = f"of type {OTHERS[kind]}" if kind in OTHERS else f"of an unknown type, {kind}"
            raise self.fail(f"{what} is {found}, which is not supported", f"Supported: {known}")
        form = FORMATS[kind]
        if prod(shape) == 0 or shape[-1] % form.numbers:
            blocks = f"blocks of {form.numbers}" if form.numbers > 1 else "numbers"
            raise self.fail(f"{what} ({form.name}) has shape {list(shape)}, whose rows are no whole {blocks}")
        return name, shape, form, offset

    def tensors(self, entries: list[tuple[str, tuple[int, ...], Format, int]], alignment: Any) -> dict[str, GgufTensor]:
        """Where each lies: inside the file, on the grid, and not on top of another."""
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.fail(f"general.alignment is {alignment}, and not a power of two")
        begin = -(-self.at // alignment) * alignment
        found: dict[str, GgufTensor] = {}
        for name, shape, form, offset in entries:
            size = prod(shape) // form.numbers * form.block.itemsize
            tensor = GgufTensor(name, shape, form, begin + offset, size)
            if name in found:
                raise self.fail(f"{tensor} is there twice")
            if offset % alignment:
                raise self.fail(f"{tensor} begins at {offset}, which is not on the file's grid of {alignment}")
            if tensor.start + size > self.size:
                missing = tensor.start + size - self.size
                raise self.fail(f"the file ends {missing:,} bytes before {tensor} does")
            found[name] = tensor
        end, last = begin, ""
        for tensor in sorted(found.values(), key=lambda tensor: tensor.start):
            if tensor.start < end:
                raise self.fail(f"{tensor} lies on top of {last}")
            end, last = tensor.start + tensor.size, str(tensor)
        return found
