"""Numbers of every step as JSON lines, cut back to the checkpoint when a run is taken up again."""

import json
import os
from pathlib import Path
from typing import Any

from danlu.train.hooks import Hook
from danlu.train.state import Step


class JsonLines:
    """A file of JSON lines that can be cut back to where a checkpoint knew it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after ``size`` bytes."""
        if self.path.exists():
            os.truncate(self.path, size)


class KeepLength(Hook):
    """Keeps a file of JSON lines in step with the checkpoints."""

    def __init__(self, lines: JsonLines) -> None:
        self.lines = lines

    def at_start(self, resumed: bool) -> None:
        """A run without a checkpoint starts over."""
        if not resumed:
            self.lines.cut(0)

    def state_dict(self) -> dict[str, Any]:
        """How long the file is."""
        return {"size": self.lines.size()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Cut it back."""
        self.lines.cut(state["size"])


class Metrics(Hook):
    """A line a step, of kind train or skip."""

    def __init__(self, lines: JsonLines) -> None:
        self.lines = lines

    def after_step(self, step: Step) -> None:
        """Write the step."""
        if step.skipped is not None:
            self.lines.write({"kind": "skip", "step": step.number, "reason": step.skipped, "batch": step.batch})
            return
        self.lines.write(
            {
                "kind": "train",
                "step": step.number,
                "tokens": step.tokens,
                "loss": round(step.loss, 6),
                "lr": step.lr,
                "grad_norm": round(step.grad_norm, 6),
                "tokens_per_second": round(step.tokens_per_second, 1),
                "seconds": round(step.seconds, 3),
                **({"peak_share": round(step.peak_share, 4)} if step.peak_share else {}),
                "memory_bytes": step.memory,
                **{name: round(value, 6) for name, value in step.metrics.items()},
                **({"learns": step.learns} if step.learns else {}),
            }
        )
