"""The quality filter: how likely is a document to be of the good kind, says a classifier that was shown examples.

The model is what ``danlu quality`` learned from a folder of good and a folder of bad texts (`linear`). To keep the best
tenth instead of all above a threshold, let this step only write its number down (``threshold`` 0) and put a
`danlu.text.filters.top_share.TopShare` after it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from danlu.base.errors import UserError
from danlu.text.document import Document, Dropped
from danlu.text.filters import linear, trained


@lru_cache(maxsize=8)
def loaded(folder: Path, version: int) -> linear.LinearModel:
    """The model in ``folder``, read once in each process; ``version`` tells a newer one apart."""
    return linear.load(folder)


def probability(folder: Path | None, text: str) -> float:
    """That ``text`` is of the good kind, says the model in ``folder``."""
    if folder is None:
        raise UserError("no model is named", where="recipe: model", remedy="Train one with: danlu quality")
    return loaded(folder, trained.version(folder)).probability(text)


@dataclass(frozen=True)
class Quality:
    """Keep documents that a trained classifier takes for good."""

    model: Path | None = None
    """What 'danlu quality' wrote; there is none by default."""
    threshold: float = 0.5
    """Drop documents whose probability of being good is below; 0 drops none and only writes it down."""
    key: str = "quality"
    """The key of meta under which the probability is written."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        if not 0 <= self.threshold <= 1:
            raise UserError(f"must be between 0 and 1, found {self.threshold}", where="recipe: threshold")
        if not self.key:
            raise UserError("must not be empty", where="recipe: key")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with its probability, or ``low_quality``."""
        found = probability(self.model, document.text)
        if found < self.threshold:
            return Dropped("low_quality", f"{self.key} {found:.4f}")
        return replace(document, meta={**document.meta, self.key: found})
