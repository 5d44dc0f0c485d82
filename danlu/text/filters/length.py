"""The length filter. Characters, not words: Chinese puts no spaces between its words."""

from dataclasses import dataclass

from danlu.base.errors import UserError
from danlu.text.document import Document, Dropped


@dataclass(frozen=True)
class Length:
    """Keep documents of ``minimum`` to ``maximum`` characters, both included."""

    minimum: int = 20
    """Shorter documents are dropped."""
    maximum: int = 10_000_000
    """Longer documents are dropped."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        if self.minimum < 1:
            raise UserError(f"must be at least 1, found {self.minimum}", where="recipe: minimum")
        if self.maximum < self.minimum:
            raise UserError(f"must not be below minimum, found {self.maximum}", where="recipe: maximum")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, ``too_short`` or ``too_long``."""
        if len(document.text) < self.minimum:
            return Dropped("too_short")
        return Dropped("too_long") if len(document.text) > self.maximum else document
