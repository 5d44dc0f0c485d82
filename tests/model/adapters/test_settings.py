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
