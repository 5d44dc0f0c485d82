"""Checkpoints: whole or not there, damage named, the last two kept."""

from pathlib import Path

import pytest
import torch

from danlu.base.errors import UserError
from danlu.train.checkpoint import Checkpoints, copy_into, owned, prefixed


def saved(folder: Path, *steps: int) -> Checkpoints:
    """Checkpoints whose one tensor is the step."""
    kept = Checkpoints(folder)
    for step in steps:
        kept.save(step, {"x": torch.full((3,), float(step))}, {"note": f"step {step}"})
    return kept


def test_the_newest_comes_back_and_two_are_kept(folder: Path) -> None:
    kept = saved(folder, 1, 2, 3)
    found = kept.load()
    assert found is not None
    assert found[0]["x"].tolist() == [3.0] * 3
    assert found[1] == {"step": 3, "note": "step 3"}
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]


def test_nothing_is_none(folder: Path) -> None:
    assert Checkpoints(folder).load() is None


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "hashes.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_a_damaged_one_is_named_and_the_one_before_used(
    folder: Path, name: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = saved(folder, 1, 2)
    file = folder / "step-00000002" / name
    data = bytearray(file.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif how == "cut":
        file.write_bytes(data[:-5])
    else:
        file.unlink()
    found = kept.load()
    assert found is not None
    assert found[1]["step"] == 1
    assert "step-00000002: damaged" in capsys.readouterr().err


def test_all_damaged_is_an_error(folder: Path) -> None:
    kept = saved(folder, 1, 2)
    for path in folder.iterdir():
        (path / "hashes.json").unlink()
    with pytest.raises(UserError, match="no checkpoint is whole"):
        kept.load()


def test_a_kill_in_the_middle_of_a_save_leaves_the_others(folder: Path) -> None:
    kept = saved(folder, 1, 2)
    half = folder / ".writing"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    found = kept.load()
    assert found is not None
    assert found[1]["step"] == 2
    kept.save(3, {"x": torch.zeros(1)}, {})
    assert not half.exists()


def test_names_and_misfits() -> None:
    tensors = prefixed("model", {"a": torch.ones(2)}) | prefixed("optimizer", {"a": torch.zeros(2)})
    assert owned("model", tensors)["a"].tolist() == [1, 1]
    target = {"a": torch.zeros(2)}
    address = target["a"].data_ptr()
    copy_into(target, owned("model", tensors))
    assert target["a"].tolist() == [1, 1]
    assert target["a"].data_ptr() == address
    with pytest.raises(UserError, match="does not fit the model: b"):
        copy_into({"a": torch.zeros(2), "b": torch.zeros(1)}, owned("model", tensors))
