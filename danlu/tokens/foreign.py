"""One interface over every tokenizer that people have: what a comparison needs, and no more.

``tokenizer.json`` (ours and all of Hugging Face's fast ones) is run by `tokenizers`; so is a ``.tiktoken`` file, whose
ranks say which pieces merge: every split of a piece into two others is a merge, the lowest rank first, and a word
that is a piece is not cut at all, which is what tiktoken does. SentencePiece's ``.model`` needs its library. A text is
text for all of them: no special token is added, and none is recognised.

Left out: slow (pure Python) tokenizers, ``vocab.txt`` without ``tokenizer.json``, and downloading by name.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import existing
from danlu.tokens.extending.extend import letters
from danlu.tokens.tokenizer import FILE

READABLE = f"Give a directory with {FILE}, or a {FILE}, .tiktoken or SentencePiece .model file"
# How OpenAI's vocabularies, Llama 3 and Qwen cut text before merging (tiktoken's openai_public.py and the models' own
# code), by the number of ranks: the files do not say.
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASES = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDING}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDING}?"
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WORDS = rf"'(?i:[sdmt]|ll|ve|re)|{WORD}|\p{{N}}{{1,3}}"
GPT4 = rf"{WORDS}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s+\z|\s*[\r\n]+|\s+(?!\S)|\s+"  # \z: the white space that ends a text
CUTS = {
    50_256: ("r50k_base", GPT2),
    50_280: ("p50k_base", GPT2),
    100_256: ("cl100k_base", GPT4),
    128_000: ("Llama 3", rf"{WORDS}|{REST}"),
    151_643: ("Qwen", rf"{ENDING}|{WORD}|\p{{N}}|{REST}"),
    199_998: ("o200k_base", rf"{CASES}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
}
BYTE_OF = letters()  # GPT-2's spelling of bytes by letters
LETTERS = {byte: letter for letter, byte in BYTE_OF.items()}


class AnyTokenizer(Protocol):
    """Text ↔ ids, and what each id stands for."""

    kind: str  # what it is, for a person
    vocab_size: int  # one more than the highest id
    special: frozenset[int]  # ids that no text becomes
    unknown: int | None  # the id of what has no piece, if text can be lost
    notes: tuple[str, ...]  # what a person should know about it

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, special and unknown ones by name."""
        ...

    def pieces(self) -> list[bytes | None]:
        """What each id stands for, in UTF-8 or a part of it; None where there is no piece."""
        ...


def open_tokenizer(path: Path) -> AnyTokenizer:
    """The tokenizer in a file or directory, whatever its kind; a `UserError` says what is wrong with it."""
    existing(path, remedy=READABLE)
    if path.is_dir():
        inside = [path / FILE] if (path / FILE).is_file() else sorted([*path.glob("*.tiktoken"), *path.glob("*.model")])
        if len(inside) != 1:
            what = f"{len(inside)} tokenizers: {', '.join(f.name for f in inside)}" if inside else "no known tokenizer"
            raise UserError(f"holds {what}", where=path, remedy=READABLE)
        path = inside[0]
    if path.suffix == ".json":
        return Saved.load(path)
    if path.suffix == ".tiktoken" or (path.suffix == ".model" and _looks_like_ranks(path)):
        return Saved.from_ranks(path)
    if path.suffix == ".model":
        return SentencePiece(path)
    if path.suffix == ".gguf":
        raise UserError("is a whole model", where=path, remedy=f"Take it apart: danlu import {path} --out DIR")
    raise UserError("is no kind of tokenizer that is known", where=path, remedy=READABLE)


class Saved:
    """A tokenizer that the `tokenizers` library runs."""

    def __init__(self, core: Any, *, kind: str = "", notes: tuple[str, ...] = ()) -> None:
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True
        self._core, self._spec = core, json.loads(core.to_str())
        model = self._spec["model"]
        ids: dict[str, int] = core.get_vocab(with_added_tokens=True)
        self._names = {i: name for name, i in ids.items()}
        self.vocab_size = max(self._names, default=-1) + 1
        self.special = frozenset(i for i, token in core.get_added_tokens_decoder().items() if token.special)
        self.unknown = model["unk_id"] if "unk_id" in model else ids.get(model.get("unk_token") or "")
        self.notes = notes
        self._letters = "ByteLevel" in _types(self._spec["decoder"]) | _types(self._spec["pre_tokenizer"])
        self._bytes = bool(model.get("byte_fallback"))
        with_bytes = "byte-level " if self._letters else ""
        self.kind = kind or f"{with_bytes}{model['type']}{' with byte fallback' if self._bytes else ''}"

    @classmethod
    def load(cls, path: Path) -> "Saved":
        """Read a ``tokenizer.json``."""
        try:
            core = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"not a readable tokenizer ({error})", where=path, remedy=READABLE) from None
        if not core.get_vocab_size():
            raise UserError("has no vocabulary", where=path, remedy=READABLE)
        return cls(core)

    @classmethod
    def from_ranks(cls, path: Path) -> "Saved":
        """Read a file of tiktoken's: a piece in base64 and its rank on each line."""
        ranks = read_ranks(path)
        spelt = {piece: piece.decode("latin-1").translate(LETTERS) for piece in ranks}
        vocabulary = {spelt[piece]: rank for piece, rank in ranks.items()}
        merges = [(spelt[left], spelt[right]) for left, right in merges_of(ranks)]
        core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
        name, cut = CUTS.get(len(ranks), ("", GPT4))
        spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
        core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(cut), behavior="isolated"), spelling])
        core.decoder = decoders.ByteLevel()
        unsaid = "the file does not say how text is cut before merging, and its size is unknown: cut as in cl100k_base"
        kind = f"tiktoken ranks{f', cut as in {name}' if name else ''}"
        return cls(core, kind=kind, notes=() if name else (unsaid,))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._core.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._core.decode(list(ids), skip_special_tokens=False))

    def pieces(self) -> list[bytes | None]:
        added = self._core.get_added_tokens_decoder()
        found: list[bytes | None] = [None] * self.vocab_size
        for i, name in self._names.items():
            found[i] = name.encode("utf-8", "replace") if i in added else self._piece(name)
        return found

    def _piece(self, name: str) -> bytes:
        if self._letters:
            known = all(letter in BYTE_OF for letter in name)
            return bytes(BYTE_OF[letter] for letter in name) if known else name.encode()
        if self._bytes and (byte := _byte_piece(name)) is not None:
            return byte
        model = self._spec["model"]
        if model["type"] == "WordPiece":
            return name.removeprefix(model["continuing_subword_prefix"]).encode()
        return (
            name.replace("▁", " ") if "▁" in json.dumps(self._spec["decoder"], ensure_ascii=False) else name
        ).encode()


class SentencePiece:
    """A ``.model`` file of SentencePiece, run by its own library."""

    def __init__(self, path: Path) -> None:
        try:
            import sentencepiece
        except ImportError:
            raise MissingExtra("sentencepiece", "sentencepiece", f"reading {path}") from None
        self._core = sentencepiece.SentencePieceProcessor()
        try:
            self._core.LoadFromSerializedProto(path.read_bytes())
        except RuntimeError:
            raise UserError("not a readable SentencePiece model", where=path, remedy="Copy it again") from None
        self.kind = "SentencePiece"
        self.notes: tuple[str, ...] = ()
        self.vocab_size = int(self._core.vocab_size())
        if not self.vocab_size:
            raise UserError("not a readable SentencePiece model", where=path, remedy="Copy it again")
        unknown = int(self._core.unk_id())
        control = (i for i in range(self.vocab_size) if self._core.IsControl(i) or self._core.IsUnused(i))
        self.special: frozenset[int] = frozenset((*control, unknown))
        self.unknown: int | None = unknown

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self._core.EncodeAsIds(list(texts), num_threads=1)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._core.DecodeIds(list(ids)))

    def pieces(self) -> list[bytes | None]:
        names = (self._core.IdToPiece(i) for i in range(self.vocab_size))
        return [
            (_byte_piece(name) if self._core.IsByte(i) else None) or name.replace("▁", " ").encode()
            for i, name in enumerate(names)
        ]


def read_ranks(path: Path) -> dict[bytes, int]:
    """The pieces of a ``.tiktoken`` file with their ranks; a `UserError` names the first line that is none."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            found = _rank(line)
            if found is None or found[0] in ranks:
                what = "not a piece in base64 and its rank" if found is None else "a piece that was there already"
                raise UserError(what, where=f"{path}, line {number}", remedy="Copy the file again")
            ranks[found[0]] = found[1]
    absent = sum(bytes([byte]) not in ranks for byte in range(256))
    if absent or len(set(ranks.values())) < len(ranks):
        what = f"{absent} of the 256 bytes have no rank" if absent else "two pieces have the same rank"
        raise UserError(what, where=path, remedy="Copy the file again")
    return ranks


def merges_of(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Every way to make a piece out of two, the lowest rank first."""
    for piece in sorted(ranks, key=ranks.__getitem__):
        for at in range(1, len(piece)):
            if piece[:at] in ranks and piece[at:] in ranks:
                yield piece[:at], piece[at:]


def _rank(line: bytes) -> tuple[bytes, int] | None:
    parts = line.split()
    try:
        return (base64.b64decode(parts[0], validate=True), int(parts[1])) if len(parts) == 2 else None
    except (binascii.Error, ValueError):
        return None


def _looks_like_ranks(path: Path) -> bool:
    """Llama 3's ``tokenizer.model`` is a file of tiktoken's under SentencePiece's name."""
    with open(path, "rb") as handle:
        first = handle.readline(1000)
    return _rank(first) is not None


def _types(spec: Any) -> set[str]:
    """The types of a part of ``tokenizer.json`` and of all parts inside it."""
    if isinstance(spec, dict):
        own = {spec["type"]} if isinstance(spec.get("type"), str) else set()
        return own.union(*map(_types, spec.values()))
    return set().union(*map(_types, spec)) if isinstance(spec, list) else set()


def _byte_piece(name: str) -> bytes | None:
    """The byte of ``<0x41>``."""
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        try:
            return bytes.fromhex(name[3:5])
        except ValueError:
            return None
    return None
