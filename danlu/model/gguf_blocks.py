"""The number formats of GGUF tensors, and their blocks back to float32.

A row is cut into blocks of 32 or 256 numbers that share scales (ggml's ``ggml-common.h``); a structured NumPy
type is the block's layout, field for field, and each function below is its formula. Products and sums are
taken in ggml's order, so the numbers are those of its reference code, bit for bit.

Left out: the 2- and 3-bit formats, whose loss a model that is to be trained further does not survive, and the
IQ, ternary and FP4 formats. They are named when they are refused.

Legend: N blocks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Format(NamedTuple):
    """A format: what one block looks like in the file, how many numbers it holds, and how they are read."""

    name: str
    block: np.dtype[Any]
    numbers: int
    read: Callable[[NDArray[Any]], Floats]  # blocks [N] -> [N, numbers]


def dequantize(data: Bytes, form: Format) -> Floats:
    """data: [rows, bytes of a row] -> [rows, numbers of a row]; what is damaged may come out as inf or NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = np.ascontiguousarray(data).reshape(-1).view(form.block)
        return form.read(blocks).reshape(data.shape[0], -1)


def _column(values: NDArray[Any]) -> Floats:
    """One number a block, ready to multiply a row of them: [N] -> [N, 1]."""
    return values.astype(np.float32)[:, None]


def _nibbles(packed: Bytes, width: int) -> Bytes:
    """``width`` bytes hold the low halves of ``width`` numbers, then the high halves of as many: [N, B] -> [N, 2 B]."""
    groups = packed.reshape(len(packed), -1, 1, width)
    return np.concatenate([groups & 15, groups >> 4], axis=2).reshape(len(packed), -1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Bit i of 32 is number i's: [N, 4] -> [N, 32], 0 or 16."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _plain(blocks: NDArray[Any]) -> Floats:
    return blocks.astype(np.float32)[:, None]


def _bf16(blocks: NDArray[Any]) -> Floats:
    return (blocks.astype("<u4") << 16).view("<f4").astype(np.float32, copy=False)[:, None]


def _q8_0(blocks: NDArray[Any]) -> Floats:
    return blocks["q"].astype(np.float32) * _column(blocks["d"])


def _q4_0(blocks: NDArray[Any]) -> Floats:
    return (_nibbles(blocks["q"], 16).astype(np.float32) - np.float32(8)) * _column(blocks["d"])


def _q4_1(blocks: NDArray[Any]) -> Floats:
    return _nibbles(blocks["q"], 16).astype(np.float32) * _column(blocks["d"]) + _column(blocks["m"])


def _q5_0(blocks: NDArray[Any]) -> Floats:
    numbers = _nibbles(blocks["q"], 16) | _fifth_bits(blocks["h"])
    return (numbers.astype(np.float32) - np.float32(16)) * _column(blocks["d"])


def _q5_1(blocks: NDArray[Any]) -> Floats:
    numbers = _nibbles(blocks["q"], 16) | _fifth_bits(blocks["h"])
    return numbers.astype(np.float32) * _column(blocks["d"]) + _column(blocks["m"])


def _scaled_groups(blocks: NDArray[Any], numbers: Bytes) -> Floats:
    """Of Q4_K and Q5_K: eight groups of 32, each with a 6-bit scale and a 6-bit minimum. numbers: [N, 256].

    Of the twelve bytes the first four hold scales 0 to 3, the next four minima 0 to 3, in their low six bits; the
    last four hold the low four bits of scales and minima 4 to 7, whose high two bits are on top of the first eight.
    """
    first, second, last = (blocks["s"][:, i : i + 4] for i in (0, 4, 8))
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6 << 4)], axis=1).astype(np.float32)  # [N, 8]
    minima = np.concatenate([second & 63, (last >> 4) | (second >> 6 << 4)], axis=1).astype(np.float32)
    scales *= _column(blocks["d"])
    minima *= _column(blocks["m"])
    out = numbers.reshape(-1, 8, 32).astype(np.float32)
    out *= scales[:, :, None]
    out -= minima[:, :, None]
    return out.reshape(-1, 256)


def _q4_k(blocks: NDArray[Any]) -> Floats:
    return _scaled_groups(blocks, _nibbles(blocks["q"], 32))


def _q5_k(blocks: NDArray[Any]) -> Floats:
    bits = blocks["h"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None]  # [N, 8, 32]: bit i is group i's
    fifth = (bits & np.uint8(1)) << np.uint8(4)
    return _scaled_groups(blocks, _nibbles(blocks["q"], 32) | fifth.reshape(-1, 256))


def _q6_k(blocks: NDArray[Any]) -> Floats:
    low = _nibbles(blocks["q"], 64)
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    high = (blocks["h"].reshape(-1, 2, 1, 32) >> shifts & 3) << 4  # [N, 2, 4, 32]
    numbers = (low | high.reshape(-1, 256)).astype(np.float32) - np.float32(32)
    scales = blocks["s"].astype(np.float32) * _column(blocks["d"])  # [N, 16]
    return (numbers.reshape(-1, 16, 16) * scales[:, :, None]).reshape(-1, 256)


def _layout(*fields: tuple[str, str] | tuple[str, str, int]) -> np.dtype[Any]:
    return np.dtype(list(fields))


# d scale, m minimum, s the scales of groups, h the high bits, q the low bits. By ggml's number of the type.
FORMATS = {
    0: Format("F32", np.dtype("<f4"), 1, _plain),
    1: Format("F16", np.dtype("<f2"), 1, _plain),
    2: Format("Q4_0", _layout(("d", "<f2"), ("q", "u1", 16)), 32, _q4_0),
    3: Format("Q4_1", _layout(("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)), 32, _q4_1),
    6: Format("Q5_0", _layout(("d", "<f2"), ("h", "u1", 4), ("q", "u1", 16)), 32, _q5_0),
    7: Format("Q5_1", _layout(("d", "<f2"), ("m", "<f2"), ("h", "u1", 4), ("q", "u1", 16)), 32, _q5_1),
    8: Format("Q8_0", _layout(("d", "<f2"), ("q", "i1", 32)), 32, _q8_0),
    12: Format("Q4_K", _layout(("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("q", "u1", 128)), 256, _q4_k),
    13: Format(
        "Q5_K", _layout(("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("h", "u1", 32), ("q", "u1", 128)), 256, _q5_k
    ),
    14: Format("Q6_K", _layout(("q", "u1", 128), ("h", "u1", 64), ("s", "i1", 16), ("d", "<f2")), 256, _q6_k),
    30: Format("BF16", np.dtype("<u2"), 1, _bf16),
}
# What else a file may hold, so that a refusal can say what it found.
OTHERS = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64",
    28: "F64", 29: "IQ1_M", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 34: "TQ1_0", 35: "TQ2_0",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
