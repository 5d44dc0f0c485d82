"""Folders of documents → token shards, by several processes; the result depends on the documents alone.

The input is cut into pieces of a few row groups, whatever the number of workers. Each becomes a file of ids under
``work``, which is wholly there or not at all, and at the end the files are put together in order. So a run that is
stopped goes on with the pieces that have no file, and one worker, three, or none leave the same bytes.

`Encoder` gives exactly the ids of `Tokenizer.encode`, by a faster road where there is one (`merges`, beside this file).
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from danlu.base.errors import UserError
from danlu.base.files import atomic, sha256
from danlu.text.workers import Workers, serve
from danlu.tokens.encoding.merges import Merges
from danlu.tokens.shards import SHARD_TOKENS, Block, Shards, id_type, write_blocks
from danlu.tokens.tokenizer import FILE, Tokenizer

WORKER = (sys.executable, "-c", "from danlu.tokens.encoding.encode import worker; worker()")
PIECE_BYTES = 8_000_000  # of text, a row group as clean writes them: what a stopped run loses at most, for each worker
ALONE_BYTES = 16_000_000  # starting workers takes a second or two; less text than this is done sooner without
BATCH_CHARACTERS = 1 << 20  # one call of the library, whose own notes take 100 bytes a token
LEAST = 200_000  # characters of a batch, for which it is worth half a second to learn the merges
REMEDY = "Run 'danlu clean' again"


class Encoder:
    """Texts → ids as bytes, in two or four bytes an id (`danlu.tokens.shards.id_type`)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.dtype = tokenizer, id_type(tokenizer.vocab_size)
        self._begin, self._end = (self._bytes([i]) for i in (tokenizer.bos_id, tokenizer.eos_id))

    @cached_property
    def _merges(self) -> Merges | None:
        return Merges.of(self.tokenizer.core, json.loads(self.tokenizer.rules))

    def documents(self, texts: Sequence[str]) -> Iterator[bytes]:
        """Each text as begin, ids, end."""
        for ids in self.encode(texts):
            yield b"".join((self._begin, ids, self._end))

    def encode(self, texts: Sequence[str]) -> Iterator[bytes]:
        """The ids of each text."""
        for batch in _batches(texts):
            merges = self._merges if sum(map(len, batch)) >= LEAST else None
            found = [None if merges is None else merges.ids(text) for text in batch]
            asked = [text for text, ids in zip(batch, found, strict=True) if ids is None]
            rest = iter(self.tokenizer.encode_batch(asked) if asked else ())
            for ids in found:
                yield self._bytes(next(rest) if ids is None else ids)

    def _bytes(self, ids: npt.ArrayLike) -> bytes:
        return np.asarray(ids).astype(self.dtype).tobytes()


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in order, about `BATCH_CHARACTERS` at a time."""
    batch, characters = list[str](), 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Piece(NamedTuple):
    """Row groups ``[first, last)`` of one Parquet file, and the bytes of text in them."""

    file: str
    first: int
    last: int
    bytes: int

    @property
    def name(self) -> str:
        """What tells it from the other pieces of its folder."""
        return f"{Path(self.file).name} {self.first}:{self.last}"


def pieces(folder: Path, most: int = PIECE_BYTES) -> list[Piece]:
    """The documents of ``folder`` in order, cut at row groups into pieces of about ``most`` bytes."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise UserError(
            "holds no Parquet shards",
            where=folder,
            remedy="Give a folder that 'danlu clean' wrote",
        )
    found: list[Piece] = []
    for file in files:
        with _parquet(file) as opened:
            sizes = [opened.metadata.row_group(i).total_byte_size for i in range(opened.num_row_groups)]
        first = held = 0
        for group, size in enumerate(sizes):
            held += size
            if held >= most or group == len(sizes) - 1:
                found.append(Piece(str(file), first, group + 1, held))
                first, held = group + 1, 0
    return found


def _parquet(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"not a shard of documents ({error})", where=file, remedy=REMEDY) from None


def encode_piece(encoder: Encoder, piece: Piece) -> Block:
    """The documents of a piece; a row group of text is in memory at a time."""
    ids = bytearray()
    lengths, sizes, sources = list[int](), list[int](), list[int]()
    names: dict[str, int] = {}
    file = Path(piece.file)
    with _parquet(file) as opened:
        for group in range(piece.first, piece.last):
            try:
                table = opened.read_row_group(group, columns=["text", "source"])
                texts, origins = (
                    table.column("text").to_pylist(),
                    table.column("source").to_pylist(),
                )
            except (pa.ArrowException, KeyError, ValueError) as error:
                raise UserError(f"not a shard of documents ({error})", where=file, remedy=REMEDY) from None
            for document, text, origin in zip(encoder.documents(texts), texts, origins, strict=True):
                ids += document
                lengths.append(len(document) // encoder.dtype.itemsize)
                sizes.append(len(text.encode()))
                sources.append(names.setdefault(origin, len(names)))
    counts, bytes_, origins = (np.asarray(values, np.int64) for values in (lengths, sizes, sources))
    return Block(np.frombuffer(ids, encoder.dtype), counts, bytes_, origins, list(names))


def save_block(block: Block, piece: Piece, file: Path) -> None:
    """Write a block as one file: a line of JSON that says whose it is, then its arrays."""
    head = {
        "piece": piece.name,
        "tokens": len(block.ids),
        "documents": len(block.lengths),
        "names": list(block.names),
    }
    with atomic(file, "wb") as handle:
        handle.write(json.dumps(head, ensure_ascii=False).encode() + b"\n")
        for array in (block.lengths, block.bytes, block.sources, block.ids):
            handle.write(np.ascontiguousarray(array).data)


def load_block(piece: Piece, file: Path, dtype: "np.dtype[Any]") -> Block | None:
    """The block of ``piece``, its ids mapped; None if there is no file, or another piece's."""
    if not file.exists():
        return None
    with open(file, "rb") as handle:
        head = json.loads(handle.readline())
        place = handle.tell()
    if head["piece"] != piece.name:
        return None
    arrays = list[npt.NDArray[Any]]()
    for kind, count in ((np.dtype("<i8"), head["documents"]),) * 3 + ((dtype, head["tokens"]),):
        arrays.append(np.memmap(file, kind, "r", place, (count,)) if count else np.empty(0, kind))
        place += count * kind.itemsize
    lengths, sizes, sources, ids = arrays
    return Block(ids, lengths, sizes, sources, head["names"])


def encode_pieces(
    cut: Sequence[Piece],
    tokenizer: Path,
    out: Path,
    work: Path,
    *,
    workers: int = 0,
    progress: Callable[[int], None] = lambda size: None,
    shard_tokens: int = SHARD_TOKENS,
) -> Shards:
    """Write the documents of ``cut`` as token shards into ``out``; pieces that are done lie in ``work``, and stay.

    ``tokenizer`` is the directory of one. ``workers`` 0 is one for each core, or none for a few megabytes.
    ``progress`` is told of the bytes of text as they are done, those of an earlier run first.
    """
    vocab_size = Tokenizer.load(tokenizer).vocab_size
    dtype, files = (
        id_type(vocab_size),
        [work / f"{number:06d}.ids" for number in range(len(cut))],
    )
    waiting = [n for n, piece in enumerate(cut) if load_block(piece, files[n], dtype) is None]
    left = sum(cut[n].bytes for n in waiting)
    progress(sum(piece.bytes for piece in cut) - left)
    count = workers or (0 if left < ALONE_BYTES else os.cpu_count() or 1)
    hello = {
        "tokenizer": str(tokenizer.resolve()),
        "digest": sha256(tokenizer / FILE),
        "cwd": os.getcwd(),
    }
    orders = {n: {"piece": list(cut[n]), "out": str(files[n])} for n in waiting}
    if not count or not waiting:
        for n in waiting:
            do(hello, orders[n])
            progress(cut[n].bytes)
    else:
        with Workers(WORKER, hello, min(count, len(waiting))) as crew:
            crew.run(
                waiting,
                orders.__getitem__,
                state=lambda task: None,
                seconds=float("inf"),
                progress=lambda done, task: None if task is None else progress(cut[task].bytes),
            )
    blocks = (load_block(piece, file, dtype) for piece, file in zip(cut, files, strict=True))
    return write_blocks((block for block in blocks if block), out, vocab_size, shard_tokens=shard_tokens)


def do(hello: dict[str, Any], order: dict[str, Any]) -> None:
    """Encode one piece, in whichever process."""
    os.chdir(hello["cwd"])
    piece = Piece(*order["piece"])
    save_block(
        encode_piece(_encoder(hello["tokenizer"], hello["digest"]), piece),
        piece,
        Path(order["out"]),
    )


@lru_cache(maxsize=1)
def _encoder(tokenizer: str, digest: str) -> Encoder:  # the digest, since another may come to lie at the same place
    return Encoder(Tokenizer.load(Path(tokenizer)))


def worker() -> None:
    """What a worker process runs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the workers share the cores among themselves
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    serve(do)
