"""Blocks compiled for training: what lies between the matrix products becomes a few kernels (Ansel et al. 2024).

Each block is compiled by itself, so that the work is that of one block and not of the whole model, and only for
training: generation and measuring see many lengths, each of which would be compiled anew. What a block computes is the
same up to rounding, since fused kernels keep in float32 what separate ones round to bf16 in between.

Measured on two cores in bf16 (8 layers, width 512, 8 rows of 512 tokens), medians: steps of 2.10 and 2.24 s in place of
2.87, for about a minute at the start (LOG.md). So it is for long runs. In float32 on a processor of AMD it is slower
than not compiling, since torch.compile knows nothing of `danlu.model.products`.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError

Compiled = Callable[..., Tensor]
BACKEND = "inductor"


def compiled(blocks: Iterable[nn.Module]) -> list[Compiled]:
    """What to call in place of each block; the first call of a shape takes the time that compiling takes."""
    blocks = list(blocks)
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "cl"]
    on_cpu = any(parameter.device.type == "cpu" for block in blocks for parameter in block.parameters())
    if BACKEND == "inductor" and on_cpu and not any(shutil.which(name) for name in compilers if name):
        raise UserError("there is no C++ compiler", where="recipe: compile", remedy="Install g++, or leave it out")
    call: Callable[[Any], Compiled] = torch.compile(backend=BACKEND)
    return [call(block) for block in blocks]
