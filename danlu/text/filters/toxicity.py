"""Two filters for what nobody wants a model to say: a trained classifier, and lists of words.

The classifier is the one of `danlu.text.filters.quality`, shown clean texts as good and toxic ones as bad; it judges
what is said. The lists only count words, so they act on their share: one curse in a novel is literature, one in fifty
words is not. Dropping every text that holds a listed word, as C4 did, was found to remove medicine, law and the writing
of minorities above all (Dodge et al. 2021).
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from danlu.base.errors import UserError, require
from danlu.text.document import Document, Dropped
from danlu.text.filters.quality import probability
from danlu.text.filters.toxic_words import listed
from danlu.text.units import units


@dataclass(frozen=True)
class Toxicity:
    """Drop documents that a trained classifier takes for toxic."""

    model: Path | None = None
    """What 'danlu quality' wrote when clean texts were the good and toxic ones the bad; there is none by default."""
    threshold: float = 0.5
    """Drop documents whose probability of being toxic is above; 1 drops none and only writes it down."""

    def __post_init__(self) -> None:
        """A `UserError` names the key whose value makes no sense."""
        if not 0 <= self.threshold <= 1:
            raise UserError(f"must be between 0 and 1, found {self.threshold}", where="recipe: threshold")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with its probability under ``toxicity``, or ``toxic``."""
        found = 1 - probability(self.model, document.text)
        if found > self.threshold:
            return Dropped("toxic", f"toxicity {found:.4f}")
        return replace(document, meta={**document.meta, "toxicity": found})


@dataclass(frozen=True)
class ToxicWords:
    """Drop documents in which listed words are more than a few."""

    files: tuple[Path, ...] = ()
    """Text files with one word a line; [name] begins a category, # a comment, ! an exception."""
    own_list: bool = True
    """Look for Danlu's own small list too (English and Chinese)."""
    max_share: float = 0.01
    """Drop documents in which more than this share of the words (Chinese: characters) is listed..."""
    least: int = 2
    """... if at least so many listed words or phrases were met."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("files", self.own_list or bool(self.files), "must name a file where own_list is off"),
            ("max_share", 0 <= self.max_share <= 1, "must be between 0 and 1"),
            ("least", self.least >= 1, "must be at least 1"),
        )

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, with what was met under ``toxic_words`` (category → number), or ``toxic_words``."""
        found = units(document.text)
        counts: Counter[str] = Counter()
        covered = 0
        for hit in listed(self.files, self.own_list).hits(found):
            counts[hit.category] += 1
            covered += hit.size
        if not counts:
            return document
        if counts.total() >= self.least and covered > self.max_share * len(found.hashes):
            words = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
            return Dropped("toxic_words", f"{words} in {len(found.hashes)} words")
        return replace(document, meta={**document.meta, "toxic_words": dict(sorted(counts.items()))})
