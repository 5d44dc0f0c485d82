"""Token shards: the ids of all documents in a few flat files, read through memory maps.

A directory holds ``tokens-00000.bin`` ... (little-endian uint16, or uint32 for vocabularies over 65,536),
``offsets.npy`` (where each document begins, and the end), ``bytes.npy`` (UTF-8 bytes of each document's text,
without which there are no bits per byte), ``sources.npy`` (index into the names of sources) and, written last,
``index.json``. A document lies in one shard. Left out: compression; ids are half the size of the text already.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from danlu.base.errors import UserError
from danlu.base.files import atomic, existing, remove, sha256, write_text
from danlu.tokens.tokenizer import Tokenizer

INDEX, FORMAT = "index.json", 1
TABLES = ("offsets", "bytes", "sources")
SHARD_TOKENS = 1 << 28  # 512 MB of uint16: few files, each easy to copy
BATCH_DOCUMENTS, BATCH_CHARACTERS = 1024, 1 << 22  # one call of encode_batch: enough for all cores, little memory
REMEDY = "Make it again from the documents"


class Encoded(NamedTuple):
    """A document: its ids, the UTF-8 bytes of its text, the name of its source."""

    ids: Sequence[int] | npt.NDArray[Any]
    bytes: int
    source: str = ""


class Block(NamedTuple):
    """Documents one after another, as arrays: what one piece of the input becomes."""

    ids: npt.NDArray[Any]  # [tokens] of the vocabulary's `id_type`
    lengths: npt.NDArray[Any]  # [documents]
    bytes: npt.NDArray[Any]  # [documents]
    sources: npt.NDArray[Any]  # [documents], index into names
    names: Sequence[str]  # in the order in which the sources appear


def id_type(vocab_size: int) -> "np.dtype[Any]":
    """How an id is stored: in two bytes where that is enough, else in four."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def encode_documents(tokenizer: Tokenizer, texts: Iterable[str | tuple[str, str]]) -> Iterator[Encoded]:
    """Each text, or (text, source), as ``[bos] + ids + [eos]``, in order."""
    stream = iter(texts)
    while batch := _batch(stream):
        for (text, source), ids in zip(batch, tokenizer.encode_batch([text for text, _ in batch])):
            yield Encoded([tokenizer.bos_id, *ids, tokenizer.eos_id], len(text.encode()), source)


def _batch(stream: Iterator[str | tuple[str, str]]) -> list[tuple[str, str]]:
    batch: list[tuple[str, str]] = []
    characters = 0
    for item in islice(stream, BATCH_DOCUMENTS):
        batch.append((item, "") if isinstance(item, str) else item)
        characters += len(batch[-1][0])
        if characters >= BATCH_CHARACTERS:
            break
    return batch


def write_shards(
    documents: Iterable[tuple[Sequence[int], int] | Encoded],
    out: Path,
    vocab_size: int,
    *,
    shard_tokens: int = SHARD_TOKENS,
) -> "Shards":
    """Write ``(ids, source bytes)`` documents, or `Encoded` ones, into the directory ``out`` and open it.

    A shard is closed by the document that brings it to ``shard_tokens``.
    """
    return write_blocks(_blocks(documents, vocab_size), out, vocab_size, shard_tokens=shard_tokens)


def _blocks(documents: Iterable[tuple[Sequence[int], int] | Encoded], vocab_size: int) -> Iterator[Block]:
    dtype, count = id_type(vocab_size), 0
    stream = (Encoded(*document) for document in documents)
    while held := list(islice(stream, BATCH_DOCUMENTS)):
        ids = [_as_array(document.ids, vocab_size, dtype, count + i) for i, document in enumerate(held)]
        names = list(dict.fromkeys(document.source for document in held))
        number = {name: i for i, name in enumerate(names)}
        yield Block(
            np.concatenate(ids),
            np.asarray([len(part) for part in ids], np.int64),
            np.asarray([document.bytes for document in held], np.int64),
            np.asarray([number[document.source] for document in held], np.int32),
            names,
        )
        count += len(held)


def write_blocks(blocks: Iterable[Block], out: Path, vocab_size: int, *, shard_tokens: int = SHARD_TOKENS) -> "Shards":
    """`write_shards` of many documents at a time; how they are cut into blocks changes nothing."""
    out.mkdir(parents=True, exist_ok=True)
    remove(out / INDEX)  # first: without it there are no shards here, whatever else is
    for old in out.glob("tokens-*.bin"):
        old.unlink()
    names: dict[str, int] = {}
    held: list[tuple[npt.NDArray[Any], ...]] = []
    shards: list[dict[str, Any]] = []
    for number, pieces in groupby(_cut(blocks, shard_tokens), key=lambda piece: piece[0]):
        file, documents, tokens = out / f"tokens-{number:05d}.bin", 0, 0
        with atomic(file, "wb") as handle:
            for _, piece in pieces:
                handle.write(np.ascontiguousarray(piece.ids, id_type(vocab_size)).data)
                place = np.asarray([names.setdefault(name, len(names)) for name in piece.names], np.int32)
                # Copies: a view would keep the ids, and the file they are mapped from, alive to the end.
                held.append((piece.lengths.copy(), piece.bytes.copy(), place[piece.sources]))
                documents, tokens = documents + len(piece.lengths), tokens + len(piece.ids)
        shards.append({"file": file.name, "documents": documents, "tokens": tokens, "sha256": sha256(file)})
    lengths, sizes, sources = (_joined([row[i] for row in held]) for i in range(3))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tables = {"offsets": offsets, "bytes": sizes, "sources": sources.astype(np.int32)}
    for name in TABLES:
        with atomic(out / f"{name}.npy", "wb") as handle:
            np.save(handle, tables[name])
    index = {"format": FORMAT, "vocab_size": vocab_size, "dtype": id_type(vocab_size).name}
    index |= {"documents": len(offsets) - 1, "tokens": int(offsets[-1]), "sources": list(names), "shards": shards}
    index["digest"] = _digest(index, tables)
    write_text(out / INDEX, json.dumps(index, ensure_ascii=False, indent=2) + "\n")
    return Shards.open(out)


def _cut(blocks: Iterable[Block], shard_tokens: int) -> Iterator[tuple[int, Block]]:
    """The blocks, cut where a shard is full: (number of the shard, part of a block)."""
    number = filled = 0
    for block in blocks:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(block.lengths)])
        begin = 0
        while begin < len(block.lengths):
            full = int(np.searchsorted(ends[begin + 1 :], ends[begin] + shard_tokens - filled)) + begin + 1
            end = min(full, len(block.lengths))
            here = slice(begin, end)
            ids = block.ids[ends[begin] : ends[end]]
            yield number, Block(ids, block.lengths[here], block.bytes[here], block.sources[here], block.names)
            filled, begin = filled + len(ids), end
            if filled >= shard_tokens:
                number, filled = number + 1, 0


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _as_array(ids: Any, vocab_size: int, dtype: "np.dtype[Any]", document: int) -> npt.NDArray[Any]:
    values = np.asarray(ids, dtype=np.int64)
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < vocab_size:
        raise UserError(f"document {document} has ids outside a vocabulary of {vocab_size}")
    return values.astype(dtype)


def _digest(index: dict[str, Any], tables: dict[str, npt.NDArray[Any]]) -> str:
    """A hash of all content: ids, borders, bytes, sources."""
    digest = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
    for name in TABLES:
        digest.update(np.ascontiguousarray(tables[name]).tobytes())
    return digest.hexdigest()


class Shards:
    """Documents as ids, read lazily: ``shards[i]  # [length] of uint16 or uint32``, a view of the file.

    ``digest`` is the hash of the content when it was written. Opening checks that every file is there and
    whole; that its bits are the same is `danlu.base.artifact.Artifact.verify`'s to check.
    """

    def __init__(self, path: Path, index: dict[str, Any], tables: dict[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self.vocab_size, self.tokens = int(index["vocab_size"]), int(index["tokens"])
        self.digest: str = index["digest"]
        self.sources: list[str] = index["sources"]
        self._offsets, self._bytes, self._sources = (tables[name] for name in TABLES)
        dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self._maps = [_map(path / s["file"], dtype, int(s["tokens"])) for s in index["shards"]]
        self._firsts = [0, *accumulate(int(s["documents"]) for s in index["shards"])]

    @classmethod
    def open(cls, path: Path) -> "Shards":
        """Open the directory ``path``; a `UserError` names the file that is missing, truncated or damaged."""
        existing(path, remedy="Give a folder of token shards")
        if not (path / INDEX).is_file():
            raise UserError(f"{INDEX} is missing: no token shards were finished here", where=path, remedy=REMEDY)
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']} is not known")
            tables = {name: _table(path / f"{name}.npy", index["documents"]) for name in TABLES}
            return cls(path, index, tables)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"not an index of token shards ({error})", where=path / INDEX, remedy=REMEDY) from None

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, i: int) -> npt.NDArray[Any]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        shard = bisect_right(self._firsts, i) - 1
        base = int(self._offsets[self._firsts[shard]])
        begin, end = int(self._offsets[i]) - base, int(self._offsets[i + 1]) - base
        found: npt.NDArray[Any] = self._maps[shard][begin:end]
        return found

    def bytes_of(self, i: int) -> int:
        """UTF-8 bytes of the text of document ``i``."""
        return int(self._bytes[i])

    def source_of(self, i: int) -> str:
        """The source of document ``i``."""
        return self.sources[int(self._sources[i])]

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return int(self._bytes.sum())


def _table(file: Path, documents: int) -> npt.NDArray[Any]:
    try:
        table: npt.NDArray[Any] = np.load(existing(file, remedy=REMEDY), mmap_mode="r" if documents else None)
    except (ValueError, EOFError) as error:
        raise UserError(f"damaged ({error})", where=file, remedy=REMEDY) from None
    expected = documents + (file.stem == "offsets")
    if len(table) != expected:
        raise UserError(f"holds {len(table)} entries, not {expected}", where=file, remedy=REMEDY)
    return table


def _map(file: Path, dtype: "np.dtype[Any]", tokens: int) -> npt.NDArray[Any]:
    expected, found = tokens * dtype.itemsize, existing(file, remedy=REMEDY).stat().st_size
    if found != expected:
        raise UserError(f"truncated: {found} bytes, not {expected}", where=file, remedy=REMEDY)
    # A plain array over the map: slices of np.memmap carry costs of a Python class with each document.
    return np.asarray(np.memmap(file, dtype, "r")) if tokens else np.empty(0, dtype)
