"""What makes no sense is refused when a recipe is read."""

import subprocess
import sys
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.objectives.settings import Masking, PredictAhead, check_z_loss


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"share": 0.0}, "above 0 and below 1"),
        ({"share": 1.0}, "above 0 and below 1"),
        ({"masked": 0.9, "random": 0.2}, "together at most 1"),
        ({"random": -0.1}, "not negative"),
        ({"unit": "span", "span_stop": 0.0}, "span_stop must be above 0"),
        ({"unit": "span", "longest_span": 0}, "longest_span at least 1"),
        ({"unit": "word", "longest_span": 3}, "there are no spans"),
        ({"span_stop": 0.5}, "there are no spans"),
    ],
)
def test_masking_that_makes_no_sense(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Masking(**given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"tokens": -1}, "must not be negative"),
        ({"tokens": 1, "weight": 0.0}, "weight must be above 0"),
        ({"weight": 0.1}, "nothing is predicted ahead"),
    ],
)
def test_predicting_ahead_that_makes_no_sense(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        PredictAhead(**given)


def test_a_negative_z_loss_is_refused() -> None:
    check_z_loss(0.0)
    with pytest.raises(UserError, match="must not be negative, found -1"):
        check_z_loss(-1)


def test_reading_settings_starts_no_torch() -> None:
    code = "import sys, danlu.objectives.settings, danlu.tokens.curriculum; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
