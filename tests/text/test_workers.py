"""Worker processes: every task once, a dead worker replaced, a hung one ended, a person's error passed on."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text.workers import Workers

DO = """
import os, sys, time
from pathlib import Path
from danlu.base.errors import UserError
from danlu.text.workers import serve
def do(hello, order):
    print("noise on standard output")
    folder, task = Path(hello["folder"]), order["task"]
    tries = folder / f"{task}.tries"
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    {body}
    (folder / f"{task}.done").write_text("")
serve(do)
"""


def work(folder: Path, body: str, *, tasks: int = 4, seconds: float = 60.0, count: int = 2) -> list[str]:
    """Have ``tasks`` done; the tries of each."""
    command = [sys.executable, "-c", DO.replace("{body}", body)]
    seen: list[int | None] = []
    state: Callable[[int], Any] = lambda task: len(list(folder.glob(f"{task}.tries")))  # noqa: E731
    with Workers(command, {"folder": str(folder)}, count) as workers:
        workers.run(
            range(tasks),
            lambda task: {"task": task},
            state=state,
            seconds=seconds,
            progress=lambda done, task: seen.append(task),
        )
    assert sorted(task for task in seen if task is not None) == list(range(tasks))
    assert len(list(folder.glob("*.done"))) == tasks
    return [(folder / f"{task}.tries").read_text() for task in range(tasks)]


def test_every_task_is_done_once(tmp_path: Path) -> None:
    assert work(tmp_path, "pass") == ["x"] * 4


def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    assert work(tmp_path, "if task == 2 and tries.read_text() == 'x': os.kill(os.getpid(), 9)") == ["x", "x", "xx", "x"]


def test_a_hung_worker_is_ended(tmp_path: Path) -> None:
    body = "if task == 1 and tries.read_text() == 'x': time.sleep(600)"
    assert work(tmp_path, body, seconds=3.0) == ["x", "xx", "x", "x"]


def test_a_task_that_ends_every_worker_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.text.workers.CRASHES_A_TASK", 2)
    with pytest.raises(UserError, match="task 0 ended 3 workers"):
        work(tmp_path, "os._exit(3)", tasks=1, count=1)


def test_a_persons_error_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^here: wrong\. Mend it$"):
        work(tmp_path, "raise UserError('wrong', where='here', remedy='Mend it')")
    with pytest.raises(UserError, match=r"no space left on the device\. Free some"):
        work(tmp_path, "raise OSError(28, 'No space left on device')")


def test_a_fault_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError"):
        work(tmp_path, "1 / 0")
