"""The same shards from any number of workers, from any cut, and after any stop; the ids are those of `Tokenizer`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from danlu.base.errors import UserError
from danlu.text.document import Document
from danlu.text.write import Shards as DocumentShards
from danlu.tokens.encoding import encode
from danlu.tokens.encoding.encode import (
    Encoder,
    Piece,
    encode_piece,
    encode_pieces,
    load_block,
    pieces,
    save_block,
)
from danlu.tokens.shards import Shards, encode_documents, write_shards
from danlu.tokens.tokenizer import Tokenizer
from tests.tokens.conftest import CORPUS

CHINESE = (
    "分久必合",
    "合久",
    "必分",
    "天",
    "下",
    "大",
    "势天下",
    "合久必分天下大势分久必合",
    "。分",
    "，合",
    "(天",
    "天)",
)

TEXTS = [f"{line} {number}. 第{number}回" for number in range(60) for line in (*CORPUS[:4], "", "a<|im_end|>b\n\n")]


def written(folder: Path, texts: list[str] = TEXTS) -> Path:
    """Clean documents in three files of several row groups."""
    for file in range(3):
        with DocumentShards(folder, prefix=f"{file}-", row_group_bytes=2000) as shards:
            for number, text in list(enumerate(texts))[file::3]:
                shards.add(
                    Document(
                        text,
                        str(number),
                        f"source {number % 7 if number < 100 else number % 2}",
                    )
                )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def words(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(path)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def wanted(data: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Document by document, by the library, in this process."""
    rows = [row for file in sorted(data.iterdir()) for row in pq.read_table(file).to_pylist()]
    out = tmp_path_factory.mktemp("wanted")
    encoded = encode_documents(tokenizer, [(row["text"], row["source"]) for row in rows])
    write_shards(encoded, out, tokenizer.vocab_size, shard_tokens=1500)
    return files(out)


@pytest.mark.parametrize(("workers", "most"), [(0, 4000), (0, 10**9), (1, 4000), (2, 4000), (3, 1)])
def test_workers_and_cuts_change_nothing(
    data: Path,
    words: Path,
    wanted: dict[str, bytes],
    tmp_path: Path,
    workers: int,
    most: int,
) -> None:
    seen: list[int] = []
    cut = pieces(data, most)
    assert len(cut) == (len(list(data.iterdir())) if most == 10**9 else len(cut))
    encode_pieces(
        cut,
        words,
        tmp_path / "out",
        tmp_path / "work",
        workers=workers,
        progress=seen.append,
        shard_tokens=1500,
    )
    assert files(tmp_path / "out") == wanted
    assert len(wanted) > 6  # several shards, so that one ends within a piece
    assert sum(seen) == sum(piece.bytes for piece in cut)


def test_every_row_group_is_in_one_piece(data: Path) -> None:
    for most in (1, 5000, 10**9):
        found: dict[str, list[int]] = {}
        for piece in pieces(data, most):
            found.setdefault(piece.file, []).extend(range(piece.first, piece.last))
        groups = {str(file): list(range(pq.ParquetFile(file).num_row_groups)) for file in sorted(data.iterdir())}
        assert found == groups
        assert max(map(len, groups.values())) > 2


COMMAND = """
import sys
from pathlib import Path
from danlu.tokens.encoding.encode import encode_pieces, pieces
data, words, out, work, workers = sys.argv[1:]
encode_pieces(pieces(Path(data), 3000), Path(words), Path(out), Path(work), workers=int(workers), shard_tokens=1500)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_with_what_is_missing(
    data: Path, words: Path, wanted: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    command = [
        sys.executable,
        "-c",
        COMMAND,
        *map(str, (data, words, out, work, workers)),
    ]
    process = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + 60
    while len(list(work.glob("*.ids"))) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {file: file.stat().st_mtime_ns for file in work.glob("*.ids")}
    assert len(before) >= 3
    seen: list[int] = []
    encode_pieces(pieces(data, 3000), words, out, work, progress=seen.append, shard_tokens=1500)
    assert files(out) == wanted
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(seen) == 1 + len(pieces(data, 3000)) - len(before)


def test_half_a_file_is_none_and_another_piece_is_told_apart(
    data: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece, other = pieces(data, 2000)[:2]
    block, file = encode_piece(Encoder(tokenizer), piece), tmp_path / "one.ids"

    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("danlu.base.files.os.fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            save_block(block, piece, file)
    kind = np.dtype("<u2")
    assert load_block(piece, file, kind) is None
    save_block(block, piece, file)
    read = load_block(piece, file, kind)
    assert read is not None
    assert all(np.array_equal(a, b) for a, b in zip(read, block, strict=True))
    assert load_block(other, file, kind) is None


def test_no_documents_are_no_tokens(words: Path, tmp_path: Path) -> None:
    schema = pa.schema([("text", pa.large_string()), ("source", pa.string())])
    (tmp_path / "data").mkdir()
    pq.write_table(schema.empty_table(), tmp_path / "data" / "0.parquet")
    shards = encode_pieces(pieces(tmp_path / "data"), words, tmp_path / "out", tmp_path / "work")
    assert (len(shards), shards.tokens) == (0, 0)


def test_bad_input_is_named_also_by_a_worker(words: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no Parquet shards"):
        pieces(tmp_path)
    file = tmp_path / "0.parquet"
    file.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"0\.parquet: not a shard of documents"):
        pieces(tmp_path)
    pq.write_table(pa.table({"words": ["a"]}), file)
    with pytest.raises(UserError, match=r"0\.parquet: not a shard of documents"):
        encode_pieces(pieces(tmp_path), words, tmp_path / "out", tmp_path / "work", workers=1)


def ids(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return [np.frombuffer(part, encoder.dtype).tolist() for part in encoder.encode(texts)]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.one_of(st.text(max_size=30), st.sampled_from(TEXTS)), max_size=4))
def test_an_encoder_gives_the_ids_of_its_tokenizer(tokenizer: Tokenizer, texts: list[str]) -> None:
    encoder = Encoder(tokenizer)
    assert ids(encoder, texts) == [tokenizer.encode(text) for text in texts]
    begin, end = tokenizer.bos_id, tokenizer.eos_id
    documents = [np.frombuffer(part, encoder.dtype).tolist() for part in encoder.documents(texts)]
    assert documents == [[begin, *tokenizer.encode(text), end] for text in texts]


@pytest.mark.parametrize("least", [0, 1 << 30])
def test_both_roads_give_the_ids_of_the_tokenizer(
    tokenizer: Tokenizer, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "LEAST", least)
    texts = [*TEXTS, "话" * 500, "", "\u0378 unassigned", "a\U000e0001b", "ＡＢ１２ ½ é"]
    for characters in (1 << 20, 4):
        monkeypatch.setattr(encode, "BATCH_CHARACTERS", characters)
        encoder = Encoder(tokenizer)
        assert ids(encoder, texts) == [tokenizer.encode(text) for text in texts]
        assert ("_merges" in vars(encoder)) == (least == 0)  # nobody learns them for a few texts


def test_a_tokenizer_that_tiktoken_cannot_be_told_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "LEAST", 0)
    pieces = ["a", " ", "b", "a ", "a b"]  # it splits nothing, so a piece may hold a space
    core = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate([*pieces, "<s>"])}, [("a", " "), ("a ", "b")]))
    core.pre_tokenizer = pre_tokenizers.Split("x", behavior="isolated")
    encoder, texts = Encoder(Tokenizer(core, {"eos_token": "<s>"})), ["a b", "b a b", "", "aab"]
    assert ids(encoder, texts) == [encoder.tokenizer.encode(text) for text in texts]
    assert encoder._merges is None
    assert ids(encoder, ["a b"]) == [[4]]


def test_a_large_vocabulary_takes_four_bytes(tokenizer: Tokenizer) -> None:
    core = tokenizers.Tokenizer.from_str(tokenizer._core.to_str())
    core.add_special_tokens([f"<{n}>" for n in range(1 << 16)])
    encoder = Encoder(Tokenizer(core, tokenizer.config))
    assert encoder.dtype == np.dtype("<u4")
    assert ids(encoder, ["the dog"]) == [tokenizer.encode("the dog")]


def test_another_tokenizer_at_the_same_place_is_another(
    data: Path, words: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The encoder of a process is kept from piece to piece, by the tokenizer's content."""
    place = tmp_path / "tokenizer"
    found: list[Shards] = []
    for number in range(2):
        core = tokenizers.Tokenizer.from_str(tokenizer._core.to_str())
        if number:
            core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        Tokenizer(core, tokenizer.config).save(place)
        found.append(
            encode_pieces(
                pieces(data),
                place,
                tmp_path / f"out{number}",
                tmp_path / f"work{number}",
            )
        )
    assert found[0].tokens != found[1].tokens


def test_a_piece_has_a_name(tmp_path: Path) -> None:
    assert Piece(str(tmp_path / "0.parquet"), 1, 3, 10).name == "0.parquet 1:3"
