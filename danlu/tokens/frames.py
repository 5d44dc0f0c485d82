"""What a tokenizer puts around one text or two: [CLS] A [SEP] B [SEP], read off its own post-processor.

So a row here is what ``tokenizer(text, text_pair)`` gives in transformers, token kinds included, and parts can be cut
to length before they are framed. A tokenizer that puts nothing between two texts gets a line break there. After a text
for a decoder the padding's own id is left out: transformers reads a row at its last token that is not padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from danlu.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class RowFrame:
    """The ids before, between and after; ``second`` is the kind of the tokens of a second text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    between: tuple[int, ...]
    end: tuple[int, ...]
    second: int = 0

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, causal: bool) -> "RowFrame":
        """What the tokenizer does, found by letting it do it."""
        single = tokenizer.core.encode("a", add_special_tokens=True)
        first = [i for i, found in enumerate(single.sequence_ids) if found == 0]
        before, after = single.ids[: first[0]], single.ids[first[-1] + 1 :]
        pair = tokenizer.core.encode("a", "b", add_special_tokens=True)
        places: list[list[int]] = [[i for i, found in enumerate(pair.sequence_ids) if found == n] for n in (0, 1)]
        between, end = pair.ids[places[0][-1] + 1 : places[1][0]], pair.ids[places[1][-1] + 1 :]
        if causal:
            after, end = ([i for i in ids if i != tokenizer.pad_id] for ids in (after, end))
        second = int(pair.type_ids[places[1][0]])
        return cls(tuple(before), tuple(after), tuple(between or tokenizer.encode("\n")), tuple(end), second)

    def room(self, length: int, *, pair: bool = False) -> int:
        """Tokens of a row of ``length`` that are left for text."""
        around = len(self.before) + (len(self.between) + len(self.end) if pair else len(self.after))
        return length - around

    def single(self, ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """One text: ids and kinds."""
        row = [*self.before, *ids, *self.after]
        return row, [0] * len(row)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
        """Two texts: ids and kinds. The second begins at ``len(row) - len(end) - len(second)``."""
        begin = [*self.before, *first, *self.between]
        rest = [*second, *self.end]
        return begin + rest, [0] * len(begin) + [self.second] * len(rest)


def cut(first: Sequence[int], second: Sequence[int], room: int) -> tuple[list[int], list[int]]:
    """Both so short that they fit together: the longer loses its end until they are equally long, then both."""
    shorter = min(len(first), len(second))
    keep = max(room - shorter, room - room // 2)  # for the longer
    if len(first) >= len(second):
        first = first[:keep]
        return list(first), list(second[: room - len(first)])
    second = second[:keep]
    return list(first[: room - len(second)]), list(second)
