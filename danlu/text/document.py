"""A document, and what a step may do with one: hand it on, changed or not, or drop it for a stated reason.

Everything in this room is a `Step`. A reason is a short fixed word (``too_short``), because it becomes a counter,
a column of the report and what the tests assert.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict


@dataclass(frozen=True)
class Document:
    """One text. ``id`` is the same on every run: the source and the record's number in it."""

    text: str
    id: str
    source: str
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The text's size in UTF-8."""
        return len(self.text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Dropped:
    """What a step returns for a document that goes no further."""

    reason: str


Step = Callable[[Document], Document | Dropped]
Chat = list[dict[str, str]]  # turns: {"role": "system" | "user" | "assistant", "content": text}


class Preference(TypedDict):
    """Two answers to one prompt, the better one named."""

    prompt: Chat
    chosen: str
    rejected: str


def fingerprint(text: str) -> bytes:
    """16 bytes that two texts share when they differ only in case and white space.

    Exact deduplication and the train/validation split both go by it, so that a copy in capitals can
    neither be counted twice nor sit on both sides of the split.
    """
    return hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8", "replace"), digest_size=16).digest()
