"""What a tokenizer makes of a corpus, in numbers that can be compared between tokenizers of any kind.

Ratios are sums over documents, so a long document counts for more. Words are those of `danlu.text.units`: runs of
letters and digits. Tokens a word are counted on documents in scripts with spaces, tokens a Chinese character on
documents whose letters are Chinese for the most part, all tokens of a document counted; what is mixed is in neither.

Left out: how well a model learns from the tokens, which no count over text says.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.evaluate import blocks
from danlu.text.composition import SCRIPTS
from danlu.text.document import Document
from danlu.text.units import SINGLE, WORD, units
from danlu.tokens.foreign import AnyTokenizer

BATCH_CHARACTERS = 1 << 20
CHINESE, SPACED = 0.8, 0.05  # shares of a document's letters: at least so many Chinese ones; at most so many unspaced
SHOWN, AROUND = 20, 24  # sources by name; characters on each side of a difference
LETTERS = (
    "Latin",
    "Han",
    "Kana",
    "Hangul",
    "Cyrillic",
    "Greek",
    "Arabic",
    "Hebrew",
    "Indic",
    "Thai, Lao, Khmer, Burmese",
)
KINDS = ("Han", "Latin", "digits", "other letters", "marks and space", "part of a character", "special")
Counts = NDArray[np.int64]


@dataclass
class Text:
    """A corpus, and what is counted in it once for all tokenizers."""

    texts: list[str]
    groups: dict[str, list[str]]  # "source", "language" → the group of each document
    bytes: Counts  # [documents]
    words: Counts
    chinese: Counts  # Chinese characters
    is_chinese: NDArray[np.bool_]
    is_spaced: NDArray[np.bool_]
    characters: Counts = field(repr=False)  # [code points]: how often each is met

    def summary(self) -> dict[str, Any]:
        """The corpus in numbers."""
        return {
            "documents": len(self.texts),
            "bytes": int(self.bytes.sum()),
            "characters": int(self.characters.sum()),
            "distinct_characters": int(np.count_nonzero(self.characters)),
            "chinese_documents": int(self.is_chinese.sum()),
            "documents_with_spaces": int(self.is_spaced.sum()),
            "words": int(self.words[self.is_spaced].sum()),
            "chinese_characters": int(self.chinese[self.is_chinese].sum()),
        }


def _script_table() -> NDArray[np.uint8]:
    """The number of the script of each code point."""
    table = np.full(blocks.CODES, len(SCRIPTS) - 1, np.uint8)
    for number, (_, ranges) in enumerate(SCRIPTS):
        for first, last in ranges:
            table[first : last + 1] = number
    return table


def examine(documents: Sequence[Document]) -> Text:
    """Count what is in the documents."""
    table = _script_table()
    names = [name for name, _ in SCRIPTS]
    letters = np.array([names.index(name) for name in LETTERS])
    characters = np.zeros(blocks.CODES, np.int64)
    rows: list[tuple[int, int, int, float, float]] = []
    languages = []
    for document in documents:
        codes = np.frombuffer(document.text.encode("utf-32-le"), "<u4")
        found = np.bincount(codes)
        characters[: len(found)] += found
        scripts = np.bincount(table[codes], minlength=len(SCRIPTS))
        kinds = units(document.text).kinds
        words, singles = int((kinds == WORD).sum()), int((kinds == SINGLE).sum())
        total, han = max(int(scripts[letters].sum()), 1), int(scripts[names.index("Han")])
        rows.append((document.bytes, words, han, han / total, singles / total))
        most = LETTERS[int(np.argmax(scripts[letters]))] if scripts[letters].any() else "no letters"
        languages.append(str(document.meta.get("language") or most))
    counts = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
    shares = np.array([row[3:] for row in rows], float).reshape(-1, 2)
    chinese, spaced = shares[:, 0] >= CHINESE, (shares[:, 1] <= SPACED) & (counts[:, 1] > 0)
    groups = {"source": [document.source for document in documents], "language": languages}
    texts = [document.text for document in documents]
    return Text(texts, groups, counts[:, 0], counts[:, 1], counts[:, 2], chinese, spaced, characters)


def measure(
    tokenizer: AnyTokenizer, text: Text, *, repeats: int = 3, tick: Callable[[int], object] = lambda done: None
) -> dict[str, Any]:
    """All numbers of one tokenizer; ``tick`` hears how many more documents are done."""
    used, tokens = np.zeros(tokenizer.vocab_size, np.int64), np.zeros(len(text.texts), np.int64)
    trips = _Trips()
    seconds = [0.0] * repeats
    for turn in range(repeats):
        for first, batch in _batches(text.texts):
            began = time.process_time()  # and not the clock on the wall: other programs must not count
            encoded = tokenizer.encode_batch(batch)
            seconds[turn] += time.process_time() - began
            if turn == 0:
                for place, (original, ids) in enumerate(zip(batch, encoded, strict=True), first):
                    tokens[place] = len(ids)
                    used += np.bincount(np.asarray(ids, np.int64), minlength=len(used))
                    trips.check(original, tokenizer.decode(ids), place)
            tick(len(batch))
    pieces = tokenizer.pieces()
    total = int(tokens.sum())
    parts = np.array([piece is not None and not _is_text(piece) for piece in pieces], bool)
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "tokens": total,
        "bytes_per_token": _ratio(text.bytes.sum(), total),
        "characters_per_token": _ratio(text.characters.sum(), total),
        "tokens_per_word": _ratio(tokens[text.is_spaced].sum(), text.words[text.is_spaced].sum()),
        "tokens_per_chinese_character": _ratio(tokens[text.is_chinese].sum(), text.chinese[text.is_chinese].sum()),
        "unknown_share": _ratio(used[tokenizer.unknown], total, 6) if tokenizer.unknown is not None else 0.0,
        "partial_share": _ratio(used[: len(parts)][parts].sum(), total),
        **trips.result(),
        "vocabulary_used": _ratio(np.count_nonzero(used), tokenizer.vocab_size),
        "megabytes_per_second": _ratio(text.bytes.sum() / 1e6, median(seconds)),
        "megabytes_per_second_runs": [_ratio(text.bytes.sum() / 1e6, run) for run in seconds],
        **_vocabulary(tokenizer, pieces),
        "blocks": _coverage(pieces, text.characters),
        "by_source": _by_group(text, tokens, "source"),
        "by_language": _by_group(text, tokens, "language"),
        "notes": list(tokenizer.notes),
    }


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The texts, some at a time, with the place of the first."""
    first, batch, size = 0, list[str](), 0
    for place, item in enumerate(texts):
        batch.append(item)
        size += len(item)
        if size >= BATCH_CHARACTERS:
            yield first, batch
            first, batch, size = place + 1, [], 0
    if batch:
        yield first, batch


def _ratio(part: Any, whole: Any, digits: int = 4) -> float | None:
    return round(float(part) / float(whole), digits) if whole else None


class _Trips:
    """Documents that do not come back as they went."""

    def __init__(self) -> None:
        self.failures = self.only_space = 0
        self.first: dict[str, Any] | None = None

    def check(self, text: str, back: str, place: int) -> None:
        """Compare a document with what was decoded from its tokens."""
        if text == back:
            return
        self.failures += 1
        self.only_space += "".join(text.split()) == "".join(back.split())
        if self.first is None:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back))
            )
            start, end = max(at - AROUND, 0), at + AROUND
            self.first = {"document": place + 1, "character": at + 1, "text": text[start:end], "back": back[start:end]}

    def result(self) -> dict[str, Any]:
        """The counts and the first difference."""
        return {
            "round_trip_failures": self.failures,
            "of_these_only_white_space": self.only_space,
            "first_round_trip_failure": self.first,
        }


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _vocabulary(tokenizer: AnyTokenizer, pieces: Sequence[bytes | None]) -> dict[str, Any]:
    """What the pieces are: scripts, lengths."""
    table, names = _script_table(), [name for name, _ in SCRIPTS]
    counts = dict.fromkeys(KINDS, 0)
    sizes, lengths = [], []
    for i, piece in enumerate(pieces):
        if piece is None:
            continue
        if i in tokenizer.special:
            counts["special"] += 1
            continue
        sizes.append(len(piece))
        if not _is_text(piece):
            counts["part of a character"] += 1
            continue
        spelt = piece.decode()
        lengths.append(len(spelt))
        counts[_kind(spelt, {names[table[ord(character)]] for character in spelt})] += 1
    everything = max(sum(counts.values()), 1)
    return {
        "pieces": everything,
        "piece_bytes": _ratio(sum(sizes), len(sizes)),
        "piece_characters": _ratio(sum(lengths), len(lengths)),
        "pieces_by_script": {kind: round(number / everything, 4) for kind, number in counts.items()},
    }


def _kind(piece: str, scripts: set[str]) -> str:
    """One of `KINDS` for a piece with characters of these scripts."""
    for name in ("Han", "Latin"):
        if name in scripts:
            return name
    if any(character.isalpha() for character in piece):
        return "other letters"
    return "digits" if "digits" in scripts else "marks and space"


def _coverage(pieces: Sequence[bytes | None], characters: Counts) -> list[dict[str, Any]]:
    """Of each block of Unicode that is met: how many characters, and how many of them are a piece of their own."""
    own = np.zeros(blocks.CODES, bool)
    for piece in pieces:
        if piece is not None and len(piece) <= 5 and _is_text(piece):  # four bytes, or a space and four
            spelt = piece.decode()
            spelt = spelt[1:] if len(spelt) == 2 and spelt[0] == " " else spelt
            if len(spelt) == 1:
                own[ord(spelt)] = True
    met = np.flatnonzero(characters)
    numbers = blocks.table()[met]
    distinct = np.bincount(numbers, minlength=len(blocks.NAMES))
    covered = np.bincount(numbers[own[met]], minlength=len(blocks.NAMES))
    times = np.bincount(numbers, weights=characters[met], minlength=len(blocks.NAMES))
    order = np.argsort(-times, kind="stable")
    return [
        {
            "block": blocks.NAMES[n],
            "characters": int(distinct[n]),
            "times": int(times[n]),
            "with_a_piece": int(covered[n]),
        }
        for n in order.tolist()
        if distinct[n]
    ]


def _by_group(text: Text, tokens: Counts, group: str) -> dict[str, float | None]:
    """Bytes a token of the largest groups."""
    sums: dict[str, list[int]] = {}
    for name, size, number in zip(text.groups[group], text.bytes.tolist(), tokens.tolist(), strict=True):
        pair = sums.setdefault(name, [0, 0])
        pair[0] += size
        pair[1] += number
    ranked = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
    return {name: _ratio(size, number) for name, (size, number) in ranked[:SHOWN]}
