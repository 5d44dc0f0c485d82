"""The comparison of fine-tuning, without its peers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import Scripts


def side(losses: list[float], rate: float) -> dict[str, Any]:
    """What a side tells."""
    return {"losses": losses, "median": rate, "peak": 1e9, "parameters": 10, "seconds": [1.0, 2.0]}


def test_only_what_learned_the_same_is_compared(script: Scripts, capsys: pytest.CaptureFixture[str]) -> None:
    bench = script("sft_speed")
    log = {
        "lora": side([2.0, 1.5], 100.0),
        "lora, default": side([2.0, 1.51], 10.0),
        "lora, plain": side([2.0, 1.7], 20.0),
    }
    rates = {name: [found["median"]] * 2 for name, found in log.items()}
    found = bench.records("lora", log, rates, 2)
    assert [(row.peer, row.ratio, row.target) for row in found] == [("TRL, its default", 10.0, 10.0)]
    assert found[0].details["nats between the losses at any step, at most"] == pytest.approx(0.01)
    assert "lora, plain: its losses are up to 0.200 nats from ours" in capsys.readouterr().out


def test_tokens_that_are_learned(script: Scripts, tmp_path: Path) -> None:
    rows = script("sft_rows")
    (tmp_path / "groups.json").write_text(json.dumps([[[[1, 2, 3], [1, 0, 1]]], [[[4, 5], [0, 1]], [[6, 7], [0, 1]]]]))
    (tmp_path / "work.json").write_text(json.dumps({"groups": str(tmp_path / "groups.json")}))
    _, groups = rows.read(str(tmp_path / "work.json"))
    assert [rows.trained(group) for group in groups] == [1, 2]


def test_the_median_leaves_the_first_step_out(script: Scripts, capsys: pytest.CaptureFixture[str]) -> None:
    rows = script("sft_rows")
    times = rows.Times()
    times.ends = [0.0, 10.0, 11.0, 13.0]
    group = [([1, 2, 3], [0, 1, 1])]
    rows.tell(times, [3.0, 2.0, 1.0], [group] * 3, parameters=7)
    said = json.loads(capsys.readouterr().out)
    assert said["median"] == pytest.approx((2 + 1) / 2)
    assert said["parameters"] == 7


def test_surely_above_is_more_than_the_interval(script: Scripts) -> None:
    labels = script("labels")
    sure = labels.record("x", "y", [0.9, 0.92, 0.94], [0.8, 0.81, 0.85], sure=True)
    low, _ = sure.details["difference, 95 % interval"]
    assert low == pytest.approx(0.1 - 4.303 * 0.01 / 3**0.5)
    assert sure.ratio > sure.target > 1
    unsure = labels.record("x", "y", [0.9, 0.7, 0.94], [0.8, 0.81, 0.85], sure=True)
    assert unsure.ratio < unsure.target
    assert labels.record("x", "y", [0.9], [0.8]).target == 1.0


def test_what_is_measured_is_never_learned(script: Scripts) -> None:
    labels = script("labels")
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(200)] + [{"text": "text  1", "label": "a"}]
    sides = [labels.drawn(rows, labels.text_of, seed, 50, 20) for seed in (0, 1)]
    assert [(len(learn), len(test)) for learn, test in sides] == [(50, 20)] * 2
    assert sides[0][0] != sides[1][0]
    assert sides[0][1] == sides[1][1]
    for learn, test in sides:
        assert not {row["text"].replace(" ", "") for row in learn} & {row["text"].replace(" ", "") for row in test}
    assert [row["label"] for row in labels.few(sides[0][0], 3)] == ["a"] * 3 + ["b"] * 3
