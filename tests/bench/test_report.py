"""BENCHMARKS.md is what the results say, and a ratio above 1 always means that Danlu is better."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW: dict[str, Any] = {
    "name": "speed",
    "what": "pretraining | 30M",
    "peer": "Trainer",
    "ours": 1200.0,
    "theirs": 1000.0,
    "unit": "tokens/s",
    "ratio": 1.2,
    "target": 1.3,
    "runs": 24,
    "details": {"share_of_peak": [0.61, 0.5]},
    "machine": "a machine",
    "versions": {"python": "3.11.1", "torch": "2.13.0"},
    "date": "2026-01-02",
    "command": "make bench NAME=speed",
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The modules ``common`` and ``report`` of bench/, which is a folder of scripts and no package."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    for name in ("common", "report"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import common
    import report

    return common, report


def keep(folder: Path, name: str, found: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def test_the_page_is_what_the_results_say(scripts: tuple[Any, Any]) -> None:
    _, report = scripts
    written = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert written == report.page(ROOT / "bench" / "results"), "Run: make bench NAME=report"


def test_a_miss_is_marked_and_comes_first(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    _, report = scripts
    keep(tmp_path, "speed", ROW)
    keep(tmp_path, "demo", [{**ROW, "what": "demo", "ratio": 1.5, "target": 1.0}, {**ROW, "target": None}])
    page = report.page(tmp_path)
    assert "1 of 2 aims are met." in page
    assert "- **Missed**: pretraining | 30M: 1,200 against 1,000 tokens/s (Trainer)." in page
    assert "| **1.20 ×** | **1.3 ×, MISSED** | pretraining / 30M | 1,200 | 1,000 (Trainer) | tokens/s | 24 |" in page
    assert "| **1.50 ×** | 1 ×, met | demo |" in page
    assert "| **1.20 ×** | – |" in page
    assert "share of peak 0.61, 0.5" in page
    assert "`make bench NAME=speed`, 2026-01-02, on a machine; python 3.11.1, torch 2.13.0." in page
    assert page.index("## demo") < page.index("## speed")


def test_no_result_is_a_page_too(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    _, report = scripts
    assert report.page(tmp_path).endswith("Nothing has been measured yet.\n")


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "ratio"),
    [(3.0, 2.0, "more", 1.5), (2.0, 3.0, "less", 1.5), (1.0, 2.0, "more", 0.5), (4.0, 1.0, "less", 0.25)],
)
def test_above_one_is_better(scripts: tuple[Any, Any], ours: float, theirs: float, better: str, ratio: float) -> None:
    common, _ = scripts
    assert common.Record("what", "peer", ours, theirs, "s", better).ratio == ratio


def test_sides_take_turns(scripts: tuple[Any, Any]) -> None:
    common, _ = scripts
    turns: list[str] = []

    def side(name: str) -> list[float]:
        turns.append(name)
        return [float(len(turns))]

    found = common.alternate({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=2, warm_up=1)
    assert "".join(turns) == "ababab"
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_what_is_written_is_what_the_page_shows(
    scripts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common, report = scripts
    for module in (common, report):
        monkeypatch.setattr(module, "BENCH", tmp_path)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "PAGE", tmp_path / "BENCHMARKS.md")
    monkeypatch.setattr(sys, "argv", ["bench/speed.py", "--rounds", "1"])
    common.write("speed", [common.Record("x", "peer", 2.0, 1.0, "s", "more")], peers={"peer": "9"}, quick=True)
    assert not (tmp_path / "results").exists()
    common.write("speed", [common.Record("x", "peer", 2.0, 1.0, "s", "more")], peers={"peer": "9"})
    found = json.loads((tmp_path / "results" / "speed.json").read_text(encoding="utf-8"))
    asked = [
        "name",
        "what",
        "peer",
        "ours",
        "theirs",
        "unit",
        "ratio",
        "runs",
        "machine",
        "versions",
        "date",
        "command",
    ]
    assert set(asked) <= set(found)
    assert found["command"] == 'make bench NAME=speed ARGS="--rounds 1"'
    assert found["versions"]["peer"] == "9"
    assert "| **2.00 ×** |" in (tmp_path / "BENCHMARKS.md").read_text(encoding="utf-8")
