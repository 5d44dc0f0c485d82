"""Settings that mean nothing are refused by name."""

from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.model.adapters.settings import Lora


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 0}, "lora.rank: must be at least 1, found 0"),
        ({"alpha": 0.0}, "lora.alpha: must be above 0"),
        ({"targets": ()}, "lora.targets: needs names"),
        ({"targets": ("",)}, "lora.targets: needs names"),
        ({"targets": ("all-linear", "q_proj")}, "nothing to add"),
        ({"dropout": 1.0}, "lora.dropout: must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Lora(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"b_rate_ratio": 0.0}, "lora.b_rate_ratio: must be above 0"),
        ({"rank_pattern": {"q": 0}}, "lora.rank_pattern: needs ranks of at least 1"),
        ({"alpha_pattern": {"q": -1.0}}, "lora.alpha_pattern: needs alphas above 0"),
        ({"rank_pattern": {"(": 1}}, r"lora.rank_pattern: '\(' is no regular expression"),
        ({"layers": (0, -1)}, "lora.layers: must not be negative"),
        ({"pissa_iterations": 2}, "lora.pissa_iterations: only --lora.init pissa reads it"),
        ({"pissa_iterations": -1, "init": "pissa"}, "lora.pissa_iterations: must not be negative"),
        ({"loftq_iterations": 2, "init": "pissa"}, "lora.loftq_iterations: only --lora.init loftq reads it"),
        ({"loftq_iterations": 0, "init": "loftq"}, "lora.loftq_iterations: must be at least 1"),
        ({"init": "orthogonal", "rank": 3}, "lora.rank: orthogonal gives half .* must be even, not 3"),
        ({"init": "orthogonal", "rank_pattern": {"q": 5}}, "must be even, not 5"),
    ],
    ids=str,
)
def test_what_its_variants_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Lora(**changes)
