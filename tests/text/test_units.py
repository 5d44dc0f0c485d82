"""Units against a plain reading of what they are, character by character; runs against Horner's rule."""

import itertools
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from danlu.text.units import CHUNK, FOLLOWING, SINGLE, WORD, Index, runs, units

GOLDEN = [4697741621790544042, 18377443136443077353, 1233549507986353015, 13367981498388310495]
# The plain reading: words of letters and digits, and each Chinese character by itself.
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
PLAIN = re.compile(f"[{CHINESE}]|(?:(?![{CHINESE}])[^\\W_])+")
ALPHABET = "abzXYZ019 .,!?-_\n\t'\"你好世界中国𠀀𠀁éÅß"


def spelt(text: str, *, marks: bool = False) -> list[str]:
    """The units of a text as strings: each runs to where the next begins, less what stands between."""
    starts = [*units(text, marks=marks).starts.tolist(), len(text)]
    return [text[a:b].strip(" \n\t\ufeff\ud800") for a, b in itertools.pairwise(starts)]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=ALPHABET, max_size=60))
@example("")
@example("   ")
def test_units_are_words_and_single_characters(text: str) -> None:
    found = units(text)
    expected = [(match.start(), match[0]) for match in PLAIN.finditer(text)]
    assert found.starts.tolist() == [start for start, _ in expected]
    single = [len(word) == 1 and unicodedata.name(word).startswith("CJK") for _, word in expected]
    assert found.kinds.tolist() == [SINGLE if flag else WORD for flag in single]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "b", "ab", "ba", "aab", "中", "国", "𠀀", "𠀁", "x1", "1x", "q" * 40]),
        min_size=1,
        max_size=30,
    )
)
def test_the_same_word_has_the_same_number_wherever_it_stands(words: list[str]) -> None:
    numbers = units(" ".join(words)).hashes.tolist()
    seen: dict[str, int] = {}
    for word, number in zip(words, numbers, strict=True):
        assert seen.setdefault(word, number) == number
    assert len(set(seen.values())) == len(seen)


def test_case_width_accents_and_invisible_characters_make_no_difference() -> None:
    plain = units("cafe abc don t naive").hashes.tolist()
    assert units("CAFE\u0301, ＡＢＣ: don’t na\u200bïve").hashes.tolist() == plain
    assert units("Café ABC don't naïve\ufeff").hashes.tolist() == plain


def test_marks_are_units_when_asked() -> None:
    assert spelt("Buy now!! 50%", marks=True) == ["Buy", "now", "!", "!", "50", "%"]
    assert spelt("Buy now!! 50%") == ["Buy", "now!!", "50%"]  # nothing but marks between two units
    one, two = (units(text, marks=True).hashes.tolist() for text in ("a!", "a?"))
    assert one[0] == two[0]
    assert one[1] != two[1]


def test_numbers_are_the_same_in_every_process() -> None:
    """Measured once and written here: an index on disk or a model must not depend on the machine."""
    assert units("Hello, 世界 2024").hashes.tolist() == GOLDEN
    code = "from danlu.text.units import units; print(units('Hello, 世界 2024').hashes.tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(GOLDEN)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 20])
def test_runs_are_polynomials(n: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 40, np.uint64)
    expected = []
    for start in range(len(hashes) - n + 1):
        value = 0
        for number in hashes[start : start + n].tolist():
            value = (value * FOLLOWING + number) % 2**64
        expected.append(value)
    assert runs(hashes, n).tolist() == expected
    assert len(runs(hashes[: n - 1], n)) == 0


def test_chunks_leave_no_trace() -> None:
    """A text longer than a chunk has the units of its parts, and a word that a chunk would cut stays whole."""
    words = [f"w{n % 977}" for n in range(CHUNK)]
    found = units(" ".join(words))
    by_word = {word: int(units(word).hashes[0]) for word in set(words)}
    assert found.hashes.tolist() == [by_word[word] for word in words]
    assert len(" ".join(words)) > 4 * CHUNK
    chinese = "天地玄黄" * CHUNK
    assert units(chinese).hashes.tolist() == units("天地玄黄").hashes.tolist() * CHUNK
    mixed = "用PyTorch训练" * CHUNK  # no space anywhere, and a word at every border
    assert units(mixed).hashes.tolist() == units("用PyTorch训练").hashes.tolist() * CHUNK


@pytest.mark.parametrize(
    "text", ["\ud800", "\x00", "a\ud800b\x00c", "\U0010ffff", "x" * 1_000_000, "\n" * 100_000, "🙂" * 99]
)
def test_nothing_raises(text: str) -> None:
    for marks in (False, True):
        found = units(text, marks=marks)
        assert len(found.hashes) == len(found.starts) == len(found.kinds)


def test_an_index_finds_exactly_its_keys() -> None:
    draw = np.random.default_rng(1)
    keys = draw.integers(0, 2**64, 5000, np.uint64)
    strangers = draw.integers(0, 2**64, 50_000, np.uint64)
    asked, known = np.concatenate([strangers, keys[:100]]), set(keys.tolist())
    places, found = Index(keys).find(asked)
    assert places.tolist() == [i for i, number in enumerate(asked.tolist()) if number in known]
    assert (Index(keys).keys[found] == asked[places]).all()
    assert len(Index(keys[:0]).find(asked)[0]) == 0
