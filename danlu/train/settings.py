"""What the loop can be told. Plain data: reading a recipe starts nothing, so no torch here."""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError


@dataclass(frozen=True)
class OptimizerSettings:
    """How gradients become updates."""

    name: Literal["adamw", "muon"] = "muon"
    """muon for the matrices of the blocks with adamw for the rest, or adamw for all."""
    lr: float = 4e-3
    """Peak learning rate; Muon's updates are scaled to the size of AdamW's, so it means the same for both."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices, times the learning rate; embeddings, norms and biases have none."""
    beta1: float = 0.9
    """AdamW's average of gradients."""
    beta2: float = 0.95
    """AdamW's average of squared gradients."""
    epsilon: float = 1e-8
    """AdamW's floor under the root."""
    embedding_scale: float = 1.0
    """The embedding's learning rate, as a multiple of the others'."""
    momentum: float = 0.95
    """Muon's Nesterov momentum."""
    clip: float = 1.0
    """Largest gradient norm; 0 clips nothing."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"the learning rate must be above 0, is {self.lr}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and 0 <= self.momentum < 1):
            raise UserError("beta1, beta2 and momentum must be at least 0 and below 1")
        if self.weight_decay < 0 or self.clip < 0 or self.embedding_scale <= 0:
            raise UserError("weight_decay and clip must not be negative, and embedding_scale must be above 0")


@dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate over the run, as shares of its steps."""

    name: Literal["cosine", "stable"] = "stable"
    """cosine after the warm-up, or stable and then down (warm-up-stable-decay)."""
    warmup: float = 0.05
    """Share of the steps spent rising linearly."""
    decay: float = 0.4
    """Share of the steps spent falling linearly at the end (stable only)."""
    floor: float = 0.0
    """Where the learning rate ends, as a share of its peak."""

    def __post_init__(self) -> None:
        if not (0 <= self.warmup <= 1 and 0 <= self.decay <= 1 and self.warmup + self.decay <= 1):
            raise UserError("warmup and decay are shares of the run: between 0 and 1, together at most 1")
        if not 0 <= self.floor <= 1:
            raise UserError(f"floor is a share of the peak learning rate: between 0 and 1, is {self.floor}")


@dataclass(frozen=True)
class GuardSettings:
    """What to do about a loss or gradient that is not a number, or far above its recent past."""

    window: int = 128
    """Steps remembered."""
    start: int = 64
    """Steps seen before a spike can be told; what is not a number is told at once."""
    sigmas: float = 6.0
    """A spike is this many standard deviations above the window's mean."""
    limit: int = 10
    """Skipped steps in a row after which the run stops."""

    def __post_init__(self) -> None:
        if not 2 <= self.start <= self.window or self.sigmas <= 0 or self.limit < 1:
            raise UserError("the guard needs 2 ≤ start ≤ window, sigmas above 0 and limit at least 1")


@dataclass(frozen=True)
class Phase:
    """Steps in which only a part of the model learns; the schedule runs over them as over a run of its own."""

    learns: Literal["new rows", "embeddings", "all"]
    """The rows of new tokens; the input and output embedding; everything."""
    steps: int
    """How many."""
    first_row: int = 0
    """The first of the new rows."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.first_row < 0:
            raise UserError("a phase needs at least one step, and a first row that is not negative")


@dataclass(frozen=True)
class TrainSettings:
    """The loop's own settings; objective, data and model are given to it."""

    steps: int
    """Optimizer steps."""
    micro_batches: int = 1
    """Cut each batch into this many pieces, to save memory; the update is the same."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    guard: GuardSettings = GuardSettings()
    """What to do about NaN and spikes."""
    checkpointing: bool = False
    """Recompute each block in the backward pass, to save memory."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end only."""
    evaluate_first: bool = False
    """Evaluate before the first step too: where the model comes from is half of what it became."""
    phases: tuple[Phase, ...] = ()
    """Parts of the run, one after another, in which different parameters learn; without any, all do throughout."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.micro_batches < 1 or self.checkpoint_every < 1:
            raise UserError("steps, micro_batches and checkpoint_every must be at least 1")
        if self.evaluate_every < 0:
            raise UserError("evaluate_every must not be negative")
        if self.phases and sum(phase.steps for phase in self.phases) != self.steps:
            raise UserError("the phases must have as many steps together as the run")
