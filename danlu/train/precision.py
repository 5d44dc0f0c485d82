"""fp16's narrow range: multiply the loss, divide the gradients, and learn the factor (Micikevicius et al. 2018).

bf16 and fp32 have the range of float32 and need none; their factor is 1 and never moves.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class LossScaler:
    """Halve after an overflow, double after ``patience`` steps without one."""

    scale: float = 1.0
    patience: int = 200
    good: int = 0
    moving: bool = False

    @classmethod
    def of(cls, precision: str) -> "LossScaler":
        """The scaler of a compute format."""
        return cls(scale=2.0**14, moving=True) if precision == "fp16" else cls()

    def update(self, finite: bool) -> None:
        """Learn from one step."""
        if not self.moving:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale = max(self.scale / 2, 1.0)
        elif self.good >= self.patience:
            self.scale, self.good = self.scale * 2, 0

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.scale, self.patience, self.good, self.moving = (state[k] for k in ("scale", "patience", "good", "moving"))
