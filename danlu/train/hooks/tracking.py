"""Send what is in ``metrics.jsonl`` to TensorBoard, trackio or Weights & Biases, through one interface.

The file is the truth: it is cut back to the checkpoint when a run is taken up again, and whoever draws its numbers gets
them anew from its first line. So no step is there twice, whatever the tracker can take back by itself. What was drawn
before is replaced; the server of Weights & Biases, which may have more, is only sent steps that it does not know.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import remove
from danlu.train.hooks import Hook
from danlu.train.hooks.metrics import JsonLines
from danlu.train.state import Step

PROJECT, PLACES = "danlu", ("kind", "step")
ALONE = {"auto_log_gpu": False, "auto_log_cpu": False}  # trackio's own look at the machine, every ten seconds


class Tracker(Protocol):
    """Something that draws numbers."""

    def open(self) -> None:
        """Begin with nothing."""

    def send(self, step: int, values: dict[str, float]) -> None:
        """The numbers of a step, by name."""

    def close(self) -> None:
        """Nothing more will come."""


class Tracking(Hook):
    """Sends each line of ``lines`` as it is written; must be the last of the hooks, after those that write and cut."""

    def __init__(self, lines: JsonLines, trackers: Sequence[Tracker]) -> None:
        self.lines, self.trackers, self._sent = lines, trackers, 0

    def at_start(self, resumed: bool) -> None:
        """Begin with what the file says."""
        for tracker in self.trackers:
            tracker.open()
        self._send()

    def after_step(self, step: Step) -> None:
        """What has been written since."""
        self._send()

    def at_end(self, step: Step) -> None:
        """The last measurement."""
        self._send()
        for tracker in self.trackers:
            tracker.close()

    def _send(self) -> None:
        if not self.trackers or not self.lines.path.exists():
            return
        with open(self.lines.path, "rb") as handle:
            handle.seek(self._sent)
            for line in handle:
                self._sent += len(line)
                record: dict[str, Any] = json.loads(line)
                values = numbers(record)
                for tracker in self.trackers if values else ():
                    tracker.send(int(record["step"]), values)


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """``{"kind": "train", "step": 3, "loss": 2.5}`` → ``{"train/loss": 2.5}``; a skipped step counts as 1."""
    if record["kind"] == "skip":
        return {"skip/skipped": 1.0}
    found = {key: value for key, value in record.items() if key not in PLACES and isinstance(value, int | float)}
    return {f"{record['kind']}/{key}": float(value) for key, value in found.items()}


class TensorBoard:
    """Event files in ``folder``: tensorboard --logdir FOLDER."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "track", "--track tensorboard") from None
        self._writer = SummaryWriter
        self._open: Any = None

    def open(self) -> None:
        """Begin with nothing."""
        remove(self.folder)
        self._open = self._writer(str(self.folder))

    def send(self, step: int, values: dict[str, float]) -> None:
        """One scalar a name."""
        for name, value in values.items():
            self._open.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._open.close()


class Trackio:
    """A run of the project danlu in trackio's local database: trackio show --project danlu."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            import trackio
        except ImportError:
            raise MissingExtra("trackio", "track", "--track trackio") from None
        self._trackio: Any = trackio
        self._run: Any = None

    def open(self) -> None:
        """Begin with nothing."""
        with suppress(ValueError):  # there is no such project yet
            for run in list(self._trackio.Api().runs(PROJECT)):
                if run.name == self.name:
                    run.delete()
        self._run = self._trackio.init(project=PROJECT, name=self.name, embed=False, **ALONE)

    def send(self, step: int, values: dict[str, float]) -> None:
        """All numbers of a line at once."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Write what is still waiting."""
        self._run.finish()


class WeightsAndBiases:
    """A run of the project danlu; with WANDB_MODE=offline a folder, to be sent later with wandb sync."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        try:
            import wandb
        except ImportError:
            raise MissingExtra("wandb", "track", "--track wandb") from None
        self._wandb: Any = wandb
        self._run: Any = None

    def open(self) -> None:
        """Begin with nothing here, and where the server knows the run, go on with it."""
        self._wandb.finish()  # a run that this process left open would be handed out again
        remove(self.folder / "wandb")
        known = {"project": PROJECT, "name": self.name, "id": self.name, "resume": "allow"}
        try:
            self._run = self._wandb.init(**known, dir=str(self.folder))
        except self._wandb.errors.UsageError as error:
            remedy = "Run 'wandb login' first, or set WANDB_MODE=offline"
            raise UserError(" ".join(str(error).split()), where="recipe: track wandb", remedy=remedy) from None

    def send(self, step: int, values: dict[str, float]) -> None:
        """All numbers of a line at once."""
        if step >= self._run.starting_step:
            self._run.log(values, step=step)

    def close(self) -> None:
        """Send the rest."""
        self._run.finish()


def open_trackers(names: Sequence[str], folder: Path, stage: str) -> list[Tracker]:
    """The trackers of those names for the run in ``folder``, which has the same name there each time."""
    name = f"{stage}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder / "tensorboard"),
        "trackio": lambda: Trackio(name),
        "wandb": lambda: WeightsAndBiases(folder, name),
    }
    return [makers[key]() for key in names]
