"""What quantising a base can be told. Plain data: reading a recipe starts nothing, so no torch here."""

from dataclasses import dataclass
from typing import Literal

Quantize = Literal["none", "nf4"]


@dataclass(frozen=True)
class Quantization:
    """A frozen base in four bits: NF4 in blocks of 64 (Dettmers et al. 2023)."""

    double: bool = True
    """Round the blocks' scales to 8 bits as well: 4.13 bits a number in place of 4.5."""
