"""A document, and what a step may do with one: hand it on, changed or not, or drop it for a stated reason.

Everything in this room is a `Step`. A reason is a short fixed word (``too_short``), because it becomes a counter,
a column of the report and what the tests assert.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
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
# Turns: {"role": "system" | "user" | "assistant" | "tool", "content": text}; an assistant's may have "tool_calls", as
# OpenAI writes them but with arguments as values and not as JSON, and "weight" 0 where its answer is not to be learned.
Chat = list[dict[str, Any]]
# What may come before a turn; None is the beginning. Tools answer an assistant, and the assistant answers them.
BEFORE = {
    "system": (None,),
    "user": (None, "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def changed(document: Document, text: str, counts: Mapping[str, int]) -> Document:
    """``document`` with a new text, and ``counts`` of what was changed added to ``meta["changes"]`` (name → number)."""
    if text == document.text:
        return document
    before: dict[str, int] = document.meta.get("changes", {})
    added = {name: before.get(name, 0) + number for name, number in counts.items() if number}
    return replace(document, text=text, meta={**document.meta, "changes": {**before, **added}})


@dataclass(frozen=True)
class Conversation:
    """What fine-tuning learns from: turns, with the tools that the assistant may call, or else a plain text.

    ``where`` names the record for an error ("chats.jsonl, line 3"); two conversations that say the same are equal.
    """

    turns: Chat = field(default_factory=list)
    tools: tuple[dict[str, Any], ...] = ()
    text: str = ""
    where: str = field(default="", compare=False)

    @property
    def question(self) -> str:
        """What it begins with: the first user's turn, or the text."""
        return self.text or str(next((turn["content"] for turn in self.turns if turn["role"] == "user"), ""))

    def record(self) -> dict[str, Any]:
        """As a line of a file that reads back as the same conversation."""
        if self.text:
            return {"text": self.text}
        return {"messages": self.turns} | ({"tools": list(self.tools)} if self.tools else {})


def misplaced(turns: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """The first turn that cannot stand where it does, by number from 1, and why; None if all can."""
    before = None
    for number, turn in enumerate(turns, 1):
        if before not in BEFORE[turn["role"]]:
            place = f"after '{before}'" if before else "first"
            return number, f"role '{turn['role']}' cannot come {place}"
        before = turn["role"]
    return None


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
