"""A real HTTP server that speaks the OpenAI protocol; what it says is a function of the request."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = str | tuple[int, Any] | tuple[int, Any, dict[str, str]]  # a reply, or a status with a body and headers


@dataclass
class Server:
    """Where it listens and what it was asked; ``say`` may be changed while it runs."""

    say: Callable[[dict[str, Any]], Said]
    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    flying: int = 0
    most_flying: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def prompts(self) -> list[str]:
        """What was asked, in the order of arrival."""
        return [body["messages"][0]["content"] if "messages" in body else body["prompt"] for body in self.asked]


def reply(text: str, finish: str = "stop", *, usage: bool = True, chat: bool = True) -> dict[str, Any]:
    """A reply's body, with seven tokens of prompt and one for each word of the answer."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    counted = {"usage": {"prompt_tokens": 7, "completion_tokens": len(text.split())}} if usage else {}
    return {"choices": [{"index": 0, "finish_reason": finish, **said}], **counted}


@contextmanager
def serving(say: Callable[[dict[str, Any]], Said]) -> Iterator[Server]:
    """A server on a free port of this machine, until the block ends."""
    server = Server(say)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.asked.append(body)
                server.headers.append(dict(self.headers))
                server.paths.append(self.path)
                server.flying += 1
                server.most_flying = max(server.most_flying, server.flying)
            said = server.say(body)
            with server.lock:
                server.flying -= 1
            if isinstance(said, str):
                said = 200, reply(said, chat="messages" in body)
            status, content, *rest = said
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            with suppress(ConnectionError):  # the client may have gone
                self._answer(status, raw, *rest)

        def _answer(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
