"""Which language a document is in, and whether it is a wanted one.

By py3langid (Lui and Baldwin 2012, retrained), with probabilities that sum to one. A document in both Chinese and
English is told by the share of its Chinese characters and is kept if either is wanted.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from danlu.base.errors import MissingExtra, UserError
from danlu.text.document import Document, Dropped

SAMPLE = 4000  # characters are enough to tell, and a novel need not be read whole
MIXED = 0.1  # of the letters in the lesser language make a document mixed
HAN = range(0x4E00, 0xA000)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise MissingExtra("py3langid", "text", "the step 'language'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@dataclass(frozen=True)
class Language:
    """Tell the language of each document, and keep the wanted ones."""

    keep: tuple[str, ...] = ()
    """ISO 639-1 codes such as en and zh; unset keeps all."""
    threshold: float = 0.65
    """The least probability, as FineWeb asks of English..."""
    thresholds: dict[str, float] = field(default_factory=lambda: {"zh": 0.692})
    """... and of single languages, as FineWeb-2 asks of Mandarin."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        for value in (self.threshold, *self.thresholds.values()):
            if not 0 <= value <= 1:
                raise UserError(f"must be between 0 and 1, found {value}", where="recipe: threshold")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with ``language``, ``language_score`` and, if it is mixed, ``language_shares``."""
        name, score = _identifier().classify(document.text[:SAMPLE])
        shares = _shares(document.text)
        name = max(shares, key=lambda language: shares[language]) if shares else name
        known: dict[str, Any] = {"language": name, "language_score": round(float(score), 4)}
        if shares:
            known["language_shares"] = shares
        wanted = not self.keep or name in self.keep or any(language in self.keep for language in shares)
        if not wanted:
            return Dropped("language", name)
        if self.keep and not shares and score < self.thresholds.get(name, self.threshold):
            return Dropped("language_uncertain", f"{name} {score:.3f}")
        return replace(document, meta={**document.meta, **known})


def _shares(text: str) -> dict[str, float]:
    """The shares of a text's Chinese characters and Latin words, where both count."""
    chinese = sum(ord(letter) in HAN for letter in text)
    words = sum(word[0].isascii() for word in text.split() if word[0].isalpha())
    total = chinese + words
    share = chinese / total if total else 0.0
    return {"zh": round(share, 4), "en": round(1 - share, 4)} if MIXED <= share <= 1 - MIXED else {}
