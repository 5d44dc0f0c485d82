"""What happens beside training: a hook sees each step and has a state that checkpoints keep."""

from typing import Any

from torch import Tensor

from danlu.train.state import Step


class Hook:
    """Does nothing; override what is needed."""

    def at_start(self, resumed: bool) -> None:
        """Called before the first step; ``resumed`` if a checkpoint was taken up."""

    def before_first(self) -> None:
        """Called before the first step of a run that is to be evaluated there."""

    def after_step(self, step: Step) -> None:
        """Called when a step is done or skipped."""

    def enough(self) -> str | None:
        """Asked after each step but the last: why the run is to end with it, or None."""
        return None

    def at_end(self, step: Step) -> None:
        """Called once, after the last step."""

    def tensors(self) -> dict[str, Tensor]:
        """What must survive a stop and is large: name → tensor, the buffers themselves."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
