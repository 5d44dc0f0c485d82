"""Stop cleanly when asked to: Ctrl-C and SIGTERM end the step in hand, not the process.

The exit code is the shell's own for such an end, 128 and the signal's number: 130 or 143. A second Ctrl-C does not
wait.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Asked:
    """The number of the signal that came; 0 while none did."""

    number: int = 0


@contextmanager
def signals_noted() -> Iterator[Asked]:
    """While it is open, signals are only noted. Elsewhere than in the main thread Python gives none, and none is."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.number = number

    before = [signal.signal(number, note) for number in SIGNALS]
    try:
        yield asked
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
