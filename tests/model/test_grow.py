"""Embeddings with more rows, and nothing else changed by a bit; the library that defines the format reads it back."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError, from_os_error
from danlu.model.grow import Table, Tensor, find_tables, grow, header, new_size, vocabulary
from danlu.model.hub import INDEX, WEIGHTS

OLD, USED, WIDTH = 12, 10, 4
CONFIG = {"vocab_size": OLD, "tie_word_embeddings": False}
NEW = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """A model whose other tensors are of every sort, one of them as long as the vocabulary."""
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return {
        "model.embed_tokens.weight": some(OLD, WIDTH).to(dtype),
        "lm_head.weight": some(OLD, WIDTH).to(dtype),
        "lm_head.bias": some(OLD).to(dtype),
        "model.layers.0.mlp.up_proj.weight": some(OLD, WIDTH).half(),
        "model.norm.weight": some(WIDTH),
        "steps": torch.tensor(7),
        "nan": torch.tensor([float("nan"), -0.0]).bfloat16(),
        "empty": torch.zeros(0, 3),
    }


def save(values: dict[str, torch.Tensor], path: Path) -> Path:
    path.mkdir(exist_ok=True)
    save_file(values, path / WEIGHTS, metadata={"format": "pt", "note": "kept"})
    return path


def grown(path: Path, out: Path, rows: int = 20, used: int = USED, config: Any = CONFIG, new: Any = NEW) -> int:
    out.mkdir(exist_ok=True)

    def fill(tensor: Tensor) -> Any:
        return new if len(tensor.shape) == 2 else new[:, 0]

    return grow(path, out, find_tables(path, config), rows, used, fill)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """To the bit, so that NaN and minus zero count."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def bits(value: torch.Tensor) -> torch.Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_new_rows_stand_after_those_in_use_and_nothing_else_changes(tmp_path: Path, dtype: torch.dtype) -> None:
    values = tensors(dtype)
    size = grown(save(values, tmp_path / "old"), tmp_path / "new")
    found = load_file(tmp_path / "new" / WEIGHTS)
    assert set(found) == set(values)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old, new = values[name], found[name]
        assert new.shape == (20, WIDTH)
        assert same(new[:USED], old[:USED])
        assert same(new[USED : USED + 3], torch.from_numpy(NEW).to(dtype))
        mean = old[:USED].double().mean(0)
        torch.testing.assert_close(new[USED + 3 :].double(), mean.expand(7, WIDTH), rtol=1e-2, atol=1e-2)
    assert torch.equal(found["lm_head.bias"][USED : USED + 3], torch.from_numpy(NEW[:, 0]).to(dtype))
    for name in set(values) - {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}:
        assert same(found[name], values[name]), name
    assert size == sum(value.nbytes for value in found.values())
    with safe_open(tmp_path / "new" / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "kept"}


def test_rows_beyond_the_ids_that_are_not_needed_stay(tmp_path: Path) -> None:
    values = tensors()
    grown(save(values, tmp_path / "old"), tmp_path / "new", rows=OLD, new=NEW[:1])
    found = load_file(tmp_path / "new" / WEIGHTS)["lm_head.weight"]
    assert torch.equal(found[: USED + 1], torch.cat([values["lm_head.weight"][:USED], torch.from_numpy(NEW[:1])]))
    assert torch.equal(found[USED + 1 :], values["lm_head.weight"][USED + 1 :])


def test_shards_keep_their_files_and_the_index_says_so(tmp_path: Path) -> None:
    values, old = tensors(), tmp_path / "old"
    old.mkdir()
    names = sorted(values)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: values[name] for name in held}, old / file)
    places = {name: file for file, held in parts.items() for name in held}
    index = {"metadata": {"total_size": 1, "total_parameters": 2, "by": "me"}, "weight_map": places}
    (old / INDEX).write_text(json.dumps(index))
    size = grown(old, tmp_path / "new")
    made = json.loads((tmp_path / "new" / INDEX).read_text())
    assert made["weight_map"] == places
    assert made["metadata"] == {"total_size": size, "by": "me"}
    for name, file in places.items():
        found = load_file(tmp_path / "new" / file)[name]
        assert len(found) == 20 if name.startswith(("lm_head", "model.embed")) else same(found, values[name])


@pytest.mark.parametrize("kept", [True, False])
def test_tied_tables(tmp_path: Path, kept: bool) -> None:
    """Some files hold the tied table under both names: then both grow, and alike."""
    values = tensors()
    values["lm_head.weight"] = values["model.embed_tokens.weight"].clone()
    if not kept:
        del values["lm_head.weight"]
    path = save(values, tmp_path / "old")
    found = find_tables(path, {"vocab_size": OLD, "tie_word_embeddings": True})
    assert found.output is None
    assert len(found.copies) == kept
    without = find_tables(path, {"vocab_size": OLD})  # a file that does not say so says it by what it holds
    assert (without.output is None) == (not kept)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("transformer.wte.weight", "lm_head.weight"),
        ("gpt_neox.embed_in.weight", "embed_out.weight"),
        ("transformer.word_embeddings.weight", "lm_head.weight"),
        ("embed.weight", "head.weight"),
        ("model.language_model.embed_tokens.weight", "lm_head.weight"),
        ("tok_embeddings.weight", "output.weight"),
    ],
)
def test_families(tmp_path: Path, source: str, output: str) -> None:
    values = {source: torch.zeros(OLD, WIDTH), output: torch.ones(OLD, WIDTH), "h.0.weight": torch.ones(OLD, WIDTH)}
    found = find_tables(save(values, tmp_path / "old"), CONFIG)
    assert found.input.name == source
    assert found.output is not None
    assert found.output.name == output


def test_a_model_of_several_parts_names_its_rows_in_the_text_part(tmp_path: Path) -> None:
    assert vocabulary({"text_config": {"vocab_size": 5}}, tmp_path) == 5
    with pytest.raises(UserError, match="names no vocab_size"):
        vocabulary({}, tmp_path)


def test_rows_come_as_float32_whatever_the_file_holds(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        value = torch.randn(9, 3).to(dtype)
        save_file({"x": torch.zeros(1), "t": value}, tmp_path / "a")
        table = Table(next(t for t in header(tmp_path / "a")[1] if t.name == "t"), 8)
        np.testing.assert_array_equal(table.rows(np.array([8, 0, 0])), value[[8, 0, 0]].float())
        np.testing.assert_array_equal(np.concatenate(list(table.chunks())), value[:8].float())


@pytest.mark.parametrize(("ids", "multiple", "rows"), [(5, 1, 12), (13, 1, 13), (13, 8, 16), (5, 64, 64), (16, 8, 16)])
def test_sizes(ids: int, multiple: int, rows: int) -> None:
    assert new_size(OLD, ids, multiple) == rows


def test_what_cannot_be_grown(tmp_path: Path) -> None:
    path = save(tensors(), tmp_path / "old")
    with pytest.raises(UserError, match=rf"config\.json says 99 ids, and model\.embed_tokens\.weight has {OLD} rows"):
        find_tables(path, CONFIG | {"vocab_size": 99})
    other = save({"table": torch.zeros(OLD, WIDTH)}, tmp_path / "other")
    with pytest.raises(UserError, match=rf"no embedding of {OLD} rows, as config\.json says, was found\. Looked for"):
        find_tables(other, CONFIG)
    save({"model.embed_tokens.weight": torch.zeros(OLD, WIDTH, dtype=torch.int8)}, tmp_path / "old")
    with pytest.raises(UserError, match=r"tensor model\.embed_tokens\.weight is I8, which cannot be extended"):
        find_tables(path, CONFIG)
    with pytest.raises(UserError, match="Give a model directory"):
        find_tables(tmp_path, CONFIG)


@pytest.mark.parametrize("damage", ["short", "long", "header", "gap", "huge"])
def test_damaged_files_are_named(tmp_path: Path, damage: str) -> None:
    path = save(tensors(), tmp_path / "old") / WEIGHTS
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    values = json.loads(raw[8 : 8 + length])
    values["model.norm.weight"]["data_offsets"][0] += 1
    other = json.dumps(values).encode()
    made = {
        "short": raw[:-5],
        "long": raw + b"x",
        "header": raw[:8] + b"[" + raw[9:],
        "gap": struct.pack("<Q", len(other)) + other + raw[8 + length :],
        "huge": struct.pack("<Q", 2**60) + raw[8:],
    }
    path.write_bytes(made[damage])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read as safetensors .* The file is damaged"):
        header(path)


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    values = {"model.embed_tokens.weight": torch.zeros(50_000, 64), "model.up.weight": torch.zeros(2000, 8000)}
    path = save(values, tmp_path / "old")
    del values
    grown(path, tmp_path / "new", 50_003, 50_000, {"vocab_size": 50_000}, np.zeros((3, 64), np.float32))
    tracemalloc.start()
    try:
        grown(path, tmp_path / "new", 50_003, 50_000, {"vocab_size": 50_000}, np.zeros((3, 64), np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (path / WEIGHTS).stat().st_size > 70e6
    assert peak < 12e6


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, small_disk: Path) -> None:
    path = save({"model.embed_tokens.weight": torch.zeros(OLD, 10_000)}, tmp_path / "old")
    with pytest.raises(OSError) as caught:
        grown(path, small_disk, new=np.zeros((3, 10_000), np.float32))
    assert str(from_os_error(caught.value)).startswith(f"{small_disk / WEIGHTS}: no space left on the device")
    assert list(small_disk.iterdir()) == []


def test_a_tensor_says_where_it_lies(tmp_path: Path) -> None:
    save_file({"t": torch.arange(6.0).reshape(3, 2)}, tmp_path / "a")
    found = header(tmp_path / "a")[1]
    assert found == [Tensor(tmp_path / "a", "t", "F32", (3, 2), found[0].start, 24)]
    assert (tmp_path / "a").read_bytes()[found[0].start :] == np.arange(6, dtype="<f4").tobytes()
