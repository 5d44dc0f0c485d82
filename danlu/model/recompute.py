"""Trade time for memory: compute a block again in the backward pass instead of keeping what it computed.

full keeps a block's input alone (Chen et al. 2016, arXiv:1604.06174). selective keeps the outputs of the layers' matrix
products as well, which cost most to compute, and computes norms, activations, rotations and the attention scores again,
which cost most to keep (Korthikanti et al. 2022, arXiv:2205.05198). Gradients are bit for bit the same.

Measured on one core in fp32 (8 layers, width 256, 4 rows of 512 tokens; what a step with AdamW adds to the process, and
its CPU seconds): none 647 MB and 2.5 s, selective 482 MB and 3.1 s, full 367 MB and 3.2 s.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

# Attention's own products are batched ones, aten.bmm, and so computed again; a fused attention is as dear as a product.
KEPT = [
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    *([torch.ops.mkldnn._linear_pointwise.default] if hasattr(torch.ops.mkldnn, "_linear_pointwise") else []),
    *([torch.ops.aten._grouped_mm.default] if hasattr(torch.ops.aten, "_grouped_mm") else []),  # from torch 2.8 on
]


def recomputed(block: Callable[..., Tensor], *inputs: Any, kind: bool | str) -> Tensor:
    """``block(*inputs)``; ``kind`` is selective, or full (or True)."""
    if kind == "selective":
        contexts = partial(create_selective_checkpoint_contexts, KEPT)
        return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)
    return checkpoint(block, *inputs, use_reentrant=False)
