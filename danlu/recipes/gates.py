"""Conditions that a chain must meet to go on, such as ``bits_per_byte < 1.6``."""

import operator
import re
from dataclasses import dataclass
from typing import Any

from danlu.base.errors import UserError, nearest

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
# metric → the stage whose manifest has it
METRICS = {
    "bits_per_byte": "pretrain",
    "bytes_per_token": "tokenizer",
    "held_out_loss": "sft",
    "preference_accuracy": "evaluation",
    "same_language_rate": "evaluation",
    "small_talk_language": "evaluation",
    "stop_rate": "evaluation",
    "xz_bits_per_byte": "evaluation",
}


@dataclass(frozen=True)
class Gate:
    """One condition on one metric of one stage."""

    text: str
    metric: str
    comparison: str
    limit: float

    @property
    def stage(self) -> str:
        """Where the metric comes from."""
        return METRICS[self.metric]

    def check(self, metrics: dict[str, Any]) -> None:
        """A `UserError` if the condition does not hold."""
        value = float(metrics[self.metric])
        if not COMPARISONS[self.comparison](value, self.limit):
            raise UserError(
                f"the gate '{self.text}' is not met: {self.metric} is {value:.4g}",
                where=self.stage,
                remedy="What was made so far is kept; change the recipe or the gate and run again",
            )


def parse(text: str) -> Gate:
    """'stop_rate >= 0.95' → `Gate`."""
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\deE]+)\s*", text)
    if match is None:
        raise UserError(f"'{text}' is not a condition", where="gates", remedy="Write one such as 'bits_per_byte < 1.6'")
    if match[1] not in METRICS:
        raise UserError(f"unknown metric '{match[1]}'", where="gates", remedy=nearest(match[1], METRICS))
    try:
        return Gate(text.strip(), match[1], match[2], float(match[3]))
    except ValueError:
        raise UserError(f"'{match[3]}' is not a number", where=f"gates: {text}") from None
