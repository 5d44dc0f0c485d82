"""Measure and sample while training, by functions that the recipe gives."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from danlu.base.seed import load_random_state, random_state
from danlu.model.transformer import Transformer
from danlu.train.hooks import Hook
from danlu.train.hooks.metrics import JsonLines
from danlu.train.state import Step


class Periodic(Hook):
    """Runs ``measure(model)`` every so many steps or seconds, and after the last, and writes what it returns.

    The measurement sees the model in evaluation mode and without gradients, and leaves no trace in the random
    generators, so that a run evaluates to the same bits however often it was looked at. It happens ``within`` a
    context, in which the model may have other weights. ``measured`` is the step of the latest, and ``found`` what it
    returned.
    """

    def __init__(
        self,
        model: Transformer,
        measure: Callable[[Transformer], list[dict[str, object]]],
        lines: JsonLines,
        every: int,
        kind: str,
        seconds: float = 0.0,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.model, self.measure, self.lines, self.kind = model, measure, lines, kind
        self.every, self.seconds, self.within = every, seconds, within
        self.measured: int | None = None
        self.found: list[dict[str, object]] = []

    def before_first(self) -> None:
        """Measure what the run starts from."""
        self._run(0, 0)

    def after_step(self, step: Step) -> None:
        """Measure when it is time."""
        due = self.every and step.number % self.every == 0
        if self.seconds:
            due = step.seconds // self.seconds > (step.seconds - step.took) // self.seconds
        if due and not step.last:
            self._run(step.number, step.tokens)

    def at_end(self, step: Step) -> None:
        """Measure the final weights, unless a run that ends early has just been measured."""
        if self.measured != step.number:
            self._run(step.number, step.tokens)

    def _run(self, step: int, tokens: int) -> None:
        before = random_state()
        self.model.eval()
        with torch.no_grad(), self.within():
            self.found = self.measure(self.model)
        for record in self.found:
            self.lines.write({"kind": self.kind, "step": step, "tokens": tokens, **record})
        self.measured = step
        self.model.train()
        load_random_state(before)
