"""Skip a step whose loss or gradient norm is not a number, or far above the recent past.

The rule is OLMo-core's (window 128, six standard deviations), with three differences: the window is part of
the checkpoint, what is not a number never enters it, and the skipped batch is named. A run that keeps being
skipped stops with an error, its last checkpoint intact.
"""

import math
import statistics
from collections import deque
from typing import Any

from danlu.base.errors import UserError
from danlu.train.settings import GuardSettings


class Guard:
    """Watches (loss, gradient norm) of each step."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.losses: deque[float] = deque(maxlen=settings.window)
        self.norms: deque[float] = deque(maxlen=settings.window)
        self.skipped_in_a_row = 0

    def verdict(self, loss: float, norm: float) -> str | None:
        """Why the step must be skipped, or None; a good step is remembered."""
        reason = None
        for name, value, past in (("loss", loss, self.losses), ("gradient norm", norm, self.norms)):
            if reason is not None:
                break
            if not math.isfinite(value):
                reason = f"{name} is {value}"
            elif len(past) >= self.settings.start:
                limit = statistics.fmean(past) + self.settings.sigmas * statistics.stdev(past)
                if value > limit:
                    reason = f"{name} {value:.4g} is above {limit:.4g}"
        if reason is None:
            self.losses.append(loss)
            self.norms.append(norm)
            self.skipped_in_a_row = 0
        else:
            self.skipped_in_a_row += 1
        return reason

    def stop_if_hopeless(self, reason: str, batch: str) -> None:
        """Give up after too many skipped steps in a row."""
        if self.skipped_in_a_row >= self.settings.limit:
            raise UserError(
                f"{self.skipped_in_a_row} steps in a row were skipped; the last because {reason}, in batch {batch}",
                remedy="Lower the learning rate or look at the data; the last checkpoint is from before",
            )

    def state_dict(self) -> dict[str, Any]:
        """The window and the count."""
        return {"losses": list(self.losses), "norms": list(self.norms), "skipped": self.skipped_in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.losses = deque(state["losses"], maxlen=self.settings.window)
        self.norms = deque(state["norms"], maxlen=self.settings.window)
        self.skipped_in_a_row = state["skipped"]
