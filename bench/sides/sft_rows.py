"""What both sides of sft_speed take from its file: samples in groups of a step, and how a run is told.

The file is JSON: ``groups`` is a list of steps, each a list of samples ``[ids, mask]``. Imports nothing of Danlu and
nothing of its peers, so that either can use it.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

Sample = tuple[list[int], list[int]]


def read(path: str) -> tuple[dict[str, Any], list[list[Sample]]]:
    """The work, and the samples of each step."""
    work = json.loads(Path(path).read_text(encoding="utf-8"))
    groups = json.loads(Path(work["groups"]).read_text(encoding="utf-8"))
    return work, [[(ids, mask) for ids, mask in group] for group in groups]


def trained(group: list[Sample]) -> int:
    """Tokens of a step that are learned: the first of a sample is nobody's target."""
    return sum(sum(mask[1:]) for _, mask in group)


class Times:
    """When each step ended; the time of a step runs from the end of the one before."""

    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def end(self) -> None:
        """A step is done."""
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Of each step."""
        return [after - before for before, after in zip(self.ends, self.ends[1:])]


def tell(times: Times, losses: list[float], groups: list[list[Sample]], **more: Any) -> None:
    """Print what a side found, as the last line of its output."""
    unit = 1 if sys.platform == "darwin" else 1024
    counted = [trained(group) for group in groups]
    rates = [count / second for count, second in zip(counted, times.seconds, strict=True)]
    found = {
        "seconds": times.seconds,
        "losses": losses,
        "trained": counted,
        "median": statistics.median(rates[1:] or rates),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        **more,
    }
    print(json.dumps(found))
