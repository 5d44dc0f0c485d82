"""Worker processes on this machine: each takes one task at a time, and one that dies is replaced.

A worker is a command that reads JSON lines and answers each with one: first what all tasks have in common, then a task
a line. Plain processes and pipes rather than multiprocessing, which would import the caller's main module anew.
"""

import contextlib
import json
import selectors
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from danlu.base.errors import UserError, from_os_error

POLL_SECONDS = 0.5
CRASHES_A_TASK = 40  # each costs a document after two; a task with more is not a matter of documents


@dataclass
class _Worker:
    process: "subprocess.Popen[str]"
    task: int | None = None
    state: Any = None
    since: float = field(default_factory=time.monotonic)


class Workers:
    """``count`` processes of ``command``; use it in a ``with`` statement."""

    def __init__(self, command: Sequence[str], hello: dict[str, Any], count: int) -> None:
        self._command, self._hello = list(command), hello
        self._selector = selectors.DefaultSelector()
        self._workers = [self._start() for _ in range(count)]

    def run(
        self,
        numbers: Iterable[int],
        order: Callable[[int], dict[str, Any]],
        *,
        state: Callable[[int], Any],
        seconds: float,
        progress: Callable[[int, int | None], None],
    ) -> None:
        """Have each of the tasks ``numbers`` done: ``order(task)`` is what a worker is told.

        ``state(task)`` is where a task is; one that does not change for ``seconds`` has hung, and its worker is
        ended (``None`` is never too long). ``progress(done, task)`` is called as tasks end, and now and then with
        ``None``. Raises `UserError` for what a worker says a person has to mend.
        """
        waiting, done, crashes = deque(numbers), 0, dict[int, int]()
        total = len(waiting)
        while done < total:
            for worker in self._workers:
                if worker.task is None and waiting:
                    self._give(worker, waiting.popleft(), order)
            for key, _ in self._selector.select(POLL_SECONDS):
                worker = key.data
                line = worker.process.stdout.readline() if worker.process.stdout else ""
                task, worker.task = worker.task, None
                if line.endswith("\n"):
                    self._judge(json.loads(line))
                    done += 1
                    progress(done, task)
                else:
                    self._replace(worker)
                    if task is not None:
                        crashes[task] = crashes.get(task, 0) + 1
                        if crashes[task] > CRASHES_A_TASK:
                            raise UserError(f"task {task} ended {crashes[task]} workers", remedy="Is memory short?")
                        waiting.appendleft(task)
            self._end_hung(state, seconds)
            progress(done, None)

    def _start(self) -> _Worker:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(self._command, text=True, encoding="utf-8", **pipes)  # type: ignore[call-overload]
        worker = _Worker(process)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._say(worker, self._hello)
        return worker

    def _say(self, worker: _Worker, message: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(message) + "\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; its closed output says so to the selector

    def _give(self, worker: _Worker, task: int, order: Callable[[int], dict[str, Any]]) -> None:
        worker.task, worker.state, worker.since = task, None, time.monotonic()
        self._say(worker, order(task))

    def _judge(self, answer: dict[str, Any]) -> None:
        if "problem" in answer:
            raise UserError(answer["problem"], where=answer["where"], remedy=answer["remedy"])
        if "traceback" in answer:
            raise RuntimeError(f"a worker failed:\n{answer['traceback']}")

    def _end_hung(self, state: Callable[[int], Any], seconds: float) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.task is None:
                continue
            found = state(worker.task)
            if found is None or found != worker.state:
                worker.state, worker.since = found, now
            elif now - worker.since > seconds:
                worker.process.kill()

    def _replace(self, worker: _Worker) -> None:
        self._stop(worker)
        self._workers[self._workers.index(worker)] = self._start()

    def _stop(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._stop(worker)
        self._selector.close()


def serve(do: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """What a worker process runs: ``do(hello, order)`` for every line, until its input is closed."""
    stdin, stdout = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not be taken for an answer
    hello = json.loads(stdin.readline() or "{}")
    while line := stdin.readline():
        stdout.write(json.dumps(_answer(do, hello, json.loads(line))) + "\n")
        _flush(stdout)


def _answer(
    do: Callable[[dict[str, Any], dict[str, Any]], None], hello: dict[str, Any], order: dict[str, Any]
) -> dict[str, Any]:
    try:
        do(hello, order)
    except UserError as error:
        return {"problem": error.what, "where": _place(error), "remedy": error.remedy}
    except OSError as error:
        known = from_os_error(error)
        if known is not None:
            return {"problem": known.what, "where": _place(known), "remedy": known.remedy}
        return {"traceback": traceback.format_exc()}
    except Exception:
        return {"traceback": traceback.format_exc()}
    return {}


def _place(error: UserError) -> str | None:
    return None if error.where is None else str(error.where)


def _flush(stdout: IO[str]) -> None:
    try:
        stdout.flush()
    except BrokenPipeError:
        raise SystemExit(0) from None
