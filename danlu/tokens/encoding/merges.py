"""Byte-level BPE by tiktoken, with exactly the ids of `tokenizers`: four to five times as fast on Chinese and English.

tiktoken merges whatever pair spells a piece of its vocabulary, `tokenizers` only pairs that are listed. The two agree
if every piece, alone, is merged to itself: until two neighbours are merged, nothing was merged across their outer
borders, so what is between them came about as it would alone, and alone only one pair of neighbours ever comes last. A
piece that is not merged to itself never comes about at all and is left out. Ranks are the places in the list of merges;
a table turns them into ids.

The two also cut text into words by engines of their own, which need not agree on what a letter is. ASCII and the
Chinese characters of Unicode's first version are trusted; whether another character is of the same kind to both is
asked when it first comes (`Kinds`). A text for which that is not so, one that spells an added token or a byte that has
no piece, or one of very long blanks (tiktoken's engine gives up on them) is not encoded here.
"""

import re
from collections.abc import Iterator
from typing import Any
from unicodedata import is_normalized

import numpy as np
import numpy.typing as npt
import tiktoken

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
AFTER_NUMBERS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"  # once they are out
NUMBERS = (r"\p{N}", r"\p{N}{1,3}", r"\p{N}+")
TRUSTED = frozenset(map(chr, (9, 10, 13, *range(32, 127), *range(0x4E00, 0x9FA6))))
BESIDE = ("a", "A", "1", " ", "!", "\n", "'", "中")
MOST_BLANK = 100_000
LONG_BLANK = re.compile(rf"\s{{{MOST_BLANK}}}")
MISSING = 1 << 31  # ranks of bytes that have no piece; no text that holds them comes this far
MOST_ADDED = 100  # beyond, looking for them costs more than is saved
Ids = npt.NDArray[np.uint32]


def added(rules: dict[str, Any]) -> list[str]:
    """The tokens that are looked for in a text before it is split. Special ones are not: text is text."""
    return [token["content"] for token in rules.get("added_tokens", ()) if not token["special"]]


def expression(splitter: dict[str, Any]) -> str | None:
    """One regular expression that cuts text as the ``pre_tokenizer`` of a ``tokenizer.json`` does, if there is one."""
    stages = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    *before, last = stages
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    found = list[str]()
    for stage in before:
        if stage["type"] == "Digits":
            found.append(NUMBERS[0] if stage["individual_digits"] else NUMBERS[2])
        elif stage["type"] == "Split" and (stage["behavior"], stage["invert"]) == ("Isolated", False):
            found.append(stage["pattern"].get("Regex") or re.escape(stage["pattern"]["String"]))
        else:
            return None
    found += [GPT2] if last["use_regex"] else []
    if len(found) == 2 and found[0] in NUMBERS and found[1] == GPT2:
        found = [f"{found[0]}|{AFTER_NUMBERS}"]
    return rf"{found[0]}|(?:(?!{found[0]})[\s\S])+" if len(found) == 1 else None  # what nothing matches is a word, too


class Merges:
    """Texts → ids, for a tokenizer that can be told to tiktoken."""

    def __init__(self, core: Any, rules: dict[str, Any], cut: str) -> None:
        self._added, self._normal = added(rules), rules.get("normalizer") is not None
        letters = _alphabet()
        ranks, ids = _ranked(core, rules, letters)
        missing = [b for b in range(256) if bytes([b]) not in ranks]
        for byte in missing:
            ranks[bytes([byte])] = MISSING + byte
        self._table = np.zeros(max(ids) + 1, np.uint32)
        self._table[list(ids)] = list(ids.values())
        self._encoding = tiktoken.Encoding("", pat_str=cut, mergeable_ranks=ranks, special_tokens={})
        self._kinds = Kinds(core, cut, letters, _holding(missing))

    @classmethod
    def of(cls, core: Any, rules: dict[str, Any]) -> "Merges | None":
        """For a tokenizer of the library and its ``tokenizer.json``; None where tiktoken cannot do the same."""
        model, normalizer = rules["model"], rules.get("normalizer")
        odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "unk_token")
        if model["type"] != "BPE" or any(model.get(key) for key in odd) or len(added(rules)) > MOST_ADDED:
            return None
        # NFC makes a K of the sign for kelvin, so a token might be spelled where nobody sees it.
        unseen = any(token["normalized"] for token in rules.get("added_tokens", ()) if not token["special"])
        if normalizer is not None and (normalizer["type"] != "NFC" or unseen):
            return None
        cut = expression(rules.get("pre_tokenizer") or {"type": "none"})
        try:
            return None if cut is None else cls(core, rules, cut)
        except ValueError:  # two merges of one piece, a byte that goes unspelled, an expression of another dialect
            return None

    def ids(self, text: str) -> Ids | None:
        """Of a text, or None if the library has to be asked."""
        if any(token in text for token in self._added) or not self._kinds.agree(text):
            return None
        if (self._normal and not is_normalized("NFC", text)) or (len(text) > MOST_BLANK and LONG_BLANK.search(text)):
            return None
        return self._table[np.array(self._encoding.encode_ordinary(text), np.uint32)]  # its way to numpy is slower


class Kinds:
    """Which characters both engines take for the same: letters, numbers, blanks, marks.

    A pair of any two bytes is a piece here, those with ASCII first; so a byte of ASCII that stands in a word with a
    neighbour is merged with it, and ids show where words end. Characters that ``refused`` matches are never alike.
    """

    def __init__(self, core: Any, cut: str, letters: dict[str, int], refused: "re.Pattern[str]") -> None:
        self._core, self._letters = core, letters
        pairs = sorted((bytes([a, b]) for a in range(256) for b in range(256)), key=lambda p: min(p) >= 128)
        ranks = {**{bytes([b]): b for b in range(256)}, **{pair: 256 + i for i, pair in enumerate(pairs)}}
        self._encoding = tiktoken.Encoding("", pat_str=cut, mergeable_ranks=ranks, special_tokens={})
        self._others = {character for character in TRUSTED if refused.match(character)}
        self._alike, self._refused = set(TRUSTED - self._others), refused

    def agree(self, text: str) -> bool:
        """On all characters of a text?"""
        characters = set(text)
        for new in characters.difference(self._alike, self._others):
            (self._alike if self._same(new) else self._others).add(new)
        return characters.isdisjoint(self._others)

    def _same(self, character: str) -> bool:
        if self._refused.match(character):
            return False
        texts = [character * 2, f"a{character}a", f" {character}a", f"1{character}1"]
        texts += [text for other in BESIDE for text in (f"{other}{character}", f"{character}{other}")]
        return all(self._encoding.encode_ordinary(text) == list(self._by_library(text)) for text in texts)

    def _by_library(self, text: str) -> Iterator[int]:
        normal = self._core.normalizer.normalize_str(text) if self._core.normalizer else text
        for word, _ in self._core.pre_tokenizer.pre_tokenize_str(normal):
            yield from self._encoding._encode_single_piece(bytes(self._letters[letter] for letter in word))


def _alphabet() -> dict[str, int]:
    """The letters in which byte-level tokenizers spell bytes (Radford et al. 2019, `bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _ranked(core: Any, rules: dict[str, Any], letters: dict[str, int]) -> tuple[dict[bytes, int], dict[int, int]]:
    """Piece → rank, and rank → id, of the pieces that come about; a `ValueError` where ranks cannot say the same."""
    from tokenizers import Tokenizer

    model = rules["model"]
    vocabulary: dict[str, int] = model["vocab"]
    if model.get("ignore_merges"):  # a word that is a piece is one at once; asked so, the library would say yes to all
        core = Tokenizer.from_str(_without(core))
    ranks, ids = dict[bytes, int](), dict[int, int]()
    for letter, byte in letters.items():
        if letter in vocabulary:
            ranks[bytes([byte])], ids[byte] = byte, vocabulary[letter]
    merged = ["".join(pair if isinstance(pair, list) else pair.split(" ")) for pair in model["merges"]]
    if len(set(merged)) < len(merged):
        raise ValueError("a piece has two merges")
    for place, piece in enumerate(merged):
        if [token.value for token in core.model.tokenize(piece)] == [piece]:
            rank = 256 + place
            ranks[bytes(letters[letter] for letter in piece)], ids[rank] = rank, vocabulary[piece]
    added = {token["content"] for token in rules.get("added_tokens", ())}
    whole = sum(len(piece) > 1 and piece not in added for piece in vocabulary)
    if model.get("ignore_merges") and whole > len(ranks) - 256:
        raise ValueError("a word may be a piece that is not merged")
    return ranks, ids


def _without(core: Any) -> str:
    import json

    rules = json.loads(core.to_str())
    rules["model"]["ignore_merges"] = False
    return json.dumps(rules)


def _holding(missing: list[int]) -> "re.Pattern[str]":
    """A character whose UTF-8 holds one of these bytes."""
    if any(0x80 <= byte < 0xC0 for byte in missing):
        raise ValueError("most characters hold such a byte")
    ranges = [(byte, byte) for byte in missing if byte < 0x80]
    ranges += [((b & 0x1F) << 6, ((b & 0x1F) << 6) + 0x3F) for b in missing if 0xC2 <= b < 0xE0]
    ranges += [((b & 0x0F) << 12, ((b & 0x0F) << 12) + 0xFFF) for b in missing if 0xE0 <= b < 0xF0]
    ranges += [((b & 7) << 18, min(((b & 7) << 18) + 0x3FFFF, 0x10FFFF)) for b in missing if 0xF0 <= b < 0xF5]
    return re.compile("[" + "".join(rf"\U{a:08x}-\U{b:08x}" for a, b in ranges) + "]" if ranges else r"(?!)")
