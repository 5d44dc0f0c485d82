"""What a run says of itself: its share of the machine's peak, its memory, its clock, and what trackers are sent."""

import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.errors import MissingExtra
from danlu.train.hooks import Hook
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines, KeepLength, Metrics
from danlu.train.hooks.tracking import Tracking, numbers, open_trackers
from danlu.train.loop import Loop
from danlu.train.peak import known_peak, peak_flops
from danlu.train.settings import ScheduleSettings, TrainSettings
from danlu.train.state import Step
from tests.train.conftest import loop, model
from tests.train.test_loop import Stop


class Steps(Hook):
    """Remembers the steps."""

    def __init__(self) -> None:
        self.seen: list[Step] = []

    def after_step(self, step: Step) -> None:
        """Note it."""
        self.seen.append(step)


def test_the_share_of_peak_is_flops_over_peak(folder: Path) -> None:
    folder.mkdir()
    seen, lines = Steps(), JsonLines(folder / "metrics.jsonl")
    run = loop(folder, TrainSettings(steps=2), hooks=[seen, Metrics(lines)], peak=1e9)
    run.run()
    for step, line in zip(seen.seen, lines.path.read_text().splitlines(), strict=True):
        expected = run.model.config.flops_per_token(32) * step.tokens_per_second / 1e9
        assert step.peak_share == pytest.approx(expected)
        row = json.loads(line)
        assert row["peak_share"] == round(expected, 4)
        assert row["memory_bytes"] == step.memory > 50e6  # torch alone
    other = Steps()
    loop(folder / "other", TrainSettings(steps=1), hooks=[other]).run()
    assert other.seen[0].peak_share == 0


def test_the_bar_says_how_fast(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("danlu.base.progress.PLAIN_EVERY_SECONDS", 0.0)
    loop(folder, TrainSettings(steps=2), peak=1e9).run()
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"2 of 2 .* loss \d\.\d{3}, [\d.]+[kM]? tokens/s, \d+% of peak$", line)


def test_the_peak_is_measured_without_random_numbers() -> None:
    before = torch.get_rng_state()
    assert peak_flops(torch.device("cpu"), "fp32") > 1e8
    assert torch.equal(before, torch.get_rng_state())


def test_the_peak_is_of_products_as_the_model_computes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where oneDNN is asked, a share of what MKL could do would be beyond all of it."""
    sizes = list[int]()

    def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        sizes.append(len(a))
        return a @ b.t()

    monkeypatch.setattr("danlu.train.peak.multiply", multiply)
    peak_flops(torch.device("cpu"), "fp32")
    assert len(sizes) > 3
    assert set(sizes) <= {256, 1024}


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA L40", None),
    ],
)
def test_data_sheets(name: str, tera: float | None) -> None:
    assert known_peak(name, "bf16") == (None if tera is None else pytest.approx(1e12 * tera))
    assert known_peak(name, "fp32") is None


class Clock:
    """Time that passes by a second at each look; a step looks twice."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_run_by_the_clock_ends_when_its_seconds_are_used_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.loop.time.perf_counter", Clock())
    seen, lines = Steps(), JsonLines(folder.parent / "metrics.jsonl")
    schedule = ScheduleSettings(name="linear", warmup=0.0, floor=0.1)
    settings = TrainSettings(steps=0, seconds=10, evaluate_seconds=2.5, schedule=schedule, checkpoint_every=3)
    net = model()
    measure = Periodic(net, lambda _: [{"value": 1}], lines, 0, "eval", 2.5)
    run = loop(folder, settings, model=net, hooks=[seen, measure])
    assert run.run().seconds == 10
    assert [step.lr / settings.optimizer.value("lr") for step in seen.seen] == pytest.approx(
        [1 - 0.09 * s for s in range(10)]
    )
    assert [step.last for step in seen.seen] == [False] * 9 + [True]
    assert [json.loads(line)["step"] for line in lines.path.read_text().splitlines()] == [3, 5, 8, 10]


def test_a_run_by_the_clock_goes_on_counting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.loop.time.perf_counter", Clock())
    settings = TrainSettings(steps=0, seconds=10, checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        loop(folder, settings, hooks=[Stop(8)]).run()
    seen = Steps()
    assert loop(folder, settings, hooks=[seen]).run().seconds == 10
    assert seen.seen[0].seconds == 7  # the checkpoint was that of step 6
    assert [step.number for step in seen.seen] == [7, 8, 9, 10]


def tracked(folder: Path, names: tuple[str, ...], *extra: Hook) -> Loop:
    """A run of 12 steps that sends its numbers."""
    folder.mkdir(exist_ok=True)
    lines, net = JsonLines(folder / "metrics.jsonl"), model()
    noise = Periodic(net, lambda _: [{"value": 0.5}], lines, 5, "eval")
    hooks = [
        Metrics(lines),
        noise,
        *extra,
        KeepLength(lines),
        Tracking(lines, open_trackers(names, folder, "pretrain")),
    ]
    return loop(folder / "checkpoints", TrainSettings(steps=12, checkpoint_every=3), model=net, hooks=hooks)


def stopped_and_taken_up(folder: Path, name: str) -> list[dict[str, Any]]:
    """A run that was killed at step 8, two after its checkpoint, and taken up; the rows of its metrics."""
    with pytest.raises(KeyboardInterrupt):
        tracked(folder, (name,), Stop(8)).run()
    tracked(folder, (name,), Hook()).run()
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


EACH = list(range(1, 13))


def test_tensorboard_has_each_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'danlu[track]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = stopped_and_taken_up(tmp_path / "run", "tensorboard")
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    events = EventAccumulator(str(file.parent), purge_orphaned_data=False)
    events.Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == EACH
    assert [event.value for event in losses] == pytest.approx(
        [r["loss"] for r in rows if r["kind"] == "train"], rel=1e-6
    )
    assert [event.step for event in events.Scalars("eval/value")] == [5, 10, 12]
    assert {"train/grad_norm", "train/memory_bytes", "train/lr"} <= set(events.Tags()["scalars"])


def test_trackio_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed: pip install 'danlu[track]'")
    from trackio.sqlite_storage import SQLiteStorage

    for place in ("sqlite_storage", "utils"):
        monkeypatch.setattr(f"trackio.{place}.TRACKIO_DIR", tmp_path / "trackio")
    stopped_and_taken_up(tmp_path / "run", "trackio")
    (name,) = SQLiteStorage.get_runs("danlu")
    rows = [row for row in SQLiteStorage.get_logs("danlu", name) if "train/loss" in row]
    assert [row["step"] for row in rows] == EACH


def log_records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format, in which wandb keeps a run: blocks of 32 KiB of pieces (checksum, length, kind), after 7 bytes
    that say whose file it is."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 32_768 - at % 32_768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def test_wandb_offline_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'danlu[track]'")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    stopped_and_taken_up(tmp_path / "run", "wandb")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    steps = []
    for data in log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if any("train/loss" in (item.key, *item.nested_key) for item in record.history.item):
            steps.append(record.history.step.num)
    assert steps == EACH


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("trackio", "trackio"), ("wandb", "wandb")]
)
def test_what_is_not_installed_names_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf'--track {name} needs {name}.*pip install "danlu\[track\]"'):
        open_trackers((name,), tmp_path, "pretrain")


def test_records_become_numbers_with_names() -> None:
    row = {"kind": "eval", "step": 5, "bits_per_byte": 1.5, "bits_per_byte/en": 1, "learns": "all"}
    assert numbers(row) == {"eval/bits_per_byte": 1.5, "eval/bits_per_byte/en": 1.0}
    assert numbers({"kind": "skip", "step": 3, "reason": "loss is nan", "batch": "x"}) == {"skip/skipped": 1.0}
