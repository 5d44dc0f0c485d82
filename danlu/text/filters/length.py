"""The length filter. Characters, not words: Chinese puts no spaces between its words."""

from dataclasses import dataclass

from danlu.text.document import Document, Dropped


@dataclass(frozen=True)
class Length:
    """Keep documents of ``minimum`` to ``maximum`` characters, both included."""

    minimum: int
    maximum: int

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, ``too_short`` or ``too_long``."""
        if len(document.text) < self.minimum:
            return Dropped("too_short")
        return Dropped("too_long") if len(document.text) > self.maximum else document
