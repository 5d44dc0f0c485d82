"""The container: what the `gguf` package wrote is read as it was written, and every lie in a header is a sentence."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest
from gguf_files import gguf

from danlu.base.errors import UserError
from danlu.model.gguf import Gguf, read_gguf

U8, F32, BOOL, STRING, ARRAY, U64 = 0, 6, 7, 8, 9, 10


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def entry(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    """A line of the table of tensors; ``shape`` in the file's order, the fastest first."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def raw(path: Path, keys: list[bytes], entries: list[bytes], data: int = 4096, **counts: Any) -> Path:
    """A file by hand. ``counts`` may say otherwise than what is there: tensor_count, key_count, version, magic."""
    version = counts.get("version", struct.pack("<I", 3))
    numbers = struct.pack("<QQ", counts.get("tensor_count", len(entries)), counts.get("key_count", len(keys)))
    head = counts.get("magic", b"GGUF") + version + numbers + b"".join(keys) + b"".join(entries)
    path.write_bytes(head + bytes(-len(head) % 32 + data))
    return path


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_gguf(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A file of the `gguf` package with a value of every kind, and tensors of every format."""
    draw = np.random.default_rng(0)
    values = {name: draw.standard_normal((6, 512)).astype(np.float32) for name in gguf_files.FORMATS}
    tensors = {name: (gguf_files.packed(value, name, draw), name) for name, value in values.items()}
    tensors["vector"] = (values["F32"][0], "F32")
    writer = gguf.GGUFWriter(tmp_path / "all.gguf", "llama")
    numbers = {"uint8": 200, "int8": -5, "uint16": 60_000, "int16": -300, "uint32": 2**32 - 1, "int32": -(2**31)}
    for name, number in (numbers | {"uint64": 2**63, "int64": -(2**63), "float32": 0.5, "float64": 0.1}).items():
        getattr(writer, f"add_{name}")(f"a.{name}", number)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "丹炉 🙂")
    writer.add_array("a.strings", ["", "a", "é"])
    writer.add_array("a.numbers", [3, -1, 2])
    for name, (data, form) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[form])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "all.gguf", tensors


def test_metadata_come_back_as_they_were_written(written: tuple[Path, Any]) -> None:
    file = read_gguf(written[0])
    found = {name: value for name, value in file.metadata.items() if not isinstance(value, np.ndarray)}
    wanted = {"uint8": 200, "int8": -5, "uint16": 60_000, "int16": -300, "uint32": 2**32 - 1, "int32": -(2**31)}
    wanted |= {"uint64": 2**63, "int64": -(2**63)}
    others = {"float32": 0.5, "float64": 0.1, "bool": True, "string": "丹炉 🙂", "strings": ["", "a", "é"]}
    assert found == {"general.architecture": "llama"} | {f"a.{k}": v for k, v in {**wanted, **others}.items()}
    assert found["a.bool"] is True
    assert file.metadata["a.numbers"].tolist() == [3, -1, 2]


def test_tensors_come_back_row_by_row(written: tuple[Path, dict[str, Any]]) -> None:
    path, tensors = written
    file = read_gguf(path)
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert list(file.tensors) == list(theirs) == list(tensors)
    for name, (data, form) in tensors.items():
        tensor = file.tensors[name]
        assert (tensor.start, tensor.size) == (theirs[name].data_offset, theirs[name].n_bytes)
        assert tensor.form.name == form
        wanted = gguf_files.unpacked(data.reshape(-1, data.shape[-1]), form)
        rows = len(wanted)
        found = [file.rows(tensor, start, min(start + 4, rows)) for start in range(0, rows, 4)]
        np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_versions_two_and_three_and_other_alignments(tmp_path: Path) -> None:
    for version, alignment in ((2, 32), (3, 64), (3, 8)):
        keys = [key("general.alignment", 4, struct.pack("<I", alignment))]
        path = raw(tmp_path / "a.gguf", keys, [entry("a", (2, 3))], version=struct.pack("<I", version))
        tensor = read_gguf(path).tensors["a"]
        assert (tensor.shape, tensor.start % alignment, tensor.size) == ((3, 2), 0, 24)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no GGUF file: it has 0 bytes"),
        (b"GGUF", "is no GGUF file: it has 4 bytes"),
        (b"PK\x03\x04" + bytes(100), r"is no GGUF file\. Give a file that llama\.cpp reads"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian, and only little-endian files"),
        (b"GGUF" + struct.pack("<IIII", 1, 0, 0, 0) + bytes(8), "is of GGUF version 1, and only"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "is of GGUF version 9"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    refused(tmp_path / "a.gguf", sentence)


def test_what_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "none.gguf", "no such file or directory")
    refused(tmp_path, "is not a file")


HUGE = 2**60
LIES: dict[str, tuple[list[bytes], list[bytes], dict[str, Any], str]] = {
    "keys": ([], [], {"key_count": HUGE}, "metadata keys would need .* bytes and the file has"),
    "tensors": ([], [], {"tensor_count": HUGE}, "tensors would need"),
    "a name": ([struct.pack("<Q", HUGE)], [], {}, "the name of metadata key 1 would need"),
    "a text": ([key("a", STRING, struct.pack("<Q", HUGE))], [], {}, "metadata key 'a' would need"),
    "numbers": ([key("a", ARRAY, struct.pack("<IQ", U64, HUGE))], [], {}, "metadata key 'a' would need"),
    "texts": ([key("a", ARRAY, struct.pack("<IQ", STRING, HUGE))], [], {}, "metadata key 'a' would need"),
    "rows": ([], [entry("a", (256, HUGE))], {}, r"the file ends .* bytes before tensor a \(F32\) does"),
    "an offset": ([], [entry("a", (8, 8), 2**0, 2**63)], {}, r"the file ends .* before tensor a \(F16\) does"),
    "dimensions": ([], [text("a") + struct.pack("<I", 2**31)], {}, "tensor a has 2147483648 dimensions"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_claims_too_much_costs_nothing(tmp_path: Path, lie: str) -> None:
    keys, entries, counts, sentence = LIES[lie]
    path = raw(tmp_path / "a.gguf", keys, entries, **counts)
    tracemalloc.start()
    try:
        refused(path, sentence)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


FAULTS: dict[str, tuple[list[bytes], list[bytes], str]] = {
    "a key twice": ([key("a", U8, b"1"), key("a", U8, b"2")], [], "metadata key 'a' is there twice"),
    "a tensor twice": ([], [entry("a", (8,)), entry("a", (8,), 0, 32)], r"tensor a \(F32\) is there twice"),
    "no UTF-8": ([key("a", STRING, text(b"\xff"))], [], "metadata key 'a' is not UTF-8"),
    "an unknown kind": ([key("a", 77, b"")], [], "metadata key 'a' is of an unknown kind, 77"),
    "lists in a list": ([key("a", ARRAY, struct.pack("<IQ", ARRAY, 1))], [], "metadata key 'a' is a list of kind 9"),
    "a refused type": ([], [entry("blk.0.x", (256,), 23)], r"tensor blk\.0\.x is of type IQ4_XS, .* Supported: F32, F16"),
    "two bits": ([], [entry("a", (256,), 10)], "tensor a is of type Q2_K, which is not supported"),
    "an unknown type": ([], [entry("a", (256,), 250)], "tensor a is of an unknown type, 250"),
    "half a block": ([], [entry("a", (48, 2), 3)], r"tensor a \(Q4_1\) has shape \[2, 48\], whose rows are no whole blocks of 32"),
    "no numbers": ([], [entry("a", (0, 2))], r"tensor a \(F32\) has shape \[2, 0\]"),
    "no dimensions": ([], [entry("a", ())], "tensor a has 0 dimensions"),
    "five dimensions": ([], [entry("a", (1, 1, 1, 1, 1))], "tensor a has 5 dimensions"),
    "off the grid": ([], [entry("a", (8,), 0, 33)], r"tensor a \(F32\) begins at 33, which is not on the file's grid of 32"),
    "overlap": ([], [entry("a", (16,)), entry("b", (8,), 0, 32)], r"tensor b \(F32\) lies on top of tensor a \(F32\)"),
    "alignment": ([key("general.alignment", 4, struct.pack("<I", 24))], [], "general.alignment is 24, and not a power of two"),
    "its kind": ([key("general.alignment", STRING, text("x"))], [], "general.alignment is x"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(tmp_path: Path, fault: str) -> None:
    keys, entries, sentence = FAULTS[fault]
    refused(raw(tmp_path / "a.gguf", keys, entries), sentence)


def test_a_file_cut_anywhere_is_one_sentence(tmp_path: Path) -> None:
    keys = [key("a", ARRAY, struct.pack("<IQ", STRING, 2) + text("b") + text("c")), key("f", F32, bytes(4))]
    whole = raw(tmp_path / "a.gguf", keys, [entry("t", (32, 4), 8)], data=4 * 34).read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        refused(cut, "is no GGUF file|would need|the file ends")
    cut.write_bytes(whole)
    assert list(read_gguf(cut).tensors) == ["t"]


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.gguf", [], [entry("t", (32, 4), 8)], data=4 * 34)
    file = read_gguf(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert file.rows(file.tensors["t"], 0, 3).shape == (3, 32)
    with pytest.raises(UserError, match=r"the file ends inside tensor t \(Q8_0\)"):
        file.rows(file.tensors["t"], 0, 4)


@pytest.mark.parametrize(("form", "kind"), [("F32", 0), ("F16", 1), ("Q4_0", 2), ("BF16", 30)])
def test_values_that_are_no_numbers_are_named(tmp_path: Path, form: str, kind: int) -> None:
    path = raw(tmp_path / "a.gguf", [], [entry("t", (32,), kind)])
    content = bytearray(path.read_bytes())
    start = read_gguf(path).tensors["t"].start
    content[start : start + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    file = read_gguf(path)
    with pytest.raises(UserError, match=rf"tensor t \({form}\) holds values that are not numbers"):
        file.rows(file.tensors["t"], 0, 1)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda file: file.get("none", int), r"metadata key 'none' is missing"),
        (lambda file: file.get("text", int), r"metadata key 'text' is not a whole number"),
        (lambda file: file.get("flag", int), r"metadata key 'flag' is not a whole number"),
        (lambda file: file.get("number", str), r"metadata key 'number' is not a text"),
        (lambda file: file.get("flag", float), r"metadata key 'flag' is not a number"),
        (lambda file: file.get("number", list), r"metadata key 'number' is not a list of texts"),
    ],
)
def test_a_value_is_asked_for_by_kind(tmp_path: Path, ask: Callable[[Gguf], Any], sentence: str) -> None:
    keys = [key("text", STRING, text("x")), key("flag", BOOL, b"\1"), key("number", 4, struct.pack("<I", 7))]
    file = read_gguf(raw(tmp_path / "a.gguf", keys, []))
    assert (file.get("text", str), file.get("flag", bool), file.get("number", int)) == ("x", True, 7)
    assert (file.get("number", float), file.get("none", int, 3), file.get("none", float, 1)) == (7.0, 3, 1.0)
    with pytest.raises(UserError, match=sentence):
        ask(file)
