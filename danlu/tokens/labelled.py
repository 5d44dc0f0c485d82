"""Samples → rows of ids: texts cut to length, sentences word by word, contexts in overlapping windows.

Words are encoded one by one, with the space that stands before them, so each has a first piece of its own to carry its
tag, and no piece spans two words. A sentence or context that is longer than a row becomes several, which share
``stride`` tokens; of a word in two windows the one counts in which it has more on both sides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from danlu.base.errors import UserError
from danlu.text.labelled import tight
from danlu.text.sample import Sample
from danlu.tokens.examples import Example, Value
from danlu.tokens.frames import RowFrame, cut
from danlu.tokens.tokenizer import Tokenizer

LEAST = 4  # tokens of a row that must be left for text
MARK = "\u2581"


class Encoder:
    """Makes rows of at most ``length`` tokens; ``types`` if the model knows kinds of tokens."""

    def __init__(self, tokenizer: Tokenizer, *, causal: bool, length: int, stride: int = 0, types: int = 0) -> None:
        self.tokenizer, self.length, self.stride, self.typed = tokenizer, length, stride, types > 1
        self.frame = RowFrame.of(tokenizer, causal=causal)
        if min(self.frame.room(length), self.frame.room(length, pair=True)) < LEAST:
            raise UserError(f"length {length} leaves no room for a text", where="recipe: length")
        # SentencePiece's way: the tokenizer itself puts the sign of a space before a word
        self._marks = tokenizer.core.encode("a", add_special_tokens=False).tokens[0].startswith(MARK)
        self._pieces: dict[str, list[int]] = {}

    def texts(self, samples: Sequence[Sample]) -> list[Example]:
        """One row a sample, of its text or its two texts, their ends cut off where they do not fit."""
        first = self.tokenizer.encode_batch([sample.text for sample in samples])
        second = self.tokenizer.encode_batch([sample.pair or "" for sample in samples])
        found = []
        for number, (sample, a, b) in enumerate(zip(samples, first, second, strict=True)):
            if sample.pair is None:
                row, types = self.frame.single(a[: self.frame.room(self.length)] or self._nothing)
            else:
                row, types = self.frame.pair(*cut(a or self._nothing, b, self.frame.room(self.length, pair=True)))
            found.append(self._example(row, types, number))
        return found

    def sides(self, samples: Sequence[Sample]) -> list[Example]:
        """One row for each text of a sample: the text, its pair, its negative."""
        columns = [[s.text for s in samples], [s.pair or "" for s in samples], [s.negative or "" for s in samples]]
        encoded = [self.tokenizer.encode_batch(column) for column in columns]
        room = self.frame.room(self.length)
        found = []
        for number, sample in enumerate(samples):
            rows = [self.frame.single(ids[number][:room] or self._nothing)[0] for ids in encoded]
            wanted = [text for text in (sample.pair, sample.negative) if text is not None]
            found.append(Example(rows[0], owner=number, sides=tuple(rows[1 : 1 + len(wanted)])))
        return found

    @property
    def _nothing(self) -> list[int]:
        """What stands for a text or a word that the tokenizer leaves nothing of."""
        unknown = self.tokenizer.unknown_id
        return [self.tokenizer.eos_id if unknown is None else unknown]

    def _example(self, row: list[int], types: list[int], owner: int) -> Example:
        values: dict[str, Value] = {"types": types} if self.typed else {}
        return Example(row, values, owner)

    def words(self, samples: Sequence[Sample]) -> list[Example]:
        """Rows of a sample's words; ``places`` say which word's first piece a token is, -1 for all others."""
        spelled = [[*self._spelled(sample.words)] for sample in samples]
        new = sorted({piece for pieces in spelled for piece in pieces} - self._pieces.keys())
        self._pieces |= dict(zip(new, self.tokenizer.encode_batch(new), strict=True)) if new else {}
        found = []
        room = self.frame.room(self.length)
        for number, pieces in enumerate(spelled):
            ids = [(self._pieces[piece] or self._nothing)[:room] for piece in pieces]
            for begin, end, own, last in _word_windows([len(word) for word in ids], room, self.stride):
                row, types = self.frame.single([i for word in ids[begin:end] for i in word])
                places = [-1] * len(row)
                at = len(self.frame.before)
                for word in range(begin, end):
                    if own <= word < last:
                        places[at] = word
                    at += len(ids[word])
                found.append(replace(self._example(row, types, number), places=tuple(places)))
        return found

    def _spelled(self, words: Sequence[str]) -> Iterator[str]:
        for i, word in enumerate(words):
            apart = i > 0 and not self._marks and not tight(words[i - 1], word)
            yield f" {word}" if apart else word

    def questions(self, samples: Sequence[Sample]) -> list[Example]:
        """Rows of a question and a part of its context; ``places`` are the characters of the context's tokens."""
        asked = self.tokenizer.encode_batch([sample.text for sample in samples])
        found = []
        space = self.frame.room(self.length, pair=True)
        for number, (sample, question) in enumerate(zip(samples, asked, strict=True)):
            assert sample.pair is not None
            context, offsets = self.tokenizer.encode_spans(sample.pair, parse=False)
            short = question[: space // 2]
            room = space - len(short)
            step = room - min(self.stride, room // 2)
            for begin in range(0, max(len(context) - room, 0) + step, step):
                part = context[begin : begin + room]
                row, types = self.frame.pair(short, part)
                start = len(row) - len(self.frame.end) - len(part)
                places = [(-1, -1)] * start + offsets[begin : begin + room]
                places += [(-1, -1)] * (len(row) - len(places))
                found.append(replace(self._example(row, types, number), places=tuple(places)))
                if begin + room >= len(context):
                    break
        return found


def _word_windows(sizes: Sequence[int], room: int, stride: int) -> Iterator[tuple[int, int, int, int]]:
    """(first word, end, first word that counts, end of those) for window after window of at most ``room`` tokens."""
    begin = own = 0
    while True:
        end, used = begin, 0
        while end < len(sizes) and used + sizes[end] <= room:
            used += sizes[end]
            end += 1
        if end == len(sizes):
            yield begin, end, own, end
            return
        following, shared = end, 0
        while following > begin + 1 and shared + sizes[following - 1] <= stride:
            following -= 1
            shared += sizes[following]
        middle = (following + end + 1) // 2
        yield begin, end, own, middle
        begin, own = following, middle
