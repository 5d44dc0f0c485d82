"""The yardstick that needs no model: how many bits a byte does ``xz -9e`` take for the held-out text?

It is given the training text first, as the model was: compress(training + held-out) - compress(training).
"""

import lzma
from collections.abc import Iterable


def xz_bytes(text: bytes) -> int:
    """Size after ``xz -9e``."""
    return len(lzma.compress(text, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME))


def xz_bits_per_byte(training: Iterable[str], held_out: Iterable[str]) -> float:
    """Bits a byte of ``held_out``, after ``training``. xz looks back 64 MiB, which bounds what it can use."""
    before = "\n".join(training).encode()
    text = "\n".join(held_out).encode()
    return 8 * (xz_bytes(before + b"\n" + text) - xz_bytes(before)) / max(len(text), 1)
