"""Many prompts as text → many replies as text, each written down as it comes, within a budget.

Every request has a key of its own, and a reply is appended to a journal under that key. A program that is run again
asks the same requests under the same keys and is answered from the journal as far as that goes, so a kill costs the
requests in flight and nothing else, and what follows from the replies follows again. The journal keeps a digest of
each prompt: a reply to another prompt under the same key is refused.

Who answers is a `Model`: a local one (`danlu.generate.local`) answers groups of requests as one batch, and since the
last bits of a sum depend on the company in a batch, a group that was written down in part is asked again as a whole.
"""

import hashlib
import importlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from danlu.base.errors import UserError

Finish = Literal["stop", "length", "refused"]
ASKED_AFRESH = "Give --fresh to ask everything again, or another --out"


@dataclass(frozen=True)
class Request:
    """One prompt; ``complete`` has it continued as a text instead of answered as a user's turn."""

    key: str
    prompt: str
    max_new_tokens: int
    temperature: float
    top_p: float = 1.0
    complete: bool = False

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that two requests share when they ask the same."""
        values = [self.prompt, self.max_new_tokens, self.temperature, self.top_p, self.complete]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Reply:
    """What came back. ``finish`` is ``length`` where the limit cut it, ``refused`` where there is no text for a reason
    that asking again would not change (no room for the prompt, a content filter); ``note`` says which."""

    text: str
    finish: Finish
    prompt_tokens: int
    new_tokens: int
    note: str = ""


class Model(Protocol):
    """Whoever answers."""

    group: int
    """How many requests make one question to it."""

    def tokens(self, request: Request) -> int:
        """Tokens of the request's prompt, or an estimate."""

    def answers(self, groups: Iterator[list[Request]]) -> Iterator[tuple[Request, Reply]]:
        """Pull a group when there is room for one more, and yield each reply as it comes, in any order."""


class Journal:
    """Replies by key, in a file of JSON lines that only grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replies: dict[str, tuple[str, Reply]] = {}
        self.tokens = self.answered = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `close`
        try:
            self._alone()
            self._read()
        except UserError:
            self._file.close()
            raise

    def _alone(self) -> None:
        """Two runs at one journal would ask everything twice; the system lets go of a lock when its process dies."""
        try:
            fcntl = importlib.import_module("fcntl")
        except ImportError:  # Windows has none
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "Wait for it, or choose another --out"
            raise UserError("another run is writing there", where=self.path, remedy=remedy) from None

    def _read(self) -> None:
        whole = 0
        content = self.path.read_bytes()
        for number, line in enumerate(content.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):  # a kill in the middle of it
                break
            try:
                values = json.loads(line)
                key, digest = values.pop("key"), values.pop("digest")
                self._take(key, digest, Reply(**values))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    "is no journal line", where=f"{self.path}, line {number}", remedy=ASKED_AFRESH
                ) from None
            whole += len(line)
        if whole < len(content):
            os.truncate(self.path, whole)

    def _take(self, key: str, digest: str, reply: Reply) -> None:
        self._replies[key] = digest, reply
        self.tokens += reply.prompt_tokens + reply.new_tokens
        self.answered += reply.finish != "refused"

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, request: Request) -> Reply | None:
        """The reply to this request, if there is one; a `UserError` if it was to another prompt."""
        found = self._replies.get(request.key)
        if found is None:
            return None
        if found[0] != request.digest:
            what = f"'{request.key}' was asked with another prompt, by another version of Danlu"
            raise UserError(what, where=self.path, remedy=ASKED_AFRESH)
        return found[1]

    def add(self, request: Request, reply: Reply) -> None:
        """Write a reply down; it survives a power cut from here on."""
        line = json.dumps({"key": request.key, "digest": request.digest, **vars(reply)}, ensure_ascii=False)
        self._file.write(line.encode("utf-8", "replace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(request.key, request.digest, reply)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Budget:
    """Limits on all that the journal holds, and on the seconds of one start; 0 is none."""

    tokens: int = 0
    requests: int = 0
    seconds: float = 0.0


class Asker:
    """Asks a `Model` through a `Journal` within a `Budget`. ``ended`` names the limit that was reached, or is ''."""

    def __init__(self, model: Model, journal: Journal, budget: Budget) -> None:
        self.model, self.journal, self.budget = model, journal, budget
        self.ended = ""
        self.asked = 0  # by this start
        self._deadline = time.monotonic() + budget.seconds if budget.seconds else float("inf")

    def ask(self, requests: Sequence[Request]) -> list[Reply | None]:
        """The replies in the order of the requests; None where the budget ended before.

        A `UserError` if all are refused and nothing was ever answered: then it is not one prompt that is wrong.
        """
        size = self.model.group
        groups = [list(requests[start : start + size]) for start in range(0, len(requests), size)]
        missing = [group for group in groups if any(self.journal.get(request) is None for request in group)]
        for request, reply in self.model.answers(self._allowed(missing)):
            if self.journal.get(request) is None:
                self.journal.add(request, reply)
                self.asked += 1
        replies = [self.journal.get(request) for request in requests]
        refused = [reply for reply in replies if reply is not None and reply.finish == "refused"]
        if refused and not self.journal.answered:
            raise UserError(f"every request is refused: {refused[0].note}", remedy="Check the model and the limits")
        return replies

    def _allowed(self, groups: list[list[Request]]) -> Iterator[list[Request]]:
        """The groups one by one, while the budget lasts for what is in flight as well."""
        given: list[tuple[Request, int]] = []
        for group in groups:
            given = [(request, most) for request, most in given if self.journal.get(request) is None]
            new = [request for request in group if self.journal.get(request) is None]
            added = [(request, self.model.tokens(request) + request.max_new_tokens) for request in new]
            tokens = self.journal.tokens + sum(most for _, most in given + added)
            requests = len(self.journal) + len(given) + len(added)
            if self.ended:
                return
            if self.budget.tokens and tokens > self.budget.tokens:
                self.ended = "budget_tokens"
            elif self.budget.requests and requests > self.budget.requests:
                self.ended = "budget_requests"
            elif time.monotonic() >= self._deadline:
                self.ended = "seconds"
            else:
                given += added
                yield group
