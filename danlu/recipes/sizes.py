"""One dial for the shape: how many parameters. Depth, width and the rest follow, and are printed.

Width is 64 a layer (the constant aspect ratio of Kaplan et al. 2020, fig. 5, which found shape to matter
little within a factor of two), heads are 64 wide, the feed-forward layer is 8/3 of the width (Shazeer 2020),
and the embedding is apart from the output layer: it costs memory but no time, and lets the input rows learn eight
times as fast as the output's (LOG.md: 2.17 against 2.27 bits per byte after the same 0.7M tokens).
"""

import re

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig

HEAD_WIDTH = 64
SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def parse_count(text: str, what: str = "size") -> int:
    """'10M' → 10,000,000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMB]?)", text.strip().upper())
    if match is None or float(match[1]) == 0:
        raise UserError(f"{what} '{text}' is not a number such as 300K, 10M or 1.5B")
    return round(float(match[1]) * SUFFIXES[match[2]])


def shape(depth: int, vocab_size: int, max_length: int) -> ModelConfig:
    """The model of ``depth`` layers."""
    width = HEAD_WIDTH * depth
    return ModelConfig(
        vocab_size=vocab_size,
        layers=depth,
        width=width,
        heads=depth,
        kv_heads=depth,
        head_width=HEAD_WIDTH,
        feedforward=-(-8 * width // 3 // 64) * 64,
        max_length=max_length,
        tied=False,
    )


def sized(size: str, vocab_size: int, max_length: int) -> ModelConfig:
    """The model whose number of parameters is nearest to ``size``, the embedding included."""
    wanted = parse_count(size)
    depth, best = 1, shape(1, vocab_size, max_length)
    while best.parameters() < wanted:
        depth += 1
        following = shape(depth, vocab_size, max_length)
        if abs(following.parameters() - wanted) >= abs(best.parameters() - wanted):
            break
        best = following
    return best
