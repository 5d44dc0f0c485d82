"""What a step was, and how far a run is."""

from dataclasses import dataclass, field


@dataclass
class Step:
    """One step as hooks see it. ``number`` counts from 1; ``tokens`` and ``seconds`` are totals so far."""

    number: int
    of: int
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

    @property
    def last(self) -> bool:
        """Is it the run's last one?"""
        return self.number >= self.of


@dataclass
class Totals:
    """Counts that survive a stop."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0
