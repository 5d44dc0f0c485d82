"""THE loop: every stage that trains, trains here.

It knows batches, an objective that returns a sum and a weight, an optimizer, and hooks. It divides once, by
the weight of the whole batch, so the update does not depend on how the batch was cut. It saves everything
that decides what comes next, and a run taken up again ends in the same bits as one that was never stopped.
Where a run has phases (`danlu.train.unfreezing`), each begins with a new optimizer, a new guard and the schedule anew.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from danlu.base.device import torch_dtype
from danlu.base.progress import Bar, bar, say
from danlu.base.seed import load_random_state, random_state
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Objective
from danlu.tokens.batches import Batch, Source
from danlu.train.checkpoint import Checkpoints, copy_into, owned, prefixed
from danlu.train.guard import Guard
from danlu.train.hooks import Hook
from danlu.train.optim import Optimizer
from danlu.train.precision import LossScaler
from danlu.train.schedule import share
from danlu.train.settings import Phase, TrainSettings
from danlu.train.state import Step, Totals
from danlu.train.unfreezing import NewRows, learner, phase_at


@dataclass
class Loop:
    """Train ``model`` on ``source`` for ``settings.steps`` steps."""

    model: Transformer
    objective: Objective
    source: Source
    settings: TrainSettings
    checkpoints: Checkpoints
    precision: str = "fp32"
    hooks: Sequence[Hook] = ()
    title: str = "training"
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        self.device = self.model.embed.weight.device
        self.model.compute_dtype = torch_dtype(self.precision)
        self.model.checkpointing = self.settings.checkpointing
        self.scaler = LossScaler.of(self.precision)
        self._begin(*phase_at(self.settings, 0))

    def _begin(self, first: int, phase: Phase) -> None:
        """What a phase starts with; ``first`` is its first step."""
        self.first, self.phase = first, phase
        self.learner = learner(self.model, phase) if self.settings.phases else self.model
        self.optimizer = Optimizer(self.learner, self.settings.optimizer, self.model.compute_dtype)
        self.guard = Guard(self.settings.guard)

    def _turn(self) -> None:
        """Go on to the next phase if this one is over: before the checkpoint, which then holds what the next needs."""
        first, phase = phase_at(self.settings, self.totals.step)
        if first != self.first:
            self._begin(first, phase)

    def run(self) -> Totals:
        """Take up the newest whole checkpoint, if there is one, and train to the end."""
        resumed = self._resume()
        for hook in self.hooks:
            hook.at_start(resumed)
        if self.settings.evaluate_first and not resumed:
            for hook in self.hooks:
                hook.before_first()
        self.model.train()
        with bar(self.title, self.settings.steps, "steps") as drawn:
            drawn.skip(self.totals.step)
            while self.totals.step < self.settings.steps:
                step = self._step(drawn)
                self._turn()
                for hook in self.hooks:
                    hook.after_step(step)
                if step.last:
                    for hook in self.hooks:
                        hook.at_end(step)
                elif step.number % self.settings.checkpoint_every == 0:
                    self.save()
        self.model.eval()
        return self.totals

    def _step(self, drawn: Bar) -> Step:
        began, number = time.perf_counter(), self.totals.step
        batch = next(self.source).to(self.device)
        loss, metrics = self._gradients(batch)
        norm = self._gradient_norm()
        reason = self._verdict(loss, norm)
        lr = self.settings.optimizer.lr * share(self.settings.schedule, number - self.first, self.phase.steps)
        if reason is None:
            self._clip(norm)
            self.optimizer.step(lr)
        self.optimizer.zero()
        seconds = time.perf_counter() - began
        self.totals.step, self.totals.tokens = number + 1, self.totals.tokens + batch.tokens
        self.totals.seconds += seconds
        name = ", ".join(batch.names[:3]) + (" …" if len(batch.names) > 3 else "")
        if reason is not None:
            self.totals.skipped += 1
            say(f"  step {number + 1} skipped: {reason} (batch {name})")
            self.guard.stop_if_hopeless(reason, name)
        drawn.advance(note=f"loss {loss:.3f}")
        totals, rate = self.totals, batch.tokens / seconds
        rest = (loss, lr, norm, rate, metrics, reason, name)
        learns = self.phase.learns if self.settings.phases else ""
        return Step(totals.step, self.settings.steps, totals.tokens, totals.seconds, *rest, learns=learns)

    def _gradients(self, batch: Batch) -> tuple[float, dict[str, float]]:
        """Sum over micro-batches, divide once: gradients are in place, loss and metrics are means."""
        pieces = batch.split(self.settings.micro_batches)
        weight = math.fsum(self.objective.weight(piece) for piece in pieces)
        loss, metrics = 0.0, dict[str, float]()
        for piece in pieces:
            summed, parts = self.objective(self.model, piece)
            (summed * (self.scaler.scale / weight)).backward()
            loss += float(summed.detach())
            for name, value in parts.items():
                metrics[name] = metrics.get(name, 0.0) + float(value)
        if isinstance(self.learner, NewRows):
            self.learner.collect()
        return loss / weight, {name: value / weight for name, value in metrics.items()}

    def _gradient_norm(self) -> float:
        """The norm of all gradients together, after taking the loss scale out of them."""
        gradients = [p.grad for p in self.optimizer.trainable.values() if p.grad is not None]
        if self.scaler.scale != 1.0:
            torch._foreach_mul_(gradients, 1.0 / self.scaler.scale)
        norms = torch._foreach_norm(gradients)
        return float(torch.stack([norm.double() for norm in norms]).norm())

    def _verdict(self, loss: float, norm: float) -> str | None:
        """Why this step must be skipped, or None. An fp16 overflow is everyday business, not the guard's."""
        overflow = self.scaler.moving and not math.isfinite(norm) and math.isfinite(loss)
        self.scaler.update(not overflow)
        if overflow:
            return f"fp16 overflow, loss scale now {self.scaler.scale:g}"
        return self.guard.verdict(loss, norm)

    def _clip(self, norm: float) -> None:
        limit = self.settings.optimizer.clip
        if limit and norm > limit:
            gradients = [p.grad for p in self.optimizer.trainable.values() if p.grad is not None]
            torch._foreach_mul_(gradients, limit / norm)

    def _tensors(self) -> dict[str, Tensor]:
        return prefixed("model", dict(self.optimizer.trainable)) | prefixed("optimizer", self.optimizer.state())

    def save(self) -> None:
        """Write a checkpoint of everything that decides what comes next."""
        state: dict[str, Any] = {
            "totals": dataclasses.asdict(self.totals),
            "source": self.source.state_dict(),
            "guard": self.guard.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(),
            "hooks": [hook.state_dict() for hook in self.hooks],
        }
        self.checkpoints.save(self.totals.step, self._tensors(), state)

    def _resume(self) -> bool:
        found = self.checkpoints.load()
        if found is None:
            return False
        tensors, state = found
        self.totals = Totals(**state["totals"])
        self._turn()  # tensors are those of the phase that comes
        copy_into(dict(self.optimizer.trainable), owned("model", tensors))
        copy_into(self.optimizer.state(), owned("optimizer", tensors))
        self.source.load_state_dict(state["source"])
        self.guard.load_state_dict(state["guard"])
        self.scaler.load_state_dict(state["scaler"])
        for hook, kept in zip(self.hooks, state["hooks"], strict=True):
            hook.load_state_dict(kept)
        load_random_state(state["random"])
        say(f"  {self.title}: taking up at step {self.totals.step} of {self.settings.steps}")
        return True
