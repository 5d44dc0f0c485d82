"""Files written a piece at a time, read back by the library that defines the format."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from danlu.base.errors import from_os_error
from danlu.model.hub import INDEX, WEIGHTS
from danlu.model.stream import Dtype, Streamed, write_weights

DRAW = np.random.default_rng(0)
VALUES = {
    "b.weight": DRAW.standard_normal((7, 5)).astype(np.float32),
    "a.bias": DRAW.standard_normal(3).astype(np.float32),
    "c": np.array([[1e-40, 1 + 2**-8, 1 + 3 * 2**-8, -3.4e38]], np.float32),  # ties of bfloat16, and the extremes
}


def streamed(values: dict[str, NDArray[np.float32]], step: int = 2) -> list[Streamed]:
    """The values in chunks of ``step`` rows."""
    return [
        Streamed(name, value.shape, lambda value=value: (value[i : i + step] for i in range(0, len(value), step)))
        for name, value in values.items()
    ]


@pytest.mark.parametrize("step", [1, 2, 100])
def test_the_library_reads_what_was_written(tmp_path: Path, step: int) -> None:
    size = write_weights(tmp_path, streamed(VALUES, step), "float32")
    found = load_file(tmp_path / WEIGHTS)
    assert list(found) == sorted(VALUES)
    for name, value in VALUES.items():
        np.testing.assert_array_equal(found[name].numpy(), value)
    assert size == sum(value.nbytes for value in VALUES.values())
    with safe_open(tmp_path / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_bfloat16_rounds_as_pytorch(tmp_path: Path) -> None:
    size = write_weights(tmp_path, streamed(VALUES), "bfloat16")
    for name, value in load_file(tmp_path / WEIGHTS).items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, torch.from_numpy(VALUES[name]).bfloat16())
    assert size == sum(value.size * 2 for value in VALUES.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, dtype: Dtype) -> None:
    write_weights(tmp_path, streamed(VALUES), dtype)
    theirs = {name: torch.from_numpy(value).to(getattr(torch, dtype)) for name, value in VALUES.items()}
    save_file(theirs, tmp_path / "theirs", metadata={"format": "pt"})
    ours, other = load_file(tmp_path / WEIGHTS), load_file(tmp_path / "theirs")
    assert all(torch.equal(ours[name], other[name]) for name in other)
    assert (tmp_path / WEIGHTS).read_bytes()[:8] == (tmp_path / "theirs").read_bytes()[:8]  # as long a header


def test_shards_and_their_index(tmp_path: Path) -> None:
    values = {f"layer.{i}": np.full((4, 4), i, np.float32) for i in range(5)}
    size = write_weights(tmp_path, streamed(values), "float32", limit=128)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == size == 5 * 64
    files = sorted(set(index["weight_map"].values()))
    assert files == [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / file)[name].numpy(), values[name])
    write_weights(tmp_path, streamed(VALUES), "float32")
    assert not (tmp_path / INDEX).exists()  # else the old shards would be read


def test_a_full_disk_leaves_no_half_file(small_disk: Path) -> None:
    values = {"a": np.zeros((1000, 100), np.float32)}
    with pytest.raises(OSError) as caught:
        write_weights(small_disk, streamed(values), "float32")
    assert str(from_os_error(caught.value)).startswith(f"{small_disk / WEIGHTS}: no space left on the device")
    assert list(small_disk.iterdir()) == []
