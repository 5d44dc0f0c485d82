"""Tags and hidden tokens learned together: the text is read once as it is, for its tags, and once with holes.

Masks are drawn anew whenever a row is dealt (`danlu.objectives.masked`), so a small set of tagged sentences still has
something new to say in each epoch. A hidden token counts ``share`` of a tagged word, and the sum of both losses is
divided by the tagged words alone, which keeps a cut batch's update what it was.
"""

from torch import Tensor, nn

from danlu.objectives.labelled import Labelled
from danlu.objectives.masked import Masked
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch


class MaskedTags:
    """The loss of tags, plus ``share`` times that of hidden tokens."""

    def __init__(self, tags: Labelled, share: float) -> None:
        self.tags, self.share, self.masked = tags, share, Masked()

    def weight(self, batch: Batch) -> float:
        """Tagged words."""
        return self.tags.weight(batch)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Both sums in one; the metrics tell them apart."""
        tags, metrics = self.tags(model, batch)
        hidden, _ = self.masked(model, batch)
        return tags + self.share * hidden, metrics | {"tag_loss": tags.detach(), "hidden_loss": hidden.detach()}
