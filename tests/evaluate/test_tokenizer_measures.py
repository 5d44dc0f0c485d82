"""The numbers of a comparison, each by its definition on a corpus small enough to count by hand."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from danlu.evaluate import blocks
from danlu.evaluate.tokenizer_measures import KINDS, examine, measure
from danlu.text.document import Document


class Characters:
    """A token a character; "?" is unknown, "~" is written as the two bytes of "é", and ids 0 to 3 mean no text."""

    kind, notes = "characters", ("made for a test",)
    special = frozenset({0, 1})
    unknown: int | None = 3

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.vocab_size = 6 + len(letters)
        self.calls = 0

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.calls += 1
        return [[i for letter in text for i in self.ids(letter)] for text in texts]

    def ids(self, letter: str) -> list[int]:
        if letter == "é":
            return [4, 5]
        return [6 + self.letters.index(letter)] if letter in self.letters else [3]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces()[i] or b"" for i in ids).decode("utf-8", "replace")

    def pieces(self) -> list[bytes | None]:
        return [b"<s>", b"</s>", None, b"?", b"\xc3", b"\xa9", *(letter.encode() for letter in self.letters)]


def documents(*texts: str, **meta: str) -> list[Document]:
    return [Document(text, str(i), f"source {i % 2}", dict(meta)) for i, text in enumerate(texts)]


def test_ratios_are_sums_over_documents() -> None:
    text = examine(documents("the dog", "天下大势，", "天a b下 c", "dog"))
    found = measure(Characters("thedogabc 天下大势，"), text, repeats=1)
    assert text.summary() == {
        "documents": 4, "bytes": 7 + 15 + 11 + 3, "characters": 7 + 5 + 7 + 3, "distinct_characters": 15,
        "chinese_documents": 1, "documents_with_spaces": 2, "words": 3, "chinese_characters": 4,
    }  # fmt: skip
    assert found["tokens"] == 22
    assert found["bytes_per_token"] == round(36 / 22, 4)
    assert found["characters_per_token"] == 1
    assert found["tokens_per_word"] == round((7 + 3) / 3, 4)  # the third document is mixed, and in neither
    assert found["tokens_per_chinese_character"] == round(5 / 4, 4)  # the comma's token counts
    assert found["by_source"] == {"source 1": round(18 / 8, 4), "source 0": round(18 / 14, 4)}
    assert found["by_language"] == {"Han": round(15 / 5, 4), "Latin": round(21 / 17, 4)}


def test_marks_and_digits_make_no_language() -> None:
    text = examine(documents("天下，。，。1998", "dog，。，。，。"))
    assert (text.is_chinese.tolist(), text.is_spaced.tolist()) == ([True, False], [False, True])


def test_a_language_that_the_documents_name_wins() -> None:
    found = measure(Characters("dog"), examine(documents("dog", language="nl")), repeats=1)
    assert list(found["by_language"]) == ["nl"]


def test_what_is_unknown_or_in_parts_is_counted() -> None:
    found = measure(Characters("ab"), examine(documents("abxé")), repeats=1)
    assert found["tokens"] == 5
    assert found["unknown_share"] == 0.2
    assert found["partial_share"] == 0.4
    again = measure(Characters("ab"), examine(documents("abxé")), repeats=3)  # only the speed is measured again
    assert (again["tokens"], again["unknown_share"], again["round_trip_failures"]) == (5, 0.2, 1)
    known = Characters("ab")
    known.unknown = None
    assert measure(known, examine(documents("abx")), repeats=1)["unknown_share"] == 0


def test_round_trips_that_fail_are_counted_and_the_first_is_shown() -> None:
    long = "a" * 50
    text = examine(documents("ab", f"{long}x{long}", "ay", "a b"))
    found = measure(Characters("ab"), text, repeats=1)
    assert found["round_trip_failures"] == 3
    assert found["of_these_only_white_space"] == 0
    first = found["first_round_trip_failure"]
    assert first == {
        "document": 2,
        "character": 51,
        "text": "a" * 24 + "x" + "a" * 23,
        "back": "a" * 24 + "?" + "a" * 23,
    }

    class Spaceless(Characters):
        def ids(self, letter: str) -> list[int]:
            return [] if letter == " " else super().ids(letter)

    found = measure(Spaceless("ab"), text, repeats=1)
    assert (found["round_trip_failures"], found["of_these_only_white_space"]) == (3, 1)
    assert measure(Characters("ab"), examine(documents("ab")), repeats=1)["first_round_trip_failure"] is None


def test_a_text_that_comes_back_short_differs_at_its_end() -> None:
    class Cut(Characters):
        def decode(self, ids: Sequence[int]) -> str:
            return super().decode(ids)[:-1]

    first = measure(Cut("ab"), examine(documents("abab")), repeats=1)["first_round_trip_failure"]
    assert first == {"document": 1, "character": 4, "text": "abab", "back": "aba"}


def test_the_vocabulary_by_script_length_and_use() -> None:
    found = measure(Characters("ab天д7, "), examine(documents("aab 天")), repeats=1)
    assert found["vocab_size"] == 13
    assert found["pieces"] == 12  # one id has no piece
    by_hand = {"Han": 1, "Latin": 2, "digits": 1, "other letters": 1, "marks and space": 3, "part of a character": 2, "special": 2}  # fmt: skip
    assert found["pieces_by_script"] == {kind: round(by_hand[kind] / 12, 4) for kind in KINDS}
    assert found["vocabulary_used"] == round(4 / 13, 4)
    assert found["piece_bytes"] == round((1 + 1 + 1 + 5 * 1 + 3 + 2) / 10, 4)
    assert found["piece_characters"] == 1


def test_coverage_counts_the_characters_that_are_pieces() -> None:
    found = measure(Characters("abc天"), examine(documents("ab天天下", "xé")), repeats=1)["blocks"]
    assert found == [
        {"block": "Basic Latin", "characters": 3, "times": 3, "with_a_piece": 2},
        {"block": "CJK Unified Ideographs", "characters": 2, "times": 3, "with_a_piece": 1},
        {"block": "Latin-1 Supplement", "characters": 1, "times": 1, "with_a_piece": 0},
    ]


def test_speed_is_the_median_of_as_many_passes_as_asked() -> None:
    tokenizer, done = Characters("ab"), []
    found = measure(tokenizer, examine(documents("ab" * 50, "ba")), repeats=3, tick=done.append)
    assert (tokenizer.calls, done) == (3, [2, 2, 2])
    runs = found["megabytes_per_second_runs"]
    assert found["megabytes_per_second"] == pytest.approx(sorted(runs)[1], rel=0.01, abs=1e-3)


def test_large_texts_go_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ab" * n for n in range(1, 9)]
    whole = measure(Characters("ab"), examine(documents(*texts)), repeats=1)
    monkeypatch.setattr("danlu.evaluate.tokenizer_measures.BATCH_CHARACTERS", 10)
    tokenizer = Characters("ab")
    parts = measure(tokenizer, examine(documents(*texts)), repeats=1)
    assert tokenizer.calls > 3
    assert {k: v for k, v in parts.items() if "per_second" not in k} == {
        k: v for k, v in whole.items() if "per_second" not in k
    }


@given(st.text())
def test_every_character_counts_once(text: str) -> None:
    found = examine(documents(text)).characters
    assert int(found.sum()) == len(text)
    assert all(found[ord(c)] == text.count(c) for c in text)


def inside(block: str, codes: Sequence[int]) -> list[bool]:
    """Which of the code points the block holds, by the tables of the engine behind `tokenizers.Regex` (Oniguruma)."""
    name = re.sub(r"\W", "_", block)
    split = pre_tokenizers.Split(tokenizers.Regex(rf"\p{{In_{name}}}"), behavior="removed")
    return [not split.pre_tokenize_str(chr(code)) for code in codes]


@pytest.mark.parametrize(("first", "last", "name"), blocks.BLOCKS, ids=[b[2] for b in blocks.BLOCKS])
def test_the_blocks_are_unicodes(first: int, last: int, name: str) -> None:
    codes = [c for c in (first - 1, first, (first + last) // 2, last, last + 1) if c >= 0]
    if name == "Private Use Area":  # before it lie the surrogates, which are no text
        codes = codes[1:]
    assert inside(name, codes) == [first <= code <= last for code in codes]
    assert {blocks.NAMES[n] for n in blocks.table()[[first, last]]} == {name}


def test_every_character_has_a_block_or_is_other() -> None:
    table = blocks.table()
    assert len(table) == 0x110000
    assert int(table.max()) == len(blocks.NAMES) - 1
    assert blocks.NAMES[table[0x1F0A1]] == blocks.OTHER
    assert unicodedata.name(chr(0x9FA5)).startswith("CJK")
    assert np.count_nonzero(table == blocks.NAMES.index("Basic Latin")) == 128
