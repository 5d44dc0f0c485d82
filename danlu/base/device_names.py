"""Names of devices and number formats, apart from `base.device` so that reading a recipe does not import torch."""

from typing import Literal

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
