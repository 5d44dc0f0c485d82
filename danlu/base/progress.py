"""Telling a person what is going on: bars with rate and time left, plain lines where there is no terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
PLAIN_EVERY_SECONDS = 10.0


def console() -> Console:
    """A console on standard error, made anew so that tests and redirections see today's streams."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """One line to the person, never parsed as markup."""
    console().print(text, markup=False, emoji=False)


class Bar:
    """Counts towards a total. ``advance`` may carry a note such as ``loss 3.21``."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self._skipped, self.note = 0.0, 0.0, ""
        self._began = self._said = time.monotonic()
        self._rich: Progress | None = None
        if console().is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn())
            times = (TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn())
            self._rich = Progress(
                *columns, *times, TextColumn("{task.fields[note]}"), console=console(), transient=False
            )
            self._task = self._rich.add_task(title, total=total, rate="", note="")
            self._rich.start()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Move on by ``amount`` units."""
        self.done += amount
        self.note = note or self.note
        if self._rich is not None:
            self._rich.update(self._task, advance=amount, rate=self._rate(), note=self.note)
        elif time.monotonic() - self._said >= PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            say(self._line())

    def skip(self, amount: float) -> None:
        """Start at ``amount``: what an earlier run did is done, but says nothing about this one's rate."""
        self.done, self._skipped = amount, amount
        if self._rich is not None:
            self._rich.update(self._task, completed=amount)

    def _rate(self) -> str:
        return f"{count((self.done - self._skipped) / max(time.monotonic() - self._began, 1e-9))} {self.unit}/s"

    def _line(self) -> str:
        left = ""
        if self.total:
            done, elapsed = self.done - self._skipped, time.monotonic() - self._began
            remaining = f", {duration(elapsed / done * max(self.total - self.done, 0))} left" if done else ""
            left = f" of {count(self.total)} ({self.done / self.total:.0%}{remaining})"
        return f"  {self.title}: {count(self.done)}{left} {self.unit}, {self._rate()} {self.note}".rstrip()

    def close(self) -> None:
        """Stop drawing."""
        if self._rich is not None:
            self._rich.stop()


@contextmanager
def bar(title: str, total: float | None, unit: str) -> Iterator[Bar]:
    """A `Bar` that is closed whatever happens."""
    drawn = Bar(title, total, unit)
    try:
        yield drawn
    finally:
        drawn.close()


def track(items: Iterable[T], title: str, total: float | None = None, unit: str = "items") -> Iterator[T]:
    """Pass ``items`` through and draw how far they are."""
    with bar(title, total, unit) as drawn:
        for item in items:
            yield item
            drawn.advance()


def count(number: float) -> str:
    """12345678 → '12.3M'."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def duration(seconds: float) -> str:
    """75 → '1 min 15 s'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def interactive() -> bool:
    """Is a person typing at the other end?"""
    return sys.stdin.isatty()
