"""What every training stage can be told about how it trains, so that no stage repeats it."""

from dataclasses import dataclass

from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.train.settings import GuardSettings, OptimizerSettings, ScheduleSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class Training:
    """The common keys of pretrain, sft and dpo."""

    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    guard: GuardSettings = GuardSettings()
    """What to do about NaN and spikes."""
    micro_batches: int = 1
    """Cut each batch to save memory; the update is the same."""
    checkpointing: bool = False
    """Recompute each block in the backward pass to save memory."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""
    evaluations: int = 5
    """How often to measure and sample on the way."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    seed: int = 0
    """Of weights, data order and splits."""

    def __post_init__(self) -> None:
        """A `UserError` says which key makes no sense."""
        if self.evaluations < 1:
            raise UserError(f"must be at least 1, found {self.evaluations}", where="recipe: evaluations")

    def settings(self, steps: int) -> TrainSettings:
        """What the loop is told, for a run of ``steps``."""
        return TrainSettings(
            steps=steps,
            micro_batches=self.micro_batches,
            optimizer=self.optimizer,
            schedule=self.schedule,
            guard=self.guard,
            checkpointing=self.checkpointing,
            checkpoint_every=self.checkpoint_every,
            evaluate_every=max(steps // self.evaluations, 1),
        )


def share(value: float, key: str) -> None:
    """Refuse what is not a share of a whole that leaves something over."""
    if not 0 <= value < 1:
        raise UserError(f"must be at least 0 and below 1, found {value}", where=f"recipe: {key}")
