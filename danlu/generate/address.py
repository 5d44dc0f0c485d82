"""A model at an OpenAI-compatible address as a `danlu.generate.asking.Model`, by the standard library alone.

Requests are sent from a few threads, each as soon as one is free. What may pass by itself (no connection, a timeout,
408, 429, 5xx, a reply that is no JSON) is tried again after a pause that doubles, or as long as the server's
Retry-After asks; a refused key, a wrong address or a model that is not there end the run with a sentence; a single
prompt that the server refuses (400, 413, 422: too long, filtered) is a refused reply. Redirects are not followed, since
the key would go with them. The key comes from an environment variable and is written nowhere.
"""

import hashlib
import http.client
import json
import os
import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from danlu.base.errors import UserError, require
from danlu.base.recipe import UNCHANGING
from danlu.generate.asking import Reply, Request

RETRIED, PROMPT_REFUSED = (408, 409, 425, 429, 500, 502, 503, 504, 529), (400, 413, 422)
LONGEST_PAUSE = 60.0
LARGEST = 16_000_000  # bytes of a reply
BYTES_A_TOKEN = 3  # an estimate for prompts: four of English, and of Chinese two or three a token
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Connection:
    """How a model at an address is asked; none of it changes what is asked."""

    key_env: str = field(default="", metadata=UNCHANGING)
    """The environment variable that holds the key; without one, none is sent."""
    concurrency: int = field(default=8, metadata=UNCHANGING)
    """Requests in flight at a time."""
    timeout: float = field(default=120.0, metadata=UNCHANGING)
    """Seconds to wait for a reply."""
    retries: int = field(default=5, metadata=UNCHANGING)
    """How often a request that failed is sent again."""
    pause: float = field(default=1.0, metadata=UNCHANGING)
    """Seconds before the first retry; each further pause is twice as long, 60 at most."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("concurrency", 1 <= self.concurrency <= 256, "must be between 1 and 256"),
            ("timeout", self.timeout > 0, "must be above 0"),
            ("retries", self.retries >= 0, "must be at least 0"),
            ("pause", self.pause >= 0, "must be at least 0"),
        )


def is_address(given: str) -> bool:
    """Is it an address and not a directory?"""
    return given.lower().startswith(("http://", "https://"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A 3xx becomes an error: the key must not follow to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Again(Exception):
    """Failed in a way that may pass; ``wait`` is what the server asked for, in seconds, or None."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        self.what, self.wait = what, wait
        super().__init__(what)


class AddressModel:
    """Answers from ``address`` (``http://host:port/v1``), where the model is called ``name``."""

    group = 1

    def __init__(self, address: str, name: str, how: Connection, seed: int) -> None:
        self.address, self.name, self.how, self.seed = address.rstrip("/"), name, how, seed
        try:
            self._host = urlsplit(self.address)
            self._port = self._host.port or (443 if self._host.scheme == "https" else 80)
        except ValueError:
            raise UserError("is no address", where=address, remedy="Write it as http://host:port/v1") from None
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "danlu"}
        if how.key_env:
            self._headers["Authorization"] = f"Bearer {_key(how.key_env)}"
        own = [urllib.request.ProxyHandler({})] if self._host.hostname in HERE else []
        self._open = urllib.request.build_opener(_NoRedirect(), *own).open
        self._stop = threading.Event()

    def reach(self) -> None:
        """A `UserError` if nobody listens there, before anything is prepared. A proxy may know hosts that we do not."""
        if not self._host.hostname:
            raise UserError("is no address", where=self.address, remedy="Write it as http://host:port/v1")
        if urllib.request.getproxies() and self._host.hostname not in HERE:
            return
        try:
            socket.create_connection((self._host.hostname, self._port), timeout=min(self.how.timeout, 10)).close()
        except (OSError, ValueError) as error:
            remedy = "Start the server, or check --model"
            raise UserError(f"cannot be reached ({_reason(error)})", where=self.address, remedy=remedy) from None

    def tokens(self, request: Request) -> int:
        """An estimate, from the bytes of the prompt."""
        return len(request.prompt.encode()) // BYTES_A_TOKEN + 8

    def answers(self, groups: Iterator[list[Request]]) -> Iterator[tuple[Request, Reply]]:
        """Each request from a thread of its own, ``concurrency`` at a time.

        After an error no more are sent; the replies to those in flight are still handed on, for they have been paid.
        """
        done: queue.SimpleQueue[tuple[Request, Reply | BaseException]] = queue.SimpleQueue()
        flying, problem = 0, None
        while True:
            while problem is None and flying < self.how.concurrency and (group := next(groups, None)):
                # A daemon, so that Ctrl-C does not wait for the slowest answer.
                threading.Thread(target=self._work, args=(group[0], done), daemon=True).start()
                flying += 1
            if not flying:
                break
            request, reply = done.get()
            flying -= 1
            if isinstance(reply, BaseException):
                problem = problem or reply
                self._stop.set()
            else:
                yield request, reply
        if problem is not None:
            raise problem

    def _work(self, request: Request, done: "queue.SimpleQueue[tuple[Request, Reply | BaseException]]") -> None:
        try:
            done.put((request, self.reply(request)))
        except BaseException as error:
            done.put((request, error))

    def reply(self, request: Request) -> Reply:
        """Send one request, again where that may help; a `UserError` says why it cannot be answered."""
        for attempt in range(self.how.retries + 1):
            try:
                return self._once(request)
            except _Again as again:
                wait = self.how.pause * 2**attempt if again.wait is None else again.wait
                if attempt == self.how.retries or self._stop.wait(min(wait, LONGEST_PAUSE)):
                    tried = f"{attempt + 1} tries"
                    remedy = "What was answered is kept: the same command goes on once the server does"
                    raise UserError(f"{again.what} ({tried})", where=self.address, remedy=remedy) from None
        raise AssertionError("unreachable")

    def _once(self, request: Request) -> Reply:
        body = json.dumps(self._body(request)).encode()
        path = "completions" if request.complete else "chat/completions"
        sent = urllib.request.Request(f"{self.address}/{path}", body, self._headers)
        try:
            with self._open(sent, timeout=self.how.timeout) as answer:
                return self._parsed(answer.read(LARGEST), request)
        except urllib.error.HTTPError as error:
            with error:
                return self._failed(error)
        except (OSError, http.client.HTTPException) as error:
            raise _Again(f"no reply ({_reason(error)})") from None

    def _body(self, request: Request) -> dict[str, Any]:
        asked: dict[str, Any] = {"prompt": request.prompt}
        if not request.complete:
            asked = {"messages": [{"role": "user", "content": request.prompt}]}
        digest = hashlib.sha256(f"{self.seed}\x1f{request.key}".encode()).digest()
        return {
            "model": self.name,
            **asked,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": int.from_bytes(digest[:4], "big") >> 1,
        }

    def _parsed(self, content: bytes, request: Request) -> Reply:
        try:
            values = json.loads(content)
            choice = values["choices"][0]
            text = choice["text"] if request.complete else choice["message"]["content"]
            finish = choice.get("finish_reason")
            usage = values.get("usage") or {}
            counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            shown = " ".join(content[:80].decode("utf-8", "replace").split())
            raise _Again(f"the reply is not that of an OpenAI-compatible server: {shown!r}") from None
        text = text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
        own = (self.tokens(request), len(text.encode()) // BYTES_A_TOKEN + 1)  # where the server does not count
        prompt, new = (count if isinstance(count, int) else mine for count, mine in zip(counts, own, strict=True))
        if not text.strip() and finish == "content_filter":
            return Reply("", "refused", prompt, new, "content filter")
        return Reply(text.strip(), "length" if finish == "length" else "stop", prompt, new)

    def _failed(self, error: urllib.error.HTTPError) -> Reply:
        said = _message(error)
        if error.code in RETRIED:
            raise _Again(f"HTTP {error.code}: {said}", _seconds(error.headers.get("Retry-After")))
        if error.code in PROMPT_REFUSED:
            return Reply("", "refused", 0, 0, f"HTTP {error.code}: {said}")
        remedies = {
            401: "Name the environment variable with the key: --connection.key-env",
            403: "The key may not use this model",
            404: "Check --model (it mostly ends in /v1) and --model-name",
        }
        remedy = remedies.get(error.code, "Check --model")
        raise UserError(f"HTTP {error.code}: {said}", where=self.address, remedy=remedy) from None


def _key(name: str) -> str:
    """What the environment variable holds; a sentence about it never shows it."""
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        what = f"the environment variable {name} " + ("holds no key" if key else "is not set")
        raise UserError(what, where="recipe: connection.key_env", remedy=f"Put the key in it: export {name}=...")
    return key


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says, on one line."""
    try:
        content = error.read(LARGEST)
    except (OSError, http.client.HTTPException):
        content = b""
    try:
        said = json.loads(content)["error"]
        text = str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError):
        text = content.decode("utf-8", "replace")
    return " ".join(text.split())[:200] or str(error.reason)


def _seconds(given: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, counts as none."""
    try:
        return max(float(given), 0.0) if given else None
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "timed out"
    return " ".join(str(getattr(inner, "strerror", None) or inner).split()) or type(error).__name__
