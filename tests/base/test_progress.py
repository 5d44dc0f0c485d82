"""Lines that say how far it is, where no terminal draws bars."""

import time

import pytest

from danlu.base import progress
from danlu.base.progress import bar, count, duration, say, track


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.25, "0.2"),
        (3, "3"),
        (3.14159, "3.1"),
        (12.7, "13"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (12_345_678, "12.3M"),
        (2.5e9, "2.5G"),
        (-45_000, "-45.0k"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3599.6, "1 h 0 min"),
        (5430, "1 h 30 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
    with bar("training", 8, "steps") as drawn:
        drawn.skip(4)
        drawn.advance(2, note="loss 3.2")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("  training: 6 of 8 (75%, ")
    assert err.endswith(" steps/s loss 3.2\n")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_lines_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(1000), "reading")) == list(range(1000))
    assert capsys.readouterr().err == ""


def test_what_was_done_before_says_nothing_about_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with bar("training", 1000, "steps") as drawn:
        drawn.skip(900)
        now += 20
        drawn.advance(10)
    assert capsys.readouterr().err == "  training: 910 of 1000 (91%, 3 min 0 s left) steps, 0.5 steps/s\n"


def test_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
    assert list(track(iter("ab"), "reading", unit="files")) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" files")[0] for line in lines] == ["  reading: 1", "  reading: 2"]


def test_text_is_text_and_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]丹[/bold] [/nothing] :fire:")
    assert capsys.readouterr().err == "[bold]丹[/bold] [/nothing] :fire:\n"


def test_nothing_done_yet_is_no_reason_to_guess(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = progress.Bar("cleaning", 4, "tasks")
    drawn._said -= 60
    drawn.advance(0, note="7 documents")
    assert capsys.readouterr().err == "  cleaning: 0 of 4 (0%) tasks, 0 tasks/s 7 documents\n"
