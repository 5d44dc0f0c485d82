"""The journal survives a kill in the middle of a line, the budget holds for what is in flight, and batches stay whole."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.generate.asking import Asker, Budget, Journal, Reply, Request


def request(key: str, prompt: str = "Say it.", most: int = 10) -> Request:
    return Request(key, prompt, most, 0.5)


class Echo:
    """Answers with the key: 5 tokens of prompt, 2 of reply."""

    def __init__(self, group: int = 1, ahead: int = 1) -> None:
        self.group, self.ahead = group, ahead
        self.groups: list[list[str]] = []

    def tokens(self, request: Request) -> int:
        return 5

    def answers(self, groups: Iterator[list[Request]]) -> Iterator[tuple[Request, Reply]]:
        """Pulls ``ahead`` groups before it answers, as one with several threads does."""
        while pulled := [group for _, group in zip(range(self.ahead), groups, strict=False)]:
            for group in pulled:
                self.groups.append([request.key for request in group])
            yield from ((request, Reply(request.key.upper(), "stop", 5, 2)) for group in pulled for request in group)


def texts(replies: list[Reply | None]) -> list[str | None]:
    return [reply and reply.text for reply in replies]


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert texts(Asker(Echo(), journal, Budget()).ask([request("a"), request("b")])) == ["A", "B"]
    journal.close()
    model, journal = Echo(), Journal(tmp_path / "journal.jsonl")
    asker = Asker(model, journal, Budget())
    assert texts(asker.ask([request("b"), request("c"), request("a")])) == ["B", "C", "A"]
    assert model.groups == [["c"]]
    assert (len(journal), journal.tokens, asker.asked) == (3, 21, 1)
    journal.close()


def test_a_line_cut_by_a_kill_is_asked_again_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    Asker(Echo(), journal, Budget()).ask([request("a"), request("b")])
    journal.close()
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:cut])
        model, journal = Echo(), Journal(path)
        Asker(model, journal, Budget()).ask([request("a"), request("b")])
        journal.close()
        assert model.groups == [["b"]]
        assert path.read_bytes() == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock on Windows")
def test_a_journal_has_one_run_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(UserError, match=r"journal.jsonl: another run is writing there. Wait for it"):
        Journal(tmp_path / "journal.jsonl")
    journal.close()
    Journal(tmp_path / "journal.jsonl").close()


def test_a_damaged_line_before_the_last_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"key": "a"}\n{"key": "b"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"journal.jsonl, line 1: is no journal line. Give --fresh"):
        Journal(path)


def test_a_reply_to_another_prompt_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    asker = Asker(Echo(), journal, Budget())
    asker.ask([request("a")])
    for other in (request("a", "Sing it."), request("a", most=11)):
        with pytest.raises(UserError, match="'a' was asked with another prompt"):
            asker.ask([other])
    journal.close()


def test_a_batch_that_was_written_in_part_is_asked_as_a_whole(tmp_path: Path) -> None:
    path, asked = tmp_path / "journal.jsonl", [request(key) for key in "abcde"]
    journal = Journal(path)
    Asker(Echo(group=2), journal, Budget()).ask(asked)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    model, journal = Echo(group=2), Journal(path)
    Asker(model, journal, Budget()).ask(asked)
    journal.close()
    assert model.groups == [["c", "d"], ["e"]]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize(
    ("budget", "expected", "ended"),
    [
        (Budget(requests=3), 3, "budget_requests"),
        (Budget(tokens=30), 3, "budget_tokens"),  # 7 each; the third may take 15 on top of 14, a fourth not of 21
        (Budget(tokens=14), 0, "budget_tokens"),
        (Budget(seconds=1e-9), 0, "seconds"),
        (Budget(), 5, ""),
    ],
)
def test_a_budget_ends_it(tmp_path: Path, budget: Budget, expected: int, ended: str, ahead: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    asker = Asker(Echo(ahead=ahead), journal, budget)
    replies = asker.ask([request(key) for key in "abcde"])
    if budget.tokens == 30 and ahead == 3:  # three in flight might take 45, so two are
        expected = 2
    assert [reply is not None for reply in replies] == [n < expected for n in range(5)]
    assert asker.ended == ended
    if budget.tokens:
        assert journal.tokens <= budget.tokens
    if ended:
        assert asker.ask([request("f", most=1)]) == [None]  # what has ended stays so, even where there is room
    journal.close()


class Deaf(Echo):
    """Refuses everything."""

    def answers(self, groups: Iterator[list[Request]]) -> Iterator[tuple[Request, Reply]]:
        yield from ((request, Reply("", "refused", 0, 0, "no room")) for group in groups for request in group)


def test_when_everything_is_refused_the_first_time_the_model_is_wrong(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match="every request is refused: no room"):
        Asker(Deaf(), journal, Budget()).ask([request("a")])
    journal.close()
    journal = Journal(tmp_path / "b.jsonl")
    Asker(Echo(), journal, Budget()).ask([request("a")])
    assert texts(Asker(Deaf(), journal, Budget()).ask([request("b")])) == [""]
    lines = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["finish"] for line in lines] == ["stop", "refused"]
    journal.close()
