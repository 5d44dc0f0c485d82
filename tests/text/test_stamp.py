"""A file is looked at again after a second, and not before."""

import os
from pathlib import Path

import pytest

from danlu.text import stamp


def test_changes_are_seen_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, clock = tmp_path / "file", [100.0]
    monkeypatch.setattr(stamp.time, "monotonic", lambda: clock[0])
    assert stamp.stamp(file) == 0
    file.write_text("here", encoding="utf-8")
    os.utime(file, ns=(5, 5))
    clock[0] += stamp.SECONDS / 2
    assert stamp.stamp(file) == 0
    clock[0] += stamp.SECONDS / 2
    assert stamp.stamp(file) == 5
