"""Early stopping, and the weights that knew held-out data best.

A run that has learned what it can goes on to learn its examples by heart, and the loss of what is held out rises again
(Prechelt 1998). ``patience`` measurements in a row without a lower loss end the run; with a folder the weights of the
lowest are kept there, a file each time it falls, and are what the model has in the end.

A checkpoint refers to its best by name and hash, so files that one of the last two refers to stay. The loss counts as
lower by however little: a margin would be one more number to choose, and patience already forgives noise.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.files import remove, sha256, sync
from danlu.train.checkpoint import KEPT, copy_into
from danlu.train.hooks import Hook
from danlu.train.hooks.evaluation import Periodic
from danlu.train.state import Step


class Best(Hook):
    """Looks at the ``name`` of what ``watched``, which must stand before it, has measured.

    ``weights`` are what was measured, the buffers themselves; ``parameters`` are the model's, of the same names: both
    the same, but where an average is measured. ``higher`` says that more is better, as of an accuracy. What an
    evaluation before the first step found does not count.
    """

    def __init__(
        self,
        watched: Periodic,
        weights: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        *,
        patience: int = 0,
        folder: Path | None = None,
        name: str = "loss",
        higher: bool = False,
    ) -> None:
        self.watched, self.weights, self.parameters = watched, weights, parameters
        self.patience, self.folder, self.name, self.higher = patience, folder, name, higher
        self.value, self.step, self.worse = (-math.inf if higher else math.inf), 0, 0
        self._file, self._hash, self._looked = "", "", 0
        self._referred: list[str] = []

    def after_step(self, step: Step) -> None:
        """Look at what was measured after this step, if anything was."""
        if self.watched.measured == step.number:
            self._look(step.number)

    def enough(self) -> str | None:
        """After so many measurements that were no better."""
        if not self.patience or self.worse < self.patience:
            return None
        return f"the held-out {self.name} was {self.extreme}, {self.value:.4f}, after step {self.step}"

    @property
    def extreme(self) -> str:
        """What the best is among its like."""
        return "highest" if self.higher else "lowest"

    def at_end(self, step: Step) -> None:
        """The last measurement, and then the best weights."""
        if self._looked != step.number:
            self._look(step.number)
        if self.folder is not None and self._file:
            copy_into(dict(self.parameters), load_file(self.folder / self._file))

    def _look(self, number: int) -> None:
        found = [row[self.name] for row in self.watched.found if self.name in row]
        if not found or not isinstance(found[0], float):
            what = f"nothing was held out whose {self.name} could be measured"
            raise UserError(what, where="recipe: patience, keep", remedy="Hold something out, or leave both out")
        self._looked, value = number, found[0]
        if not (value > self.value if self.higher else value < self.value):  # what is not a number is no better
            self.worse += 1
            return
        self.value, self.step, self.worse = value, number, 0
        if self.folder is not None:
            self._write(self.folder, number)

    def _write(self, folder: Path, number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, temporary = f"step-{number:08d}.safetensors", folder / ".writing"
        try:
            save_file({name: value.detach().cpu().clone() for name, value in self.weights.items()}, temporary)
        except SafetensorError as error:
            raise OSError(28, f"could not write the best weights ({error})", str(temporary)) from None
        sync(temporary)
        temporary.replace(folder / self._file)
        sync(folder)
        self._hash = sha256(folder / self._file)
        for old in folder.glob("step-*.safetensors"):
            if old.name not in (self._file, *self._referred):
                remove(old)

    def state_dict(self) -> dict[str, Any]:
        """The best so far. Only checkpoints ask, so it is also noted what the last ones refer to."""
        self._referred = [*self._referred, self._file][-KEPT:]
        state = {"value": self.value, "step": self.step, "worse": self.worse, "looked": self._looked}
        return {**state, "file": self._file, "sha256": self._hash, "referred": list(self._referred)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; a `UserError` if the file of the best weights is damaged or gone."""
        self.value, self.step, self.worse = state["value"], state["step"], state["worse"]
        self._looked, self._file, self._hash = state["looked"], state["file"], state["sha256"]
        self._referred = list(state["referred"])
        if self.folder is not None and self._file:
            path = self.folder / self._file
            if not path.is_file() or sha256(path) != self._hash:
                raise UserError("is damaged or gone", where=path, remedy="Start over with --fresh")
