"""Asked to stop, a run finishes its step, writes a checkpoint, says so and ends as a shell expects; then it goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from danlu.train.settings import ScheduleSettings, TrainSettings
from danlu.train.stopping import signals_noted
from tests.train.conftest import loop
from tests.train.test_loop import weights

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys, time
from pathlib import Path
from danlu.tokens.batches import PackedBatches
from danlu.train.settings import ScheduleSettings, TrainSettings
from tests.train.conftest import items, loop

class Slow(PackedBatches):
    def __next__(self):
        if Path(sys.argv[1]).exists():
            time.sleep(0.05)
        Path(sys.argv[1]).touch()
        return super().__next__()

source = Slow(items(), batch_size=8, length=32, pad_id=31, seed=0, split=False)
schedule = ScheduleSettings(name="constant", warmup=0.0)
loop(Path(sys.argv[2]), TrainSettings(steps=4000, schedule=schedule, checkpoint_every=4000), source=source).run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    """SIGTERM here, Ctrl-C below: a process takes seconds to start. The steps wait, so it comes in the middle of one."""
    begun, folder = tmp_path / "begun", tmp_path / "checkpoints"
    command = [sys.executable, "-c", RUN, str(begun), str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    while not begun.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143, said
    (kept,) = folder.glob("step-*")
    number = int(kept.name.removeprefix("step-"))
    assert number > 0
    assert said.strip().splitlines()[-1].strip() == (
        f"training: stopped after step {number}; the same command goes on from step {number}"
    )
    schedule = ScheduleSettings(name="constant", warmup=0.0)  # any other would follow the number of steps
    settings = TrainSettings(steps=number + 1, schedule=schedule)
    resumed, whole = loop(folder, settings), loop(tmp_path / "whole", settings)
    whole.run()
    resumed.run()
    assert all(torch.equal(value, weights(resumed)[key]) for key, value in weights(whole).items())


class Raising:
    """A source that sends this process a signal with its fifth batch."""

    def __init__(self, source, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
        self.source, self.number, self.dealt = source, number, 0
        self.state_dict, self.load_state_dict = source.state_dict, source.load_state_dict

    def __next__(self):  # type: ignore[no-untyped-def]
        self.dealt += 1
        if self.dealt == 5:
            signal.raise_signal(self.number)
        return next(self.source)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, number: signal.Signals) -> None:
    settings = TrainSettings(steps=8, checkpoint_every=100)
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    whole = loop(tmp_path / "whole", settings)
    whole.run()
    stopped = loop(tmp_path / "parts", settings)
    stopped.source = Raising(stopped.source, number)
    with pytest.raises(SystemExit) as ended:
        stopped.run()
    assert ended.value.code == 128 + number
    assert stopped.checkpoints.newest() == 5
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    resumed = loop(tmp_path / "parts", settings)
    resumed.run()
    assert all(torch.equal(value, weights(resumed)[key]) for key, value in weights(whole).items())


def test_a_second_ctrl_c_does_not_wait() -> None:
    with signals_noted() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_in_another_thread_nothing_is_touched() -> None:
    found: list[int] = []

    def body() -> None:
        with signals_noted() as asked:
            found.append(asked.number)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [0]
