"""Shapes that cannot work are refused in one sentence, and the counts are the model's own."""

from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer

SHAPES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 1, "tied": False},
    {"kv_heads": 4, "bias": True},
    {"norm": "layernorm", "activation": "gelu", "positions": "learned", "bias": True, "tied": False},
    {"norm": "layernorm", "activation": "relu2", "positions": "alibi", "head_width": 5},
    {"positions": "sinusoidal", "activation": "gelu", "layers": 1},
    {"norm_weight": False, "qk_norm": True},
    {"norm": "layernorm", "norm_weight": False},
    {"norm": "layernorm", "norm_bias": False, "embedding_norm": True},
]


def config(**changes: Any) -> ModelConfig:
    shape = {"vocab_size": 61, "layers": 3, "width": 24, "heads": 4, "kv_heads": 2, "head_width": 8}
    return ModelConfig(**({**shape, "feedforward": 40, "max_length": 16} | changes))


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_the_counts_are_the_models(changes: dict[str, Any]) -> None:
    model = Transformer(config(**changes))
    assert model.config.parameters() == sum(p.numel() for p in model.parameters())
    looked_up = ("embed.", "positions.", "head.")
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith(looked_up)]
    multiplied = sum(p.numel() for p in matrices) + model.output_weight.numel()
    assert model.config.matrix_parameters() == multiplied


def test_the_cost_of_a_token() -> None:
    """By hand: q, o 32 x 24 and k, v 16 x 24 make 2304, feed-forward 3 x 24 x 40 = 2880, three layers, output
    61 x 24; causal attention reads half of 10 tokens: 12 x 3 layers x 4 heads x 8 x 10 / 2."""
    assert config().matrix_parameters() == 3 * (2304 + 2880) + 1464
    assert config().flops_per_token(10) == 6 * 17016 + 5760


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kv_heads": 3}, r"kv_heads 3 do not divide heads 4\. Choose one of 1, 2, 4"),
        ({"kv_heads": 8}, "kv_heads 8 do not divide heads 4"),
        ({"head_width": 7}, "head_width must be even, is 7"),
        ({"positions": "sinusoidal", "width": 25}, "need an even width, is 25"),
        *(({name: 0}, f"model {name} must be at least 1, is 0") for name in ("vocab_size", "layers", "heads")),
        ({"kv_heads": 0}, "model kv_heads must be at least 1, is 0"),
        ({"max_length": -1}, "model max_length must be at least 1, is -1"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        config(**changes)


def test_an_odd_head_is_fine_where_nothing_is_turned() -> None:
    assert config(head_width=7, positions="alibi").head_width == 7
