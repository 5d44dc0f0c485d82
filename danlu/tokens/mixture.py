"""Rows from several sources of token shards in stated shares: what `danlu.recipes.mix` wrote, opened and dealt out.

A mixture is a directory with ``mixture.json`` (for each part its share, its tokens and where its shards lie),
``documents-N.npy`` where shards are split by source (the numbers of all documents, part after part) and a tokenizer.
Nothing is copied: the shards stay where they are, and everything is read through memory maps.

Whose row comes next is not drawn but due: the part that is furthest behind its share of the tokens dealt so far. So
the realised shares stay within a few rows of the plan at every moment (the chairman assignment problem, Tijdeman
1980): over 20,000 rows of five parts never off by more than 0.8 rows, where random draws were off by 82. One number a
part is all the state that it takes.
Within a part documents are packed and shuffled as always, anew each epoch; a row holds documents of one part, which
changes no loss, since packed documents do not see each other.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from danlu.base.errors import UserError
from danlu.base.files import existing, sha256, sync, write_text
from danlu.base.seed import derive
from danlu.tokens.batches import Batch, PackedBatches, Source
from danlu.tokens.curriculum import NONE, Curriculum, Packing
from danlu.tokens.pack import Array, Items, ShardItems
from danlu.tokens.shards import Shards

FILE, FORMAT = "mixture.json", 1
CHUNK = 1 << 20  # documents looked at together: 12 MB
REMEDY = "Run 'danlu mix' again"


class SelectedItems:
    """Some documents of token shards, by number; every id is a target."""

    def __init__(self, shards: Shards, numbers: npt.NDArray[np.int64], tokens: int, digest: str) -> None:
        self.shards, self.numbers, self.tokens = shards, numbers, tokens
        self.digest = digest

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        ids = self.shards[int(self.numbers[i])]
        return ids, np.ones(len(ids), np.float32)

    def lengths(self) -> Array:
        """Tokens of each document."""
        return np.diff(np.load(self.shards.path / "offsets.npy", mmap_mode="r"))[self.numbers]


class MixedBatches:
    """Rows of several sources in fixed shares, without end; each source deals one row at a time.

    The source that is due is the one furthest behind its share of the tokens dealt so far, the first of those that
    are equally far. A curriculum by source deals the first tokens of a run one source after another instead, each as
    many as its share of them is, so that in the end, and from then on at every moment, the shares are the same.
    """

    def __init__(
        self,
        sources: Mapping[str, PackedBatches],
        shares: Mapping[str, float],
        *,
        batch_size: int,
        curriculum: Curriculum = NONE,
        run_tokens: int = 0,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} is not positive")
        self._sources = {name: sources[name] for name, share in shares.items() if share}
        self._shares = {name: shares[name] for name in self._sources}
        self._batch_size, self._first = batch_size, list[str]()
        self._identity: dict[str, Any] = {"shares": dict(self._shares)}
        self._ordered = 0.0  # tokens that are dealt source by source
        if curriculum.by == "source":
            self._first, self._ordered = curriculum.ranked(list(self._sources)), curriculum.lasts(run_tokens)
            self._identity["curriculum"] = curriculum.identity(run_tokens)
        self.dealt = dict.fromkeys(self._sources, 0)  # tokens, padding not counted

    @property
    def epochs(self) -> dict[str, float]:
        """How far each source is, in its own epochs."""
        return {name: source.epoch for name, source in self._sources.items()}

    def __iter__(self) -> "MixedBatches":
        return self

    def __next__(self) -> Batch:
        rows = []
        for _ in range(self._batch_size):
            name = self._due()
            row = next(self._sources[name])
            self.dealt[name] += int(np.count_nonzero(row.segments.numpy() >= 0))
            row.names = tuple(f"{name}: {held}" for held in row.names)
            rows.append(row)
        ids, mask, segments = (torch.cat([getattr(row, key) for row in rows]) for key in ("ids", "mask", "segments"))
        return Batch(ids, mask, segments, names=tuple(name for row in rows for name in row.names))

    def _due(self) -> str:
        total = sum(self.dealt.values())
        for name in self._first if total < self._ordered else ():
            if self.dealt[name] < self._shares[name] * self._ordered:
                return name
        return max(self._shares, key=lambda name: self._shares[name] * (total + 1) - self.dealt[name])

    def state_dict(self) -> dict[str, Any]:
        """What each source has dealt and where it stands."""
        sources = {name: source.state_dict() for name, source in self._sources.items()}
        return {"dealt": dict(self.dealt), "sources": sources, **self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; a `UserError` if a share, the data or the seed is another."""
        for key, what in (("shares", "mixture"), ("curriculum", "curriculum")):
            if state.get(key) != self._identity.get(key):
                remedy = "Continue with what the run began with, or start over with --fresh"
                raise UserError(f"the {what} changed since the checkpoint", remedy=remedy)
        for name, source in self._sources.items():
            source.load_state_dict(state["sources"][name])
        self.dealt = {name: int(state["dealt"][name]) for name in self._sources}


@dataclass(frozen=True)
class Tokens:
    """One directory of token shards with a tokenizer, as `danlu tokenize` writes it; an epoch is its budget."""

    training: Shards
    held_out: tuple[Shards, ...]

    @classmethod
    def open(cls, path: Path) -> "Tokens":
        """Open ``path/train`` and ``path/validation``."""
        return cls(Shards.open(path / "train"), (Shards.open(path / "validation"),))

    @property
    def tokens(self) -> int:
        """Of an epoch."""
        return self.training.tokens

    def check(self, tokens: int) -> None:
        """A run may read as many epochs as it likes."""

    def batches(
        self,
        *,
        batch_size: int,
        length: int,
        pad_id: int,
        seed: int,
        packing: Packing = "concat",
        curriculum: Curriculum = NONE,
        run_tokens: int = 0,
    ) -> Source:
        """Shuffled rows without end; ``run_tokens`` is what a curriculum's share is of."""
        order: dict[str, Any] = {"packing": packing, "curriculum": curriculum, "run_tokens": run_tokens}
        shape: dict[str, Any] = {"batch_size": batch_size, "length": length, "pad_id": pad_id, "seed": seed}
        return PackedBatches(ShardItems(self.training), split=True, **shape, **order)


@dataclass(frozen=True)
class Mixture:
    """Several sources and the shares in which they are read."""

    path: Path
    items: dict[str, Items]
    shares: dict[str, float]
    tokens: int
    """What the plan was made for."""
    held_out: tuple[Shards, ...]

    @classmethod
    def open(cls, path: Path) -> "Mixture":
        """Open the mixture at ``path``; a `UserError` if it is damaged, or if shards are not those it was made of."""
        file = existing(path / FILE, remedy="Give a folder that 'danlu mix' wrote")
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']} is not known")
            folders = [path / folder for folder in found["folders"]]
            opened = [_same(Shards.open(f / "train"), digest) for f, digest in zip(folders, found["digests"])]
            items = {part["name"]: _items(path, part, opened, found["listed"]) for part in found["parts"]}
            shares = {part["name"]: float(part["share"]) for part in found["parts"]}
            budget = int(found["budget"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"not a mixture ({error})", where=file, remedy=REMEDY) from None
        held_out = [folder / "validation" for folder in folders if (folder / "validation").is_dir()]
        held_out = held_out or [folders[0] / "validation"]  # names what is missing
        return cls(path, items, shares, budget, tuple(map(Shards.open, held_out)))

    def check(self, tokens: int) -> None:
        """A longer run than was planned for would read sources more often than the plan allows."""
        if tokens > self.tokens:
            remedy = f"Mix again with --budget {tokens}, or train on fewer tokens"
            what = f"was planned for {self.tokens} tokens, and the run reads {tokens}"
            raise UserError(what, where=self.path, remedy=remedy)

    def batches(
        self,
        *,
        batch_size: int,
        length: int,
        pad_id: int,
        seed: int,
        packing: Packing = "concat",
        curriculum: Curriculum = NONE,
        run_tokens: int = 0,
    ) -> Source:
        """Mixed rows without end; each source shuffles by a seed of its own.

        A curriculum by length orders each source's documents, one by source the sources.
        """
        inner = NONE if curriculum.by == "source" else curriculum
        shape: dict[str, Any] = {"length": length, "pad_id": pad_id, "packing": packing, "curriculum": inner}
        sources = {}
        for number, (name, items) in enumerate(self.items.items()):
            if share := self.shares[name]:
                own, part = derive(seed, "source", number), math.ceil(run_tokens * share)
                sources[name] = PackedBatches(items, batch_size=1, split=True, seed=own, run_tokens=part, **shape)
        return MixedBatches(sources, self.shares, batch_size=batch_size, curriculum=curriculum, run_tokens=run_tokens)


def _same(shards: Shards, digest: str) -> Shards:
    if shards.digest != digest:
        raise UserError("changed since it was mixed", where=shards.path, remedy=REMEDY)
    return shards


def _items(path: Path, part: dict[str, Any], opened: Sequence[Shards], listed: Sequence[str]) -> Items:
    shards, digest = opened[part["folder"]], listed[part["folder"]]
    if part["documents"] is None:
        return ShardItems(shards)
    begin, end = part["documents"]
    file = existing(path / documents_file(part["folder"]), remedy=REMEDY)
    numbers = np.load(file, mmap_mode="r") if len(shards) else np.empty(0, np.int64)
    if len(numbers) != len(shards) or not 0 <= begin <= end <= len(numbers):
        raise UserError("does not fit its shards", where=file, remedy=REMEDY)
    return SelectedItems(
        shards, np.asarray(numbers)[begin:end], part["size"], f"{shards.digest} {digest} {begin}:{end}"
    )


def documents_file(folder: int) -> str:
    """Where the documents of the folder with that number are listed, part after part."""
    return f"documents-{folder}.npy"


def save_mixture(
    out: Path, folders: Sequence[Path], shards: Sequence[Shards], parts: Sequence[dict[str, Any]], budget: int
) -> None:
    """Write ``out/mixture.json``: ``parts`` have name, share, size, folder and documents (a range, or None for all)."""
    lists = [out / documents_file(number) for number in range(len(folders))]
    values = {
        "format": FORMAT,
        "budget": budget,
        "folders": [os.path.relpath(folder, out) for folder in folders],  # so that a tree can be moved
        "digests": [s.digest for s in shards],
        "listed": [sha256(file) if file.exists() else "" for file in lists],
        "parts": list(parts),
    }
    write_text(out / FILE, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def measure_groups(shards: Shards, groups: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """Documents and tokens of each of ``count`` groups; ``groups[i]`` is the group of source ``i``."""
    documents, tokens = np.zeros(count, np.int64), np.zeros(count, np.int64)
    offsets = np.load(shards.path / "offsets.npy", mmap_mode="r")
    for begin, group in _chunks(shards, groups):
        lengths = np.diff(offsets[begin : begin + len(group) + 1])
        documents += np.bincount(group, minlength=count)
        np.add.at(tokens, group, lengths)
    return documents.tolist(), tokens.tolist()


def list_groups(shards: Shards, groups: Sequence[int], documents: Sequence[int], file: Path) -> None:
    """Write the numbers of all documents to ``file``, group after group; a chunk in memory at a time."""
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.int64, shape=(len(shards),))
    ends = np.cumsum([0, *documents])[: len(documents)].astype(np.int64)
    for begin, group in _chunks(shards, groups):
        order = np.argsort(group, kind="stable")
        counts = np.bincount(group, minlength=len(documents))
        starts = np.cumsum(counts) - counts
        for g in np.flatnonzero(counts):
            chosen = order[starts[g] : starts[g] + counts[g]]
            out[ends[g] : ends[g] + counts[g]] = begin + chosen
            ends[g] += counts[g]
    out.flush()
    del out
    sync(file)


def _chunks(shards: Shards, groups: Sequence[int]) -> Any:
    """(number of the first document, group of each) for chunk after chunk."""
    table = np.asarray(groups, np.int64)
    sources = np.load(shards.path / "sources.npy", mmap_mode="r") if len(shards) else np.empty(0, np.int32)
    for begin in range(0, len(sources), CHUNK):
        yield begin, table[sources[begin : begin + CHUNK]]
