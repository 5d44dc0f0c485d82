import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.shards import INDEX, Encoded, Shards, encode_documents, write_shards
from danlu.tokens.tokenizer import Tokenizer

DOCUMENTS = [Encoded([1, 2, 3], 9, "a"), Encoded([], 0, "b"), Encoded([65535, 0], 4, "a"), Encoded([7], 1, "c")]


@settings(max_examples=30, deadline=None)
@given(
    documents=st.lists(st.tuples(st.lists(st.integers(0, 299), max_size=9), st.integers(0, 99))),
    shard_tokens=st.integers(1, 12),
    vocab_size=st.sampled_from([300, 1 << 16, (1 << 16) + 1]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[tuple[list[int], int]],
    shard_tokens: int,
    vocab_size: int,
) -> None:
    path = tmp_path_factory.mktemp("shards")
    shards = write_shards(documents, path, vocab_size, shard_tokens=shard_tokens)
    assert [(shards[i].tolist(), shards.bytes_of(i)) for i in range(len(shards))] == documents
    assert all(shards[i].dtype == (np.uint16 if vocab_size <= 1 << 16 else np.uint32) for i in range(len(shards)))
    assert shards.tokens == sum(len(ids) for ids, _ in documents)
    assert shards.bytes == sum(size for _, size in documents)
    assert (shards.vocab_size, Shards.open(path).digest) == (vocab_size, shards.digest)


def test_the_files_are_what_the_docstring_says(tmp_path: Path) -> None:
    shards = write_shards(DOCUMENTS, tmp_path, 65536, shard_tokens=3)
    names = ["bytes.npy", INDEX, "offsets.npy", "sources.npy", "tokens-00000.bin", "tokens-00001.bin"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert (tmp_path / "tokens-00001.bin").read_bytes() == b"\xff\xff\x00\x00\x07\x00"
    assert np.load(tmp_path / "offsets.npy").tolist() == [0, 3, 3, 5, 6]
    assert [shards.source_of(i) for i in range(4)] == ["a", "b", "a", "c"]
    with pytest.raises(IndexError):
        shards[4]
    with pytest.raises(IndexError):
        shards[-1]


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    def digest(documents: list[Encoded], name: str = "x") -> str:
        return write_shards(documents, tmp_path / name, 65536).digest

    one = digest(DOCUMENTS)
    assert digest(DOCUMENTS, "y") == one
    assert digest(DOCUMENTS[::-1]) != one
    assert digest([DOCUMENTS[0]._replace(bytes=8), *DOCUMENTS[1:]]) != one
    assert digest([DOCUMENTS[0]._replace(source="b"), *DOCUMENTS[1:]]) != one


def test_old_shards_do_not_outlive_new_ones(tmp_path: Path) -> None:
    write_shards(DOCUMENTS, tmp_path, 65536, shard_tokens=1)
    assert len(write_shards(DOCUMENTS[:1], tmp_path, 65536)) == 1
    assert len(list(tmp_path.glob("*.bin"))) == 1
    with pytest.raises(UserError, match="outside a vocabulary of 65536"):
        write_shards([Encoded([65536], 1)], tmp_path, 65536)
    with pytest.raises(UserError, match=r"index\.json is missing"):
        Shards.open(tmp_path)


@pytest.mark.parametrize("name", ["tokens-00001.bin", "offsets.npy", "bytes.npy", "sources.npy", INDEX])
@pytest.mark.parametrize("damage", ["missing", "short", "empty"])
def test_damage_names_the_file(tmp_path: Path, name: str, damage: str) -> None:
    write_shards(DOCUMENTS, tmp_path, 65536, shard_tokens=3)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[:-2] if damage == "short" else b"")
    with pytest.raises(UserError, match=name):
        Shards.open(tmp_path)


@pytest.mark.parametrize("index", [[], {}, {"format": 99}])
def test_an_index_of_something_else_is_refused(tmp_path: Path, index: object) -> None:
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="not an index of token shards"):
        Shards.open(tmp_path)


def test_documents_begin_and_end(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["天下大势", "", "a<|endoftext|>b", "the dog"]
    wanted = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    for characters in (1 << 22, 5, 1):
        monkeypatch.setattr("danlu.tokens.shards.BATCH_CHARACTERS", characters)
        encoded = list(encode_documents(tokenizer, texts))
        assert [e.ids for e in encoded] == wanted
        assert [e.bytes for e in encoded] == [12, 0, 15, 7]
    assert next(encode_documents(tokenizer, [("x", "book")])).source == "book"
