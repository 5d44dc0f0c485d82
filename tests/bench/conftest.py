"""The scripts of bench/ as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Scripts:
    """Modules of bench/ and bench/sides, which are folders of scripts and no packages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        for folder in (ROOT / "bench" / "sides", ROOT / "bench"):
            monkeypatch.syspath_prepend(str(folder))

    def __call__(self, name: str) -> ModuleType:
        for fresh in ("common", "report", "budget", name):
            self.monkeypatch.delitem(sys.modules, fresh, raising=False)
        return importlib.import_module(name)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    return Scripts(monkeypatch)
