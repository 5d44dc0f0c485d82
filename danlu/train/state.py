"""What a step was, and how far a run is."""

from dataclasses import dataclass, field


@dataclass
class Step:
    """One step as hooks see it. ``number`` counts from 1; ``tokens`` and ``seconds`` are totals so far.

    ``last`` says that the run ends with it, ``took`` how many seconds it was, ``peak_share`` how fast (0 where the peak
    is not known), and ``memory`` how many bytes the process has held at most.
    """

    number: int
    last: bool
    tokens: int
    seconds: float
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: str | None = None
    batch: str = ""
    learns: str = ""
    took: float = 0.0
    peak_share: float = 0.0
    memory: int = 0


@dataclass
class Totals:
    """Counts that survive a stop."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0
