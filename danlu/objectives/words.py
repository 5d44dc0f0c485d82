"""Where words begin in a row of ids, from tables over the vocabulary: whole words are masked by it.

A piece goes on with the word before it if it begins with a letter and the piece before ends with one, or is a space,
both of a script that puts spaces between words; numbers likewise; and if it begins in the middle of a character, or
is marked as an inner piece (WordPiece's ``##``). A space, or its sign, begins a word, and a punctuation mark is one.
So the words of letters are those that the pre-tokenizer cuts. Chinese and other scripts without spaces it cuts in
runs of up to 12 characters, too long to mask together: there each piece is a word, one character or the few that the
tokenizer joined.

Legend: V vocabulary, T time.
"""

import json
import re
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from danlu.text.units import UNSPACED
from danlu.tokens.extending.extend import unspelled
from danlu.tokens.tokenizer import Tokenizer

Array = npt.NDArray[Any]
ALONE, LETTER, NUMBER, INSIDE, SPACE = range(5)
MARK, BYTE = "\u2581", re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's space, and its spelling of a byte


class Words:
    """``first`` and ``last``: of what kind a piece's first and last characters are, int8 [V]."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        rules = json.loads(tokenizer.rules)
        steps = json.dumps([rules.get("pre_tokenizer"), rules.get("decoder")])
        bytewise, inner = '"ByteLevel"' in steps, rules["model"].get("continuing_subword_prefix") or ""
        self.first, self.last = (np.full(tokenizer.vocab_size, ALONE, np.int8) for _ in range(2))
        named = {*tokenizer.special_ids.values(), tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
        self.special = np.zeros(tokenizer.vocab_size, np.bool_)
        self.special[sorted(named)] = True
        for i in range(tokenizer.vocab_size):
            piece = tokenizer.token(i)
            if i in named or not piece:
                continue
            marked = bool(inner) and piece.startswith(inner)
            raw = unspelled(piece) if bytewise else _bytes(piece.removeprefix(inner) if marked else piece)
            self.first[i], self.last[i] = _first(raw), _last(raw)
            if inner:  # WordPiece says itself what is inside
                self.first[i] = INSIDE if marked else ALONE

    def begins(self, ids: Array, segments: Array) -> npt.NDArray[np.bool_]:
        """Does a word begin at each place? ids, segments: [T] -> [T]; the first token of a segment always does."""
        first, last = self.first[ids[1:]], self.last[ids]
        # Of a piece from the inside of a character nobody can say what it ends with: what the one before began.
        last = last[np.maximum.accumulate(np.where(last == INSIDE, 0, np.arange(len(ids))))][:-1]
        joined = (first == INSIDE) | ((first != ALONE) & (first == last)) | ((first == LETTER) & (last == SPACE))
        found = np.ones(len(ids), np.bool_)
        found[1:] = ~joined
        found[1:] |= (segments[1:] != segments[:-1]) | self.special[ids[:-1]]
        return found


def _bytes(piece: str) -> bytes:
    byte = BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(MARK, " ").encode()


def _first(raw: bytes) -> int:
    if not raw or 0x80 <= raw[0] < 0xC0:  # UTF-8: the rest of a character
        return INSIDE
    whole = raw.decode("utf-8", "ignore")[:1]
    return _kind(whole) if whole and whole.encode()[0] == raw[0] else _begun(raw[0])


def _last(raw: bytes) -> int:
    if raw == b" ":
        return SPACE
    for back in range(1, min(len(raw), 4) + 1):
        if not 0x80 <= raw[-back] < 0xC0:  # where the last character begins
            whole = raw[-back:].decode("utf-8", "ignore")
            return _kind(whole) if whole else _begun(raw[-back])
    return INSIDE


def _begun(byte: int) -> int:
    """What a character of which only the first byte is known may be: of two bytes nearly all are letters."""
    return LETTER if 0xC3 <= byte < 0xE0 else ALONE


def _kind(character: str) -> int:
    if not character or any(low <= ord(character) <= high for low, high in UNSPACED) or ord(character) >= 0x20000:
        return ALONE
    return {"L": LETTER, "M": LETTER, "N": NUMBER}.get(unicodedata.category(character)[0], ALONE)
