"""Skip a step whose loss or gradient norm is not a number, or far above the recent past.

The rule is OLMo-core's (window 128, six standard deviations), with four differences: the window is part of the
checkpoint, what is not a number never enters it, the skipped batch is named and saved, and where all that was seen is
positive a spike is as many deviations of the logarithms above theirs too. Near the end of a run on few labels most
losses are a hundredth and a batch with one hard text a half: many deviations, and what there is to learn. In
pretraining, where values are close together, both limits are much the same.

A run that keeps being skipped stops with an error, and its newest checkpoint is from before: none is written while
steps are skipped, and one that no good step came after is forgotten where there is an older one, for its weights may be
what is wrong.
"""

import json
import math
import statistics
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save

from danlu.base.errors import UserError
from danlu.base.files import atomic
from danlu.tokens.batches import Batch
from danlu.train.checkpoint import Checkpoints
from danlu.train.settings import GuardSettings

KEPT_BATCHES = 20
LARGEST = 700.0  # e to the power of more is no float


class Guard:
    """Watches (loss, gradient norm) of each step; the norm is None where it is not known in time."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.losses: deque[float] = deque(maxlen=settings.window)
        self.norms: deque[float] = deque(maxlen=settings.window)
        self.skipped_in_a_row = 0

    def verdict(self, loss: float, norm: float | None) -> str | None:
        """Why the step must be skipped, or None; a good step is remembered."""
        seen = [("loss", loss, self.losses)] + ([] if norm is None else [("gradient norm", norm, self.norms)])
        reason = next((why for row in seen if (why := self._wrong(*row)) is not None), None)
        if reason is None:
            for _, value, past in seen:
                past.append(value)
            self.skipped_in_a_row = 0
        else:
            self.skipped_in_a_row += 1
        return reason

    def _wrong(self, name: str, value: float, past: deque[float]) -> str | None:
        if not math.isfinite(value):
            return f"{name} is {value}"
        if len(past) < self.settings.start or (past is self.norms and not self.settings.norm):
            return None
        limit = self._above(past)
        if min(past) > 0:
            limit = max(limit, math.exp(min(self._above([math.log(one) for one in past]), LARGEST)))
        return f"{name} {value:.4g} is above {limit:.4g}" if value > limit else None

    def _above(self, past: Iterable[float]) -> float:
        """So many standard deviations above the mean."""
        values = list(past)
        return statistics.fmean(values) + self.settings.sigmas * statistics.stdev(values)

    def stop_if_hopeless(self, reason: str, batch: str, step: int, checkpoints: Checkpoints) -> None:
        """Give up after too many skipped steps in a row, of which ``step`` is the last."""
        if self.skipped_in_a_row < self.settings.limit:
            return
        before = checkpoints.newest_proven(step - self.skipped_in_a_row)
        kept = f"the checkpoint of step {before} is from before" if before else "there is no checkpoint from before"
        raise UserError(
            f"{self.skipped_in_a_row} steps in a row were skipped; the last because {reason}, in batch {batch}",
            remedy=f"Lower the learning rate or look at the data; {kept}",
        )

    def state_dict(self) -> dict[str, Any]:
        """The window and the count."""
        return {"losses": list(self.losses), "norms": list(self.norms), "skipped": self.skipped_in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.losses = deque(state["losses"], maxlen=self.settings.window)
        self.norms = deque(state["norms"], maxlen=self.settings.window)
        self.skipped_in_a_row = state["skipped"]


def save_batch(batch: Batch, folder: Path, step: int, reason: str) -> Path:
    """``folder/step-N.safetensors`` with ids, mask, segments and what else the batch has; the last 20 are kept."""
    tensors = {"ids": batch.ids, "mask": batch.mask, "segments": batch.segments, **batch.extra}
    names = json.dumps(batch.names, ensure_ascii=False)
    whole = {name: value.cpu().contiguous() for name, value in tensors.items()}
    path = folder / f"step-{step}.safetensors"
    with atomic(path, "wb") as handle:
        handle.write(save(whole, {"reason": reason, "names": names}))
    for old in sorted(folder.glob("step-*.safetensors"), key=lambda p: int(p.stem.removeprefix("step-")))[
        :-KEPT_BATCHES
    ]:
        old.unlink()
    return path
