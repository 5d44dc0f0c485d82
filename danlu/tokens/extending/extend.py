"""New pieces for a tokenizer that a model was trained with: byte-level BPE (GPT-2, Qwen, SmolLM2, Llama 3 kind).

The old tokenizer writes the new corpus, and merging goes on from there (`more_merges`), inside the words that its own
expression cuts. The new merges stand after the old ones, and no new merge makes a string that was a piece before. So
the law of an extension holds by construction: **a text in which no new piece stands keeps its ids**. The other way,
plain added tokens, was measured and lost: they are cut out of the text before everything else, so they tear words
apart that the old merges wrote as one, and encoding slows down with every one of them.

A piece is whole characters, or a part of one that its whole piece needs; never the end of one and the beginning of
the next. Pieces of ASCII alone are left out unless asked for: then English and code are written as they were.
`danlu.tokens.extending.extend_sentencepiece` does the same for Llama 2's kind.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from danlu.base.errors import UserError
from danlu.tokens.extending.more_merges import Merge, Words, learn

Kind = Literal["byte-level", "byte fallback"]
BATCH = 1_000_000  # characters encoded at a time
NOT_TEXT = b"\xff"  # in no UTF-8 text: begins the string of an id that no merge may touch
SUPPORTED = "Supported: byte-level BPE (GPT-2, Qwen, Llama 3) and BPE with byte fallback (Llama 2)"


@dataclass(frozen=True)
class Limits:
    """What may become a piece."""

    add: int = 8000
    longest: int = 8  # characters
    least_count: int = 8
    ascii: bool = False


class Piece(NamedTuple):
    """A new id, the bytes it stands for, and the old ids by which they were written before."""

    id: int
    text: bytes
    parts: tuple[int, ...]


class Extension(NamedTuple):
    """The new ``tokenizer.json``, what is new in it, and how many pairs were passed over as pieces that exist."""

    data: dict[str, Any]
    pieces: list[Piece]
    existing: int


def kind_of(data: dict[str, Any], where: object) -> Kind:
    """Of a ``tokenizer.json``; a `UserError` for a kind that cannot be extended."""
    model = data.get("model") or {}
    kind = model.get("type")
    if kind != "BPE":
        raise UserError(f"a tokenizer of the kind '{kind}' cannot be extended", where=where, remedy=SUPPORTED)
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError("a BPE that marks the ends of words cannot be extended", where=where, remedy=SUPPORTED)
    if _holds(data.get("pre_tokenizer"), "ByteLevel") or _holds(data.get("normalizer"), "ByteLevel"):
        return "byte-level"
    if model.get("byte_fallback"):
        return "byte fallback"
    raise UserError("a BPE without bytes cannot write every text", where=where, remedy=SUPPORTED)


def _holds(part: Any, kind: str) -> bool:
    inner = [*part.get("pretokenizers", []), *part.get("normalizers", [])] if isinstance(part, dict) else []
    return isinstance(part, dict) and (part.get("type") == kind or any(_holds(item, kind) for item in inner))


def size_of(data: dict[str, Any]) -> int:
    """The first id that is free, added tokens counted."""
    return max([*data["model"]["vocab"].values(), *(t["id"] for t in data.get("added_tokens") or [])], default=-1) + 1


def extend(data: dict[str, Any], texts: Iterable[str], limits: Limits, where: object = "tokenizer") -> Extension:
    """Learn at most ``limits.add`` pieces from ``texts`` and append them and their merges to a byte-level BPE."""
    data = settled(data, where)
    strings = [NOT_TEXT] * size_of(data)
    for piece, i in data["model"]["vocab"].items():
        strings[i] = unspelled(piece)
    added = {token["content"].encode() for token in data["added_tokens"]}
    words = count_words(core_of(data), texts, interesting(strings, limits))
    rule = allowed(limits)
    merges, existing = learn(
        words, strings, lambda string: string not in added and rule(string), limits.add, limits.least_count
    )
    spelled = {i: piece for piece, i in data["model"]["vocab"].items()}
    vocab, listed = data["model"]["vocab"], data["model"]["merges"]
    joined = bool(listed) and isinstance(listed[0], str)  # "a b" in older files, ["a", "b"] in newer ones
    for left, right, new, _ in merges:
        pair = [spelled[left], spelled[right]]
        spelled[new] = "".join(pair)
        vocab[spelled[new]] = new
        listed.append(" ".join(pair) if joined else pair)
    return Extension(data, pieces_of(merges, strings), existing)


def settled(data: dict[str, Any], where: object) -> dict[str, Any]:
    """A copy in which added tokens are in the vocabulary.

    The library gives an added token that is not there the first id after the vocabulary, whatever the file says, so
    a vocabulary that grows would move it (tokenizers 0.23; Qwen's and Llama 3's files are of that sort).
    """
    data = copy.deepcopy(data)
    model, added = data["model"], data.setdefault("added_tokens", [])
    core = core_of(data)
    for token in added:
        if token["content"] in model["vocab"]:
            continue
        if model.get("ignore_merges") and token["special"] and one_word(core, token["content"]):
            what = f"special token '{token['content']}' is one word of a tokenizer that takes words whole"
            raise UserError(f"{what}: extended, it would be read out of any text", where=where)
        model["vocab"][token["content"]] = token["id"]
    return data


def one_word(core: Any, text: str) -> bool:
    """Is ``text`` a single word to the tokenizer's expression?"""
    return core.pre_tokenizer is not None and len(core.pre_tokenizer.pre_tokenize_str(text)) == 1


def core_of(data: dict[str, Any]) -> Any:
    """The library's tokenizer, which reads special tokens in a text as text."""
    core = tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False))
    core.no_truncation()
    core.no_padding()
    core.encode_special_tokens = True
    return core


def with_special(data: dict[str, Any], names: Sequence[str], where: object) -> tuple[dict[str, Any], list[Piece]]:
    """A copy with new special tokens; a `UserError` for one that is there."""
    data, pieces = settled(data, where), []
    core, taken = core_of(data), dict(data["model"]["vocab"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for name in names:
        if name in taken or not name.strip():
            what = f"is in the tokenizer already, as id {taken[name]}" if name in taken else "has no letters"
            raise UserError(f"special token '{name}' {what}", where=where, remedy="Leave it out of --special")
        new = size_of(data)
        data["added_tokens"].append({"id": new, "content": name, **flags})
        data["model"]["vocab"][name] = taken[name] = new
        pieces.append(Piece(new, name.encode(), tuple(core.encode(name, add_special_tokens=False).ids)))
    return data, pieces


def interesting(strings: Sequence[bytes], limits: Limits) -> NDArray[np.bool_]:
    """[V] Whether a word that holds the id may teach anything: without pieces of ASCII, words of ASCII do not."""
    return np.array([limits.ascii or not _ascii(string) for string in strings])


def _ascii(string: bytes) -> bool:
    return string.replace("▁".encode(), b" ").isascii()


def allowed(limits: Limits) -> Callable[[bytes], bool]:
    """Which strings may be pieces."""

    def may(string: bytes) -> bool:
        if NOT_TEXT in string or (not limits.ascii and _ascii(string)):
            return False
        try:
            return len(string.decode()) <= limits.longest
        except UnicodeDecodeError:
            return within_one_character(string)

    return may


def within_one_character(string: bytes) -> bool:
    """Part of one character: at most one byte begins one, and then it is the first."""
    begins = [index for index, byte in enumerate(string) if byte & 0xC0 != 0x80]
    return len(string) < 4 and (not begins or (begins == [0] and string[0] >= 0xC2))


def count_words(core: Any, texts: Iterable[str], wanted: NDArray[np.bool_]) -> Words:
    """The distinct words of two ids or more with at least one that is ``wanted``, as the tokenizer writes them."""
    counts: Counter[bytes] = Counter()
    for batch in _batches(texts):
        for encoding in core.encode_batch(batch, add_special_tokens=False):
            ids = np.array(encoding.ids, np.int32)
            if len(ids) < 2:
                continue
            word = np.array(encoding.word_ids)
            starts = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
            ends = np.concatenate((starts[1:], [len(ids)]))
            kept = (ends - starts > 1) & (np.add.reduceat(wanted[ids].astype(np.int32), starts) > 0)
            row = ids.tobytes()
            counts.update(row[a:b] for a, b in zip(starts[kept] * 4, ends[kept] * 4, strict=True))
    listed = sorted(counts)  # the order in which documents come must not decide anything
    flat = np.frombuffer(b"".join(listed), np.int32)
    lengths = np.array([len(word) // 4 for word in listed], np.int64)
    return Words(flat, lengths, np.array([counts[word] for word in listed], np.int64))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def pieces_of(merges: Sequence[Merge], strings: Sequence[bytes]) -> list[Piece]:
    """The merges' results, each with the old ids that it was written with."""
    parts: dict[int, tuple[int, ...]] = {}
    texts = dict(enumerate(strings))
    for left, right, new, _ in merges:
        parts[new] = parts.get(left, (left,)) + parts.get(right, (right,))
        texts[new] = texts[left] + texts[right]
    return [Piece(new, texts[new], parts[new]) for _, _, new, _ in merges]


def letters() -> dict[str, int]:
    """The letter by which GPT-2 spells a byte: itself where it can be seen, else the next from U+0100 → the byte."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


LETTERS = letters()


def unspelled(piece: str) -> bytes:
    """The bytes of a piece as ``tokenizer.json`` spells it; of an added token, not spelled so, no bytes of text."""
    try:
        return bytes(LETTERS[letter] for letter in piece)
    except KeyError:
        return NOT_TEXT + piece.encode()
