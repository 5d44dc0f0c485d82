"""SIGKILL at random moments, saves included, then the same command: the same bytes as a run that was left alone.

A few kills of the whole road here; ``make bench-kill`` deals a hundred.
"""

import random
import sys
from pathlib import Path

import pytest

from tests.killing import stages, survive, undisturbed

KILLS = {"pretrain": 2, "continued": 1, "lora": 1, "dpo": 1, "chain": 2}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every stage's command, over material that has been made."""
    return stages(tmp_path_factory.mktemp("material"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("stage", KILLS)
def test_a_killed_run_leaves_the_same_bytes(commands: dict[str, list[str]], stage: str, tmp_path: Path) -> None:
    expected, seconds = undisturbed([*commands[stage], "--out", str(tmp_path / "left-alone")], tmp_path / "left-alone")
    command = [*commands[stage], "--out", str(tmp_path / "killed")]
    found = survive(command, tmp_path / "killed", KILLS[stage], random.Random(stage), seconds)
    assert found.kills == KILLS[stage]
    assert set(found.digests) == {expected}
