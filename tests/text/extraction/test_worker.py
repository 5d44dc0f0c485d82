"""The process that extracts: pages that hang, crash or eat memory cost themselves, and the next is answered."""

import io
import os
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.text.document import Document, Dropped
from danlu.text.extract import Extract, _child
from danlu.text.extraction import worker
from danlu.text.extraction.worker import Child, Crash, Timeout, receive, send

BAD = """
import sys, os
from danlu.text.extraction import worker

def answer(question):
    what = question[0]
    if what == "hang":
        while True:
            pass
    if what == "sleep":
        __import__("time").sleep(60)
    if what == "die":
        os._exit(7)
    if what == "raise":
        raise ValueError("no such page")
    if what == "eat":
        return [str(len(bytearray(1 << 33)))]
    print("what a library says")
    return [what.upper()]

hello = worker.receive(sys.stdin.buffer)
worker.answer_all(answer, float(hello[0]), 1024)
"""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    """A child whose extractor does what a page tells it."""
    monkeypatch.setattr(worker, "CODE", BAD)
    return Child(("0.3",))


@given(st.lists(st.text(st.characters(), max_size=20), max_size=5))
def test_strings_arrive(strings: list[str]) -> None:
    pipe = io.BytesIO()
    send(pipe, strings)
    written = pipe.getvalue()
    assert receive(io.BytesIO(written)) == strings
    assert receive(io.BytesIO(written[:-1])) is None or not written[:-1]


def test_bad_pages_cost_themselves(child: Child) -> None:
    assert child.ask(["a"]) == ["A"]
    for what, error, said in (
        ("hang", Timeout, "SIGPROF"),
        ("die", Crash, "exit code 7"),
        ("raise", Crash, "ValueError: no such page"),
        ("eat", Crash, "MemoryError"),
    ):
        with pytest.raises(error, match=said):
            child.ask([what])
        assert child.ask(["after", what]) == ["AFTER"]
    assert child.restarts == 2  # of the four, two ended the process
    child.close()


def test_a_page_that_waits_ends_by_the_clock(child: Child) -> None:
    began = time.monotonic()
    with pytest.raises(Timeout, match="SIGALRM"):
        child.ask(["sleep"])
    assert time.monotonic() - began < 30
    child.close()


def test_a_fork_starts_a_child_of_its_own(child: Child) -> None:
    assert child.ask(["a"]) == ["A"]
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(write, child.ask(["fork"])[0].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 9) == b"FORK"
    assert child.ask(["b"]) == ["B"]
    child.close()


def test_it_ends_with_its_parent() -> None:
    code = textwrap.dedent(
        """
        from danlu.text.document import Document
        from danlu.text import extract
        step = extract.Extract()
        step(Document("<p>a", "", "", {"format": "html"}))
        print(extract._child(step.extractor, step.favour, step.seconds, step.megabytes)._process.pid)
        """
    )
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def test_the_step_drops_what_takes_too_long() -> None:
    step = Extract(seconds=0.001)
    slow = "<table><tr><td><p>word " * 60_000
    found = step(Document(slow, "", "", {"format": "html"}))
    assert isinstance(found, Dropped)
    assert found.reason == "extract_timeout"
    small = Extract(seconds=5)(Document("<title>T</title><p>some text", "", "", {"format": "html", "url": "u"}))
    assert isinstance(small, Document)
    assert (small.text, small.meta) == ("some text", {"url": "u", "title": "T"})
    _child(step.extractor, step.favour, step.seconds, step.megabytes).close()
