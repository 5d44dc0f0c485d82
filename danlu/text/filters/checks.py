"""What the filters of this room share: which documents one is for, thresholds, and settings that make no sense."""

from typing import Any, get_args

from danlu.base.errors import UserError, nearest
from danlu.text.document import Document, Dropped
from danlu.text.filters.words import Cutter


def concerns(language: str, document: Document) -> bool:
    """Is a filter set to ``language`` for this document? An empty one is for all."""
    return not language or document.meta.get("language") == language


def over(reason: str, value: float, most: float) -> Dropped | None:
    """Dropped if ``value`` is above ``most``; 0 switches the test off."""
    return Dropped(reason, f"{value:.4g}, at most {most:g}") if most and value > most else None


def under(reason: str, value: float, least: float) -> Dropped | None:
    """Dropped if ``value`` is below ``least``; 0 switches the test off."""
    return Dropped(reason, f"{value:.4g}, at least {least:g}") if least and value < least else None


def cutter(given: str) -> None:
    """A `UserError` unless ``given`` names a way to cut words."""
    if given not in get_args(Cutter):
        raise UserError(
            f"unknown way to cut words '{given}'", where="recipe: words", remedy=nearest(given, get_args(Cutter))
        )


def shares(settings: Any, *keys: str, most: float = 1.0) -> None:
    """A `UserError` for the first of ``keys`` that is not between 0 and ``most``."""
    for key in keys:
        if not 0 <= getattr(settings, key) <= most:
            raise UserError(f"must be between 0 and {most:g}, found {getattr(settings, key)!r}", where=f"recipe: {key}")


def at_least(settings: Any, least: float, *keys: str) -> None:
    """A `UserError` for the first of ``keys`` that is below ``least``."""
    for key in keys:
        if not getattr(settings, key) >= least:
            raise UserError(f"must be at least {least:g}, found {getattr(settings, key)!r}", where=f"recipe: {key}")


def ordered(settings: Any, low: str, high: str) -> None:
    """A `UserError` if the bound ``high`` is on (not 0) and below ``low``."""
    if 0 < getattr(settings, high) < getattr(settings, low):
        raise UserError(f"must not be below {low}, found {getattr(settings, high)!r}", where=f"recipe: {high}")


def at_most(settings: Any, key: str, most: float, what: str) -> None:
    """A `UserError` if ``key`` is above ``most``, which is ``what``."""
    if getattr(settings, key) > most:
        raise UserError(f"must not be above {what}, found {getattr(settings, key)!r}", where=f"recipe: {key}")
