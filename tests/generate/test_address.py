"""An OpenAI-compatible address, over real HTTP: what is sent, what is tried again, and what ends it with a sentence."""

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.generate.address import AddressModel, Connection, is_address
from danlu.generate.asking import Reply, Request
from tests.openai_server import Said, Server, reply, serving

QUICK = Connection(timeout=5, retries=2, pause=0.01)
ASKED = Request("a", "Why?", 20, 0.5, 0.9)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda body: "Because.") as started:
        yield started


def model(server: Server, how: Connection = QUICK) -> AddressModel:
    return AddressModel(server.address, "parrot", how, seed=3)


def one(server: Server, request: Request = ASKED, how: Connection = QUICK) -> Reply:
    return model(server, how).reply(request)


def then(*said: Said) -> Callable[[dict[str, Any]], Said]:
    """Say these one after another."""
    left = list(said)
    return lambda body: left.pop(0)


def test_what_is_sent_and_what_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARROT_KEY", " secret \n")
    assert one(server, how=dataclasses.replace(QUICK, key_env="PARROT_KEY")) == Reply("Because.", "stop", 7, 1)
    sent = server.asked[0]
    assert 0 <= sent.pop("seed") < 2**31
    wanted = {"max_tokens": 20, "temperature": 0.5, "top_p": 0.9}
    assert sent == {"model": "parrot", "messages": [{"role": "user", "content": "Why?"}], **wanted}
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_seeds_belong_to_requests(server: Server) -> None:
    other = dataclasses.replace(ASKED, key="b")
    for request in (ASKED, other, ASKED):
        one(server, request)
    first, second, third = (body["seed"] for body in server.asked)
    assert first == third != second
    assert "Authorization" not in server.headers[0]


def test_a_text_to_go_on_with(server: Server) -> None:
    assert one(server, dataclasses.replace(ASKED, complete=True)).text == "Because."
    assert server.paths == ["/v1/completions"]
    assert server.asked[0]["prompt"] == "Why?"
    assert "messages" not in server.asked[0]


def test_how_it_ended_and_what_it_counts(server: Server) -> None:
    server.say = then(
        (200, reply("And so", "length")),
        (200, reply("Because of it.", usage=False)),
        (200, {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}),
        (200, {"choices": [{"message": {"content": "half \ud800 a pair"}}]}),
    )
    assert one(server) == Reply("And so", "length", 7, 2)
    assert one(server) == Reply("Because of it.", "stop", 4 // 3 + 8, 14 // 3 + 1)
    assert one(server).finish == "refused"
    assert one(server).text == "half ? a pair"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    busy = status, {"error": {"message": "busy"}}
    server.say = then(busy, (200, b"<html>not yet</html>"), "Because.")
    assert one(server).text == "Because."
    server.say = then(busy, busy, busy)
    with pytest.raises(UserError, match=rf"HTTP {status}: busy \(3 tries\). What was answered is kept"):
        one(server)
    assert len(server.asked) == 6


def test_pauses_double_unless_the_server_says_how_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    far = model(server, dataclasses.replace(QUICK, retries=4, pause=2.0))
    monkeypatch.setattr(far._stop, "wait", lambda seconds: waited.append(seconds) or False)
    busy = 503, {}
    server.say = then(busy, busy, (429, {}, {"Retry-After": "7"}), (429, {}, {"Retry-After": "900"}), "Because.")
    assert far.reply(ASKED).text == "Because."
    assert waited == [2.0, 4.0, 7.0, 60.0]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b'{"choices": []}', b'{"choices": [{"message": "x"}]}', b'{"error": "overloaded"}']
)
def test_a_malformed_reply_is_named(server: Server, content: bytes) -> None:
    server.say = lambda body: (200, content)
    with pytest.raises(UserError, match=r"the reply is not that of an OpenAI-compatible server: .* \(3 tries\)"):
        one(server)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "HTTP 401: no. Name the environment variable with the key: --connection.key-env"),
        (403, "HTTP 403: no. The key may not use this model"),
        (404, "HTTP 404: no. Check --model .it mostly ends in /v1. and --model-name"),
        (302, "HTTP 302: no. Check --model"),
        (307, "HTTP 307: no. Check --model"),
    ],
)
def test_what_would_not_pass_ends_it_at_once(server: Server, status: int, message: str) -> None:
    server.say = lambda body: (status, {"error": {"message": "no"}}, {"Location": "/v1/elsewhere"})
    with pytest.raises(UserError, match=message):
        one(server)
    assert len(server.asked) == 1  # not tried again, and a redirect not followed


def test_a_prompt_that_is_refused_is_a_reply(server: Server) -> None:
    server.say = lambda body: (400, {"error": "too   long"})
    assert one(server) == Reply("", "refused", 0, 0, "HTTP 400: too long")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
    far = AddressModel(address, "parrot", QUICK, 0)
    with pytest.raises(UserError, match=rf"{address}: cannot be reached \(.*refused\). Start the server"):
        far.reach()
    with pytest.raises(UserError, match=r"no reply \(.*refused\) \(3 tries\)"):
        far.reply(ASKED)
    for wrong in ("http://", "http://host:port/v1"):
        with pytest.raises(UserError, match="is no address"):
            AddressModel(wrong, "parrot", QUICK, 0).reach()


def test_a_server_that_says_nothing(server: Server) -> None:
    server.say = lambda body: time.sleep(0.5) or "late"
    with pytest.raises(UserError, match=r"no reply \(timed out\)"):
        one(server, how=Connection(timeout=0.05, retries=0))


def test_so_many_at_a_time_and_no_more(server: Server) -> None:
    together = threading.Barrier(3, timeout=5)

    def say(body: dict[str, Any]) -> Said:
        together.wait()  # nobody is answered before three have come
        return str(body["messages"][0]["content"])

    server.say = say
    requests = [Request(f"k{n}", f"p{n}", 5, 0.0) for n in range(9)]
    far = model(server, dataclasses.replace(QUICK, concurrency=3, retries=0))
    found = {request.key: answer.text for request, answer in far.answers([request] for request in requests)}
    assert found == {f"k{n}": f"p{n}" for n in range(9)}
    assert server.most_flying == 3


def test_after_an_error_those_in_flight_are_kept_and_no_more_sent(server: Server) -> None:
    come = threading.Event()

    def say(body: dict[str, Any]) -> Said:
        if body["messages"][0]["content"] == "p0":
            return 401, {}
        come.wait(0.1)
        return "kept"

    server.say = say
    far = model(server, dataclasses.replace(QUICK, concurrency=3))
    found: list[str] = []
    answers = far.answers([Request(f"k{n}", f"p{n}", 5, 0.0)] for n in range(9))
    with pytest.raises(UserError, match="HTTP 401"):
        found.extend(answer.text for _, answer in answers)
    assert found == ["kept", "kept"]
    assert len(server.asked) == 3


def test_a_key_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Connection(key_env="PARROT_KEY")
    monkeypatch.delenv("PARROT_KEY", raising=False)
    with pytest.raises(UserError, match=r"environment variable PARROT_KEY is not set\. Put the key in it"):
        AddressModel("http://127.0.0.1:9/v1", "parrot", how, 0)
    monkeypatch.setenv("PARROT_KEY", "two\nlines")
    with pytest.raises(UserError, match="PARROT_KEY holds no key") as caught:
        AddressModel("http://127.0.0.1:9/v1", "parrot", how, 0)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"timeout": 0}, {"retries": -1}, {"pause": -1}])
def test_keys_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(given))}"):
        Connection(**given)


def test_what_is_an_address() -> None:
    assert is_address("https://host/v1")
    assert is_address("HTTP://localhost:8000")
    assert not is_address("runs/http")
