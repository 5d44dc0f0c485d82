"""What the loop can be told. Plain data: reading a recipe starts nothing, so no torch here.

Some numbers may be unset: a stage knows better what they are than a class that all stages share, and pretraining
derives them from the size of its model. The loop reads them through `OptimizerSettings.value`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from danlu.base.errors import UserError

Checkpointing = Literal["none", "selective", "full"]
Offload = Literal["none", "optimizer", "activations", "both"]
# What each optimizer reads beside lr, weight_decay, embedding_scale and clip, which all read.
READS = {
    "adamw": {"beta1", "beta2", "epsilon"},
    "muon": {"beta1", "beta2", "epsilon", "momentum"},
    "lion": {"beta1", "beta2"},
    "adafactor": set[str](),
    "adamw8bit": {"beta1", "beta2", "epsilon"},
}
UNSET = {"lr": 4e-3, "weight_decay": 0.1, "beta2": 0.95, "embedding_scale": 1.0}  # what nobody said
WARMUP = 0.05


@dataclass(frozen=True)
class OptimizerSettings:
    """How gradients become updates."""

    name: Literal["adamw", "muon", "lion", "adafactor", "adamw8bit"] = "muon"
    """adamw, lion or adafactor for all, or muon or adamw8bit for the matrices of the blocks with adamw for the rest."""
    lr: float | None = None
    """Peak learning rate; unset is the stage's own. Muon's and Adafactor's updates are as large as AdamW's."""
    weight_decay: float | None = None
    """Decoupled decay of matrices, times the learning rate; unset the stage's. Embeddings, norms, biases have none."""
    beta1: float = 0.9
    """The average of gradients (adamw, adamw8bit, lion, and what muon leaves to adamw)."""
    beta2: float | None = None
    """The average of squared gradients; Lion's of gradients (the same). Unset: the stage's."""
    epsilon: float = 1e-8
    """The floor under the root (adamw, adamw8bit, and what muon leaves to adamw)."""
    embedding_scale: float | None = None
    """The embedding's learning rate, as a multiple of the others'; unset is 8 for a new model and else 1."""
    momentum: float = 0.95
    """Nesterov momentum (muon)."""
    clip: float = 1.0
    """Largest gradient norm; 0 clips nothing."""

    def __post_init__(self) -> None:
        if self.value("lr") <= 0:
            raise UserError(f"the learning rate must be above 0, is {self.lr}")
        if not (0 <= self.beta1 < 1 and 0 <= self.value("beta2") < 1 and 0 <= self.momentum < 1):
            raise UserError("beta1, beta2 and momentum must be at least 0 and below 1")
        if self.value("weight_decay") < 0 or self.clip < 0 or self.value("embedding_scale") <= 0:
            raise UserError("weight_decay and clip must not be negative, and embedding_scale must be above 0")
        for key in sorted(READS["muon"] - READS[self.name]):
            if getattr(self, key) != type(self).__dataclass_fields__[key].default:
                readers = ", ".join(name for name, keys in READS.items() if key in keys)
                raise UserError(f"{self.name} has none; it is read by {readers}", where=f"recipe: optimizer.{key}")

    def value(self, name: str) -> float:
        """A number that may be unset, or what it then is."""
        found: float | None = getattr(self, name)
        return UNSET[name] if found is None else found

    def filled(self, **numbers: float) -> "OptimizerSettings":
        """With these numbers where none is given."""
        missing: dict[str, Any] = {name: value for name, value in numbers.items() if getattr(self, name) is None}
        return replace(self, **missing)


@dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate over the run, as shares of it."""

    name: Literal["cosine", "stable", "linear", "inverse_sqrt", "constant", "rising"] = "stable"
    """After the warm-up: cosine; stable and then down (warm-up-stable-decay); linear; inverse_sqrt; constant. rising,
    for a range test, grows from the floor to the peak by the same factor each step."""
    warmup: float | None = None
    """Share of the run spent rising linearly; unset is 0.05, or in pretraining what the model's size asks for."""
    decay: float = 0.4
    """Share of the run spent falling linearly at the end (read by stable only)."""
    floor: float = 0.0
    """Where the learning rate ends, as a share of its peak; below it inverse_sqrt never falls, and rising begins
    there."""

    def __post_init__(self) -> None:
        decay = self.decay if self.name == "stable" else 0.0
        if not (0 <= self.rise <= 1 and 0 <= self.decay <= 1 and self.rise + decay <= 1):
            raise UserError("warmup and decay are shares of the run: between 0 and 1, together at most 1")
        if not 0 <= self.floor <= 1:
            raise UserError(f"floor is a share of the peak learning rate: between 0 and 1, is {self.floor}")
        if self.name == "inverse_sqrt" and self.warmup == 0:
            raise UserError(
                "inverse_sqrt falls from where the warm-up ends, so it needs one", where="recipe: schedule.warmup"
            )
        if self.name == "constant" and self.floor:
            raise UserError("constant never falls", where="recipe: schedule.floor")
        if self.name == "rising" and (self.warmup or not self.floor):
            what = "rising is a warm-up of its own, from a floor above 0"
            raise UserError(what, where="recipe: schedule", remedy="Give schedule.floor and no schedule.warmup")

    @property
    def rise(self) -> float:
        """The share of the warm-up, given or not."""
        usual = 0.0 if self.name == "rising" else WARMUP
        return usual if self.warmup is None else self.warmup


@dataclass(frozen=True)
class GuardSettings:
    """What to do about a loss or gradient that is not a number, or far above its recent past."""

    window: int = 128
    """Steps remembered."""
    start: int = 64
    """Steps seen before a spike can be told; what is not a number is told at once."""
    sigmas: float = 6.0
    """A spike is this many standard deviations above the window's mean, of the logarithms too where all are above 0."""
    limit: int = 10
    """Skipped steps in a row after which the run stops."""
    norm: bool = True
    """Look for spikes of the gradient norm too; off, only of the loss."""

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
    """Optimizer steps; 0 where the clock ends the run."""
    seconds: float = 0.0
    """Seconds of training after which the run ends, in place of steps; evaluations are not counted."""
    micro_batches: int = 1
    """Cut each batch into this many pieces, to save memory; the update is the same."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    guard: GuardSettings = GuardSettings()
    """What to do about NaN and spikes."""
    checkpointing: Checkpointing = "none"
    """What is computed again in the backward pass, to save memory (`danlu.model.recompute`)."""
    compile: bool = False
    """Fuse the operations of each block (`danlu.model.compiling`)."""
    update_in_backward: bool = False
    """Update each parameter when its gradient arrives, to save memory (`danlu.train.in_backward`)."""
    offload: Offload = "none"
    """What a GPU leaves in the machine's memory (`danlu.train.offload`)."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end only."""
    evaluate_seconds: float = 0.0
    """Seconds of training between evaluations, where the clock ends the run."""
    evaluate_first: bool = False
    """Evaluate before the first step too: where the model comes from is half of what it became."""
    phases: tuple[Phase, ...] = ()
    """Parts of the run, one after another, in which different parameters learn; without any, all do throughout."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.seconds < 0 or bool(self.steps) == bool(self.seconds):
            raise UserError("a run must have a number of steps or of seconds, above 0, and not both")
        if self.micro_batches < 1 or self.checkpoint_every < 1:
            raise UserError("micro_batches and checkpoint_every must be at least 1")
        if self.evaluate_every < 0 or self.evaluate_seconds < 0:
            raise UserError("evaluate_every and evaluate_seconds must not be negative")
        if self.phases and self.seconds:
            raise UserError("phases are counted in steps, so the run must be too", where="recipe: seconds")
        if self.phases and sum(phase.steps for phase in self.phases) != self.steps:
            raise UserError("the phases must have as many steps together as the run")
        if self.update_in_backward:
            self._check_update_in_backward()
        if self.offload in ("activations", "both") and self.checkpointing != "none":
            what = "a block that is computed again keeps its input where offload does not reach"
            raise UserError(what, where="recipe: offload", remedy="Use --checkpointing none, or --offload optimizer")

    def _check_update_in_backward(self) -> None:
        """What needs all gradients together cannot be had without them."""
        together = (
            ("optimizer.clip", self.optimizer.clip > 0, "clipping needs the norm of all gradients", "0"),
            ("micro_batches", self.micro_batches > 1, "adding up gradients keeps them", "1"),
            ("guard.norm", self.guard.norm, "the norm is known only after the weights have moved", "False"),
            ("stages", any(p.learns == "new rows" for p in self.phases), "new rows need the whole table's", "0"),
        )
        for key, impossible, why, value in together:
            if impossible:
                raise UserError(
                    f"{why}, and update_in_backward forgets each", where=f"recipe: {key}", remedy=f"Set it to {value}"
                )

    @property
    def length(self) -> str:
        """How long the run is, for people."""
        return f"{self.steps} steps" if self.steps else f"{self.seconds:g} seconds"
