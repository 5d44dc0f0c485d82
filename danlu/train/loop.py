"""THE loop: every stage that trains, trains here.

It knows batches, an objective that returns a sum and a weight, an optimizer, and hooks. It divides once, by
the weight of the whole batch, so the update does not depend on how the batch was cut. It saves everything
that decides what comes next, and a run taken up again ends in the same bits as one that was never stopped.
Where a run has phases (`danlu.train.unfreezing`), each begins with a new optimizer, a new guard and the schedule anew.
Ctrl-C and SIGTERM end it after the step in hand, with a checkpoint (`danlu.train.stopping`), and a hook may say that
enough has been learned.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base.device import peak_memory, torch_dtype
from danlu.base.errors import UserError
from danlu.base.progress import Bar, bar, count, say
from danlu.base.seed import load_random_state, random_state
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Objective, passes
from danlu.tokens.batches import Batch, Source
from danlu.train.checkpoint import Checkpoints, copy_into, owned, prefixed
from danlu.train.guard import Guard, save_batch
from danlu.train.hooks import Hook
from danlu.train.in_backward import InBackward
from danlu.train.offload import activations_on_host
from danlu.train.optim import Optimizer
from danlu.train.precision import LossScaler
from danlu.train.schedule import share, share_by_clock
from danlu.train.settings import Phase, TrainSettings
from danlu.train.state import Step, Totals
from danlu.train.stopping import Asked, signals_noted
from danlu.train.unfreezing import NewRows, learner, phase_at


@dataclass
class Loop:
    """Train ``model`` on ``source`` for as long as ``settings`` say.

    ``skipped`` is the folder for batches whose step was skipped, ``peak`` the machine's operations a second at best,
    ``ratios`` the multiples of the learning rate at which some parameters learn, by name.
    """

    model: Transformer
    objective: Objective
    source: Source
    settings: TrainSettings
    checkpoints: Checkpoints
    precision: str = "fp32"
    hooks: Sequence[Hook] = ()
    title: str = "training"
    totals: Totals = field(default_factory=Totals)
    skipped: Path | None = None
    peak: float = 0.0
    ratios: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.model.embed.weight.device
        self.scaler = LossScaler.of(self.precision)
        self._check_machine()
        self.model.compute_dtype = torch_dtype(self.precision)
        self.model.checkpointing = self.settings.checkpointing
        if self.settings.compile:
            self.model.compile_blocks()
        self.updates: InBackward | None = None
        self._begin(*phase_at(self.settings, 0))

    def _check_machine(self) -> None:
        """Refuse what makes no sense with this device or number format."""
        if self.settings.offload != "none" and self.device.type != "cuda":
            what = f"moves what a GPU holds to the machine's memory, and on {self.device.type} all is there already"
            raise UserError(what, where="recipe: offload", remedy="Leave it out")
        if self.settings.update_in_backward and self.scaler.moving:
            what = "fp16 has to see all gradients before a step, to tell an overflow, and so are forgotten"
            raise UserError(what, where="recipe: update_in_backward", remedy="Use --precision bf16 or fp32")

    def _begin(self, first: int, phase: Phase) -> None:
        """What a phase starts with; ``first`` is its first step."""
        self.first, self.phase = first, phase
        self.learner = learner(self.model, phase) if self.settings.phases else self.model
        offload = self.settings.offload in ("optimizer", "both")
        self.optimizer = Optimizer(
            self.learner, self.settings.optimizer, self.model.compute_dtype, offload, self.ratios
        )
        self.guard = Guard(self.settings.guard)
        if self.updates is not None:
            self.updates.remove()
        self.updates = InBackward(self.optimizer) if self.settings.update_in_backward else None

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
        total, unit = (self.settings.seconds, "s") if self.settings.seconds else (self.settings.steps, "steps")
        with bar(self.title, total, unit) as drawn, signals_noted() as asked:
            drawn.skip(self.totals.seconds if self.settings.seconds else self.totals.step)
            while not self._over():
                step = self._step(drawn)
                self._turn()
                for hook in self.hooks:
                    hook.after_step(step)
                step = self._unless_enough(step)
                if step.last:
                    for hook in self.hooks:
                        hook.at_end(step)
                elif asked.number or step.number % self.settings.checkpoint_every == 0:
                    self.save()
                self._stop_if_asked(asked, step)
                if step.last:
                    break
        self.model.eval()
        return self.totals

    def _over(self) -> bool:
        by_clock = self.settings.seconds
        return self.totals.seconds >= by_clock if by_clock else self.totals.step >= self.settings.steps

    def _unless_enough(self, step: Step) -> Step:
        """The step, made the last one if a hook has seen enough."""
        why = None if step.last else next((found for hook in self.hooks if (found := hook.enough())), None)
        if why is None:
            return step
        say(f"  {self.title}: ends after step {step.number} of {self.settings.length}: {why}")
        return dataclasses.replace(step, last=True)

    def _stop_if_asked(self, asked: Asked, step: Step) -> None:
        if asked.number:
            kept = self.checkpoints.newest()
            say(f"  {self.title}: stopped after step {step.number}; the same command goes on from step {kept or 0}")
            raise SystemExit(128 + asked.number)

    def _lr(self) -> float:
        """The learning rate of the step that comes."""
        settings, totals = self.settings, self.totals
        if settings.seconds:
            part = share_by_clock(settings.schedule, totals.seconds, settings.seconds)
        else:
            part = share(settings.schedule, totals.step - self.first, self.phase.steps)
        return settings.optimizer.value("lr") * part

    def _step(self, drawn: Bar) -> Step:
        began, number, lr = time.perf_counter(), self.totals.step, self._lr()
        batch = next(self.source).to(self.device)
        if self.updates is None:
            loss, metrics, _ = self._gradients(batch)
            norm = self._gradient_norm()
            reason = self._verdict(loss, norm)
            if reason is None:
                self._clip(norm)
                self.optimizer.step(lr)
        else:
            self.updates.begin(lr)
            loss, metrics, reason = self._gradients(batch)
            norm = self.updates.norm()
        self.optimizer.zero()
        took = time.perf_counter() - began
        self.totals.step, self.totals.tokens = number + 1, self.totals.tokens + batch.tokens
        self.totals.seconds += took
        name = ", ".join(batch.names[:3]) + (" …" if len(batch.names) > 3 else "")
        if reason is not None:
            self._skip(batch, reason, name)
        if not math.isfinite(norm) and reason is None:
            what = f"the gradient norm of step {number + 1} is {norm}, and the weights have moved (batch {name})"
            raise UserError(what, remedy="Lower the learning rate; the last checkpoint is from before")
        rate = batch.tokens / took
        part = rate * self.model.config.flops_per_token(batch.ids.shape[-1]) / self.peak if self.peak else 0.0
        speed = f"{count(rate)} tokens/s" + (f", {part:.0%} of peak" if part else "")
        drawn.advance(took if self.settings.seconds else 1, note=f"loss {loss:.3f}, {speed}")
        learns, memory = self.phase.learns if self.settings.phases else "", peak_memory()
        rest = (loss, lr, norm, rate, metrics, reason, name, learns, took, part, memory)
        return Step(self.totals.step, self._over(), self.totals.tokens, self.totals.seconds, *rest)

    def _skip(self, batch: Batch, reason: str, name: str) -> None:
        """Count, name and keep the batch of a step that was skipped, and stop where nothing else happens any more."""
        self.totals.skipped += 1
        step, kept = self.totals.step, ""
        if self.skipped is not None and self.guard.skipped_in_a_row:  # an fp16 overflow says nothing of the batch
            kept = f", kept as {self.skipped.name}/{save_batch(batch, self.skipped, step, reason).name}"
        say(f"  step {step} skipped: {reason} (batch {name}{kept})")
        self.guard.stop_if_hopeless(reason, name, step, self.checkpoints)

    def _gradients(self, batch: Batch) -> tuple[float, dict[str, float], str | None]:
        """Sum over micro-batches, divide once: gradients are in place, loss and metrics are means.

        Where parameters are updated in the backward pass, the guard judges before it; the third is its reason to skip.
        """
        pieces = batch.split(self.settings.micro_batches)
        weight = math.fsum(self.objective.weight(piece) for piece in pieces)
        loss, metrics, reason = 0.0, dict[str, float](), None
        away = self.settings.offload in ("activations", "both")
        for piece in pieces:
            with activations_on_host() if away else nullcontext():
                for summed, parts in passes(self.objective, self.model, piece):
                    if self.updates is not None:
                        reason = self.guard.verdict(float(summed.detach()) / weight, None)
                    if reason is None:
                        (summed * (self.scaler.scale / weight)).backward()
                    loss += float(summed.detach())
                    for name, value in parts.items():
                        metrics[name] = metrics.get(name, 0.0) + float(value)
        if isinstance(self.learner, NewRows):
            self.learner.collect()
        return loss / weight, {name: value / weight for name, value in metrics.items()}, reason

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
        own = prefixed("model", dict(self.optimizer.trainable)) | prefixed("optimizer", self.optimizer.state())
        return own | prefixed("hook", self._hook_tensors())

    def _hook_tensors(self) -> dict[str, Tensor]:
        parts = ((number, hook.tensors()) for number, hook in enumerate(self.hooks))
        return {f"{number}.{name}": value for number, values in parts for name, value in values.items()}

    def save(self) -> None:
        """Write a checkpoint of everything that decides what comes next; none while steps are being skipped."""
        if self.guard.skipped_in_a_row:
            return
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
        copy_into(self._hook_tensors(), owned("hook", tensors))
        self.source.load_state_dict(state["source"])
        self.guard.load_state_dict(state["guard"])
        self.scaler.load_state_dict(state["scaler"])
        for hook, kept in zip(self.hooks, state["hooks"], strict=True):
            hook.load_state_dict(kept)
        load_random_state(state["random"])
        say(f"  {self.title}: taking up at step {self.totals.step} of {self.settings.length}")
        return True
