"""One dial for the shape: how many parameters. Depth, width and the rest follow, and are printed.

Width is 64 a layer (the constant aspect ratio of Kaplan et al. 2020, fig. 5, which found shape to matter
little within a factor of two), heads are 64 wide, the feed-forward layer is 8/3 of the width (Shazeer 2020),
and the embedding is apart from the output layer: it costs memory but no time, and lets the input rows learn eight
times as fast as the output's (LOG.md: 2.17 against 2.27 bits per byte after the same 0.7M tokens).
"""

import re
from collections.abc import Callable

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.plan.scaling import Derived

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


def unchanged(config: ModelConfig) -> ModelConfig:
    """The shape as it is derived."""
    return config


def sized(
    size: str, vocab_size: int, max_length: int, apply: Callable[[ModelConfig], ModelConfig] = unchanged
) -> ModelConfig:
    """The derived shape whose number of parameters, after ``apply``, is nearest to ``size``, the embedding included."""
    wanted = parse_count(size)
    depth, best = 1, shape(1, vocab_size, max_length)
    while (reached := apply(best).parameters()) < wanted:
        depth += 1
        following = shape(depth, vocab_size, max_length)
        more = apply(following).parameters()
        if more <= reached or abs(more - wanted) >= abs(reached - wanted):
            break
        best = following
    return best


def explain(config: ModelConfig, wanted: ModelConfig | None = None, source: str = "") -> dict[str, Derived]:
    """The numbers of a shape with their sources; what differs from ``wanted``, the derived shape, was given.

    ``source`` is that of all numbers, where they do not follow from a size.
    """
    sources = {
        "layers": "the depth whose parameters come nearest to the size",
        "width": f"{HEAD_WIDTH} a layer, Kaplan et al. 2020, fig. 5",
        "heads": f"width / {HEAD_WIDTH}",
        "kv_heads": "as many as heads",
        "head_width": "as in GPT-2 and Llama",
        "feedforward": "8/3 of the width, to a multiple of 64, Shazeer 2020",
    }
    given = {name for name in sources if wanted is not None and getattr(wanted, name) != getattr(config, name)}
    shown = {name: "given" if name in given else source or law for name, law in sources.items()}
    found = {name: Derived(getattr(config, name), source) for name, source in shown.items()}
    found["parameters"] = Derived(config.parameters(), f"{config.matrix_parameters():,} of them multiply every token")
    return found
