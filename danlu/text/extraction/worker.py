"""Extraction in a process of its own, which a page may hang or crash without harm to the run.

Extractors hang, in C code and in regular expressions, where a thread cannot be ended. The child is started by the first
page, answers page after page over a pipe, and before each sets two timers of the kernel: one on its own processor time
(so that a busy machine loses no page) and a later one on the clock. Either ends it in whatever code it is; the parent
sees the pipe close, asks which it was, and the next page starts another child. A child whose parent is gone reads
the end of its input and ends as well. Left out: limits on Windows, which has no such timers.
"""

import atexit
import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

COUNT = struct.Struct("<I")
PATIENCE = 4.0  # times its processor time that a page may take by the clock
CODE = "from danlu.text.extract import serve; serve()"
ENDINGS = ("SIGPROF", "SIGALRM", "SIGXCPU")  # of a process that ran out of time


class Timeout(Exception):
    """The page took longer than it may."""


class Crash(Exception):
    """The page ended its process, or its extractor raised; the message says how."""


@dataclass
class Child:
    """A process that answers lists of strings with lists of strings; ``restarts`` counts those that pages ended."""

    hello: tuple[str, ...]
    restarts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _owner: int = 0  # the process that started it
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, question: Sequence[str]) -> list[str]:
        """The answer. Raises `Timeout` or `Crash`; the next question is not affected."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                send(process.stdin, question)
                answer = receive(process.stdout)
            except BrokenPipeError:
                answer = None
            if answer is None:
                raise self._ended(process)
        if answer[0] != "":
            raise Crash(answer[0])
        return answer[1:]

    def close(self) -> None:
        """End the process, if this process started it."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written is for a child that is gone
                pipe.close()
        if self._owner == os.getpid():
            process.kill()
            process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        """The child; started if there is none, or if this process is a fork and the child its parent's."""
        if self._process is not None and self._owner != os.getpid():
            self.close()
        if self._process is None:
            # What is importable here has to be importable there, whatever put it on the path.
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            self._owner = os.getpid()
            atexit.register(self.close)
            assert self._process.stdin is not None
            send(self._process.stdin, self.hello)
        return self._process

    def _ended(self, process: "subprocess.Popen[bytes]") -> Exception:
        code = process.wait()
        self.close()
        self.restarts += 1
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Timeout(name) if name in ENDINGS else Crash(f"its process ended with {name}")


def answer_all(extractor: Callable[[Sequence[str]], Sequence[str]], seconds: float, megabytes: int) -> None:
    """What the child runs, after it has read the parent's hello: answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes the pipe
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    _limit_memory(megabytes)
    while (question := receive(stdin)) is not None:
        _set_timers(seconds)
        try:
            answer = ["", *extractor(question)]
        except Exception as error:
            answer = [f"{type(error).__name__}: {error}"[:200] or "failed"]
        _set_timers(0)
        try:
            send(stdout, answer)
        except BrokenPipeError:
            return


def _set_timers(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:
        return
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


def send(pipe: IO[bytes], strings: Sequence[str]) -> None:
    """How many strings, how long each is, the strings. Lone surrogates survive."""
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    pipe.write(COUNT.pack(len(encoded)) + b"".join(COUNT.pack(len(one)) for one in encoded))
    for one in encoded:
        pipe.write(one)
    pipe.flush()


def receive(pipe: IO[bytes]) -> list[str] | None:
    """What `send` sent, or None where the pipe ended before or in it."""
    start = pipe.read(COUNT.size)
    if len(start) < COUNT.size:
        return None
    (count,) = COUNT.unpack(start)
    head = pipe.read(COUNT.size * count)
    if len(head) < COUNT.size * count:
        return None
    parts: list[bytes] = []
    for (size,) in COUNT.iter_unpack(head):
        parts.append(pipe.read(size))
        if len(parts[-1]) < size:
            return None
    return [part.decode("utf-8", "surrogatepass") for part in parts]
