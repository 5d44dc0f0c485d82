"""A document, and what a step may do with one: hand it on, changed or not, or drop it for a stated reason.

Everything in this room is a `Step`. A reason is a short fixed word (``too_short``), because it becomes a counter,
a column of the report and what the tests assert.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
        return len(self.text) if self.text.isascii() else len(self.text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Dropped:
    """What a step returns for a document that goes no further; ``detail`` says what exactly was met, if it matters."""

    reason: str
    detail: str = ""


Step = Callable[[Document], Document | Dropped]
Chat = list[dict[str, str]]  # turns: {"role": "system" | "user" | "assistant", "content": text}


def changed(document: Document, text: str, counts: Mapping[str, int]) -> Document:
    """``document`` with a new text, and ``counts`` of what was changed added to ``meta["changes"]`` (name → number)."""
    if text == document.text:
        return document
    before: dict[str, int] = document.meta.get("changes", {})
    added = {name: before.get(name, 0) + number for name, number in counts.items() if number}
    return replace(document, text=text, meta={**document.meta, "changes": {**before, **added}})


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
