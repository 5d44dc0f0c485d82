"""What every training stage can be told about how it trains, so that no stage repeats it."""

from dataclasses import dataclass, field, fields
from typing import Literal

from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.base.recipe import UNCHANGING
from danlu.train.settings import (
    Checkpointing,
    GuardSettings,
    Offload,
    OptimizerSettings,
    ScheduleSettings,
    TrainSettings,
)

LENGTHS = ("tokens", "epochs", "steps", "seconds")  # keys that say how long a run is; a stage has some of them
Tracker = Literal["tensorboard", "trackio", "wandb"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The common keys of pretrain, sft and dpo."""

    steps: int = 0
    """Optimizer steps, in place of the stage's own length; 0 leaves it."""
    seconds: float = 0.0
    """Seconds of training, evaluations aside, in place of the stage's own length; 0 leaves it."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    guard: GuardSettings = GuardSettings()
    """What to do about NaN and spikes."""
    micro_batches: int = 1
    """Cut each batch into so many pieces to save memory; the update is the same."""
    checkpointing: Checkpointing | bool = "none"
    """Recompute in the backward pass, to save memory: none, selective (keeps matrix products) or full (each block)."""
    compile: bool = False
    """Compile each block: about a minute at the start for faster steps, on a GPU most; a CPU needs a C++ compiler,
    and on one of AMD in float32 it is slower."""
    update_in_backward: bool = False
    """Update each weight when its gradient arrives, to save its memory; needs clip 0 and guard.norm off."""
    offload: Offload = "none"
    """What a GPU leaves in the machine's memory: none, optimizer, activations or both."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""
    evaluations: int = 5
    """How often to measure and sample on the way."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    patience: int = 0
    """End the run after so many measurements in a row without a lower held-out loss; 0 never does."""
    keep: Literal["last", "best"] = "last"
    """Which weights are written: the last ones, or those of the measurement with the lowest held-out loss."""
    ema: float = 0.0
    """Measure and write the exponential moving average of the weights, such as 0.999; 0 the weights themselves."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    seed: int = 0
    """Of weights, data order and splits."""
    track: tuple[Tracker, ...] = field(default=(), metadata=UNCHANGING)
    """Where metrics go beside metrics.jsonl: any of tensorboard, trackio, wandb."""

    def __post_init__(self) -> None:
        """A `UserError` says which key makes no sense."""
        if isinstance(self.checkpointing, bool):  # recipes written before there was a third way
            object.__setattr__(self, "checkpointing", "full" if self.checkpointing else "none")
        if self.evaluations < 1:
            raise UserError(f"must be at least 1, found {self.evaluations}", where="recipe: evaluations")
        for key in ("steps", "seconds"):
            if getattr(self, key) < 0:
                raise UserError(f"must not be negative, found {getattr(self, key)}", where=f"recipe: {key}")
        # An epoch, "0", is as long as a run is when nobody says more; chains and older recipes say so.
        given = [f.name for f in fields(self) if f.name in LENGTHS and getattr(self, f.name) not in (f.default, "0")]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} both say how long the run is", where="recipe", remedy="Give one")
        if len(set(self.track)) < len(self.track):
            raise UserError("names one twice", where="recipe: track")
        self._check_keeping()
        self.settings(1)  # what does not go together is refused when the recipe is read

    def _check_keeping(self) -> None:
        """What could never happen is refused."""
        share(self.ema, "ema")
        if not 0 <= self.patience < max(self.evaluations, 1):
            what = f"of {self.evaluations} measurements a patience of {self.patience} is never used up, or is negative"
            raise UserError(what, where="recipe: patience", remedy="Give more --evaluations, or less patience")

    def settings(self, steps: int) -> TrainSettings:
        """What the loop is told; ``steps`` is the stage's own length, where neither `steps` nor `seconds` is given."""
        assert not isinstance(self.checkpointing, bool)
        count = 0 if self.seconds else self.steps or steps
        return TrainSettings(
            steps=count,
            seconds=self.seconds,
            micro_batches=self.micro_batches or 1,
            optimizer=self.optimizer,
            schedule=self.schedule,
            guard=self.guard,
            checkpointing=self.checkpointing,
            compile=self.compile,
            update_in_backward=self.update_in_backward,
            offload=self.offload,
            checkpoint_every=self.checkpoint_every,
            evaluate_every=max(count // self.evaluations, 1) if count else 0,
            evaluate_seconds=self.seconds / self.evaluations,
        )


def share(value: float, key: str) -> None:
    """Refuse what is not a share of a whole that leaves something over."""
    if not 0 <= value < 1:
        raise UserError(f"must be at least 0 and below 1, found {value}", where=f"recipe: {key}")
