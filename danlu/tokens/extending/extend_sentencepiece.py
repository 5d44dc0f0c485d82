"""New pieces for SentencePiece-style BPE with byte fallback (Llama 2 kind), as ``tokenizer.json`` or as the old
``tokenizer.model``.

Here a text is characters, and one without a piece is written with three or four byte pieces that nothing merges. So a
new character is a piece of its own, and saves two ids each time it stands in a text; a merge saves one. Both kinds of
gain are put in one order, and the first ``add`` are taken. SentencePiece merges any two neighbours whose string is a
piece, the best score first; the merges written to ``tokenizer.json`` are therefore all the ways to put a new piece
together, as transformers' converter writes them, and the two files say the same. New scores lie below all old ones.
As everywhere, a text without a new piece keeps its ids.

Llama's files cut no words before merging, so the words to learn from are cut here: letters with the space before
them, runs of punctuation, digits one by one.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import atomic
from danlu.tokens.extending.extend import (
    NOT_TEXT,
    Extension,
    Limits,
    Piece,
    allowed,
    core_of,
    count_words,
    interesting,
    size_of,
)
from danlu.tokens.extending.more_merges import Merge, learn

MODEL = "tokenizer.model"
SPACE = "▁"
WORD = r"▁?[\p{L}\p{M}]+|▁?[^\p{L}\p{M}\p{N}▁]+|\p{N}|▁+"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # SentencePiece's types of pieces


def extend(data: dict[str, Any], texts: Sequence[str], limits: Limits) -> Extension:
    """`danlu.tokens.extending.extend.extend` for this kind; ``texts`` are gone through twice."""
    data = copy.deepcopy(data)
    data.setdefault("added_tokens", [])
    base, old = size_of(data), data["model"]["vocab"]
    strings = _strings(data, base)
    characters = _characters(data, texts, limits)
    provisional = list(characters)
    wide = _with_words(data, {character: base + index for index, character in enumerate(provisional)})
    strings += [character.encode() for character in provisional]
    may, taken = allowed(limits), {token["content"].encode() for token in data["added_tokens"]}
    words = count_words(core_of(wide), texts, interesting(strings, limits))
    merges, existing = learn(
        words, strings, lambda string: string not in taken and may(string), limits.add, limits.least_count
    )
    chosen = _best(provisional, characters, merges, base, limits.add)
    spelled = {i: piece for piece, i in old.items()} | {base + i: c for i, c in enumerate(provisional)}
    for left, right, new, _ in merges:
        spelled[new] = spelled[left] + spelled[right]
    core, pieces = core_of(data), []
    for new, string in enumerate((spelled[i] for i in chosen), base):
        parts = tuple(token.id for token in core.model.tokenize(string))
        pieces.append(Piece(new, string.encode(), parts))
    _append(data, pieces)
    return Extension(data, pieces, existing)


def _strings(data: dict[str, Any], base: int) -> list[bytes]:
    """What each id stands for; bytes and special tokens are nothing that may be merged."""
    strings = [NOT_TEXT] * base
    special = {token["content"] for token in data["added_tokens"]}
    for piece, i in data["model"]["vocab"].items():
        strings[i] = NOT_TEXT + piece.encode() if piece in special or is_byte(piece) else piece.encode()
    return strings


def is_byte(piece: str) -> bool:
    """Is it ``<0x0A>`` or another of the 256?"""
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _characters(data: dict[str, Any], texts: Iterable[str], limits: Limits) -> dict[str, int]:
    """Characters without a piece, the commonest first, and how often they stand in the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    old = data["model"]["vocab"]
    found = {
        character: count
        for character, count in sorted(counts.items(), key=lambda item: (-_gain(*item), item[0]))
        if count >= limits.least_count and character not in old and not character.isascii()
    }
    return dict(list(found.items())[: limits.add])


def _gain(character: str, count: int) -> int:
    """The ids that a piece for it saves: one stands for as many as it has bytes."""
    return (len(character.encode("utf-8", "replace")) - 1) * count


def _with_words(data: dict[str, Any], characters: dict[str, int]) -> dict[str, Any]:
    """The tokenizer with pieces for these characters, and with words."""
    wide = copy.deepcopy(data)
    wide["model"]["vocab"] |= characters
    split = {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated", "invert": False}
    before = [data["pre_tokenizer"]] if data.get("pre_tokenizer") else []
    wide["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*before, split]}
    return wide


def _best(
    provisional: Sequence[str], counts: dict[str, int], merges: Sequence[Merge], base: int, most: int
) -> list[int]:
    """Ids of the first ``most`` by gain. A character gains at least twice as much as any merge with it, so it is in."""
    gains = [(-_gain(character, counts[character]), base + i) for i, character in enumerate(provisional)]
    ranked = sorted([*gains, *((-merge.times, merge.id) for merge in merges)])
    return [i for _, i in ranked[:most]]


def _append(data: dict[str, Any], pieces: Sequence[Piece]) -> None:
    """Pieces into the vocabulary, and every way to put each together out of two as merges after the old ones."""
    vocab, listed = data["model"]["vocab"], data["model"]["merges"]
    joined = bool(listed) and isinstance(listed[0], str)
    vocab |= {piece.text.decode(): piece.id for piece in pieces}
    special = {token["content"] for token in data["added_tokens"]}
    known = {piece for piece in vocab if piece not in special and not is_byte(piece)}
    for piece in pieces:
        string = piece.text.decode()
        for cut in range(1, len(string)):
            pair = [string[:cut], string[cut:]]
            if known.issuperset(pair):
                listed.append(" ".join(pair) if joined else pair)


def read_proto(path: Path) -> Any:
    """A ``tokenizer.model`` as SentencePiece's own message; a `UserError` if it is damaged or not BPE."""
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise MissingExtra("sentencepiece", "sentencepiece", f"extending {path}") from None
    messages: Any = sentencepiece_model_pb2  # generated code, which no type checker can follow
    proto = messages.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own, which is not to be named without importing it
        raise UserError(f"not a SentencePiece model ({error})", where=path, remedy="Copy the file again") from None
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE or not proto.trainer_spec.byte_fallback:
        what = "a SentencePiece model that is not BPE with byte fallback cannot be extended"
        raise UserError(what, where=path, remedy="Supported: Llama 2's kind")
    return proto


def tokenizer_json(proto: Any) -> dict[str, Any]:
    """The same tokenizer as ``tokenizer.json``: merges are all pairs whose string is a piece, the best score first."""
    pieces = [piece.piece for piece in proto.pieces]
    whole = {p.piece: p.score for p in proto.pieces if p.type in (NORMAL, USER_DEFINED)}
    ranked = sorted(
        (-score, cut, string[:cut], string[cut:])
        for string, score in whole.items()
        for cut in range(1, len(string))
        if string[:cut] in whole and string[cut:] in whole
    )
    normal: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    back: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if proto.normalizer_spec.add_dummy_prefix:
        normal.insert(0, {"type": "Prepend", "prepend": SPACE})
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": i, "content": p.piece, **flags, "special": p.type != USER_DEFINED}
        for i, p in enumerate(proto.pieces)
        if p.type in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    unknown = next((p.piece for p in proto.pieces if p.type == UNKNOWN), None)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normal},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [[left, right] for _, _, left, right in ranked],
        },
    }


def write_model(proto: Any, path: Path, data: dict[str, Any], pieces: Sequence[Piece]) -> None:
    """The old file with the new pieces. Added tokens between the two take the ids that they have elsewhere."""
    lowest = min((p.score for p in proto.pieces if p.type == NORMAL), default=0.0)
    names = {token["id"]: token for token in data["added_tokens"]}
    first = min((piece.id for piece in pieces), default=len(proto.pieces))
    for i in range(len(proto.pieces), first):
        token = names.get(i, {"content": f"<unused_{i}>", "special": True})
        proto.pieces.add(piece=token["content"], score=0.0, type=CONTROL if token["special"] else USER_DEFINED)
    for rank, piece in enumerate(pieces, 1):
        kind = CONTROL if piece.id in names else NORMAL
        score = 0.0 if kind == CONTROL else lowest - rank
        proto.pieces.add(piece=piece.text.decode(), score=score, type=kind)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    with atomic(path, "wb") as handle:
        handle.write(proto.SerializeToString())
