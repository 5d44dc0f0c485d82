"""Batches whose rows carry their number in the run, so that what is drawn for a row depends on nothing else.

Neither a stop nor how a batch is cut into micro-batches changes a row's number, so noise that is drawn by it is exact
under both (`danlu.objectives.noise`).
"""

from typing import Any

import torch

from danlu.tokens.batches import Batch, Source

ROW = "row"  # the name of the numbers among what a batch has beside ids, mask and segments


class NumberedBatches:
    """The batches of ``source`` with ``extra["row"]``, [B]: how many rows were dealt before each of theirs."""

    def __init__(self, source: Source) -> None:
        self._source, self.rows = source, 0

    def __iter__(self) -> "NumberedBatches":
        return self

    def __next__(self) -> Batch:
        batch = next(self._source)
        batch.extra[ROW] = torch.arange(self.rows, self.rows + len(batch))
        self.rows += len(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The number of the next row, and where the source stands."""
        return {"rows": self.rows, "source": self._source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._source.load_state_dict(state["source"])
        self.rows = int(state["rows"])
