"""Finding all words of the lists at once gives what a slow and plain search gives."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text import lexicon, wordlists
from danlu.text.lexicon import entries, find

UNIT = re.compile("[a-z0-9]+|[\u4e00-\u9fff]")
TEXTS = {entry.text for entry in entries()}
LONGEST = max(len(UNIT.findall(text)) for text in TEXTS)


def plainly(text: str) -> list[tuple[int, int, str]]:
    """(unit, place, word): at each unit the longest word, and nothing inside another."""
    met = list(UNIT.finditer(text.lower()))
    found, i = list[tuple[int, int, str]](), 0
    while i < len(met):
        taken = 1
        for n in range(min(LONGEST, len(met) - i), 0, -1):
            written = text.lower()[met[i].start() : met[i + n - 1].end()]
            word = written.replace("-", " ") if written.isascii() else written
            if word in TEXTS:
                found.append((i, met[i].start(), word))
                taken = n
                break
        i += taken
    return found


def quickly(text: str) -> list[tuple[int, int, str]]:
    found = find(text)
    assert [len(entries()[e].text) for e in found.entry.tolist()] == (found.end - found.start).tolist()
    return [(u, s, entries()[e].text) for u, s, e in zip(*(c.tolist() for c in (found.unit, found.start, found.entry)))]


PIECES = st.sampled_from([*sorted(TEXTS), "the", "X7", "Women", "BLACK", "in", "一", "的", "其", "同性", "人", "教徒"])
GAPS = st.sampled_from(["", " ", " ", "-", "。", ", ", "\n"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PIECES, GAPS), max_size=25))
def test_it_finds_what_a_plain_search_finds(parts: list[tuple[str, str]]) -> None:
    text = "".join(piece + gap for piece, gap in parts)
    # Between a letter and a Chinese character no gap is needed; two English words without one are another word.
    assert quickly(text) == plainly(text)


def test_of_overlapping_words_the_first_and_longest_counts() -> None:
    assert [word for _, _, word in quickly("其他印度教徒和同性恋者、双相情感障碍")] == [
        "其他",
        "印度教徒",
        "同性恋者",
        "双相情感障碍",
    ]
    assert [word for _, _, word in quickly("Native American, American")] == ["native american", "american"]


def test_of_long_words_that_begin_alike_the_longest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordlists, "EXCEPT", f"{wordlists.EXCEPT} 唐氏综合 唐氏综合征者会")
    for cached in (lexicon.entries, lexicon._tables, lexicon._chinese):
        cached.cache_clear()
    try:
        found = [word for _, _, word in quickly("唐氏综合征，唐氏综合征者会，唐氏综合")]
    finally:
        monkeypatch.undo()
        for cached in (lexicon.entries, lexicon._tables, lexicon._chinese):
            cached.cache_clear()
    assert found == ["唐氏综合征", "唐氏综合征者会", "唐氏综合"]


def test_words_stand_together_and_whole() -> None:
    assert quickly("老。人 老 人 same. sex same  sex others shehe") == []
    assert [word for _, _, word in quickly("Same-sex SAME sex; she’s, SHE.")] == ["same sex", "same sex", "she", "she"]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_can_be_searched(text: str) -> None:
    found = find(text)
    assert len(found.unit) == len(found.entry)
    assert (found.end <= len(text)).all()


def test_nothing_is_found_in_nothing() -> None:
    assert quickly("") == quickly(" ") == quickly("a") == quickly("\x00") == quickly("\ud800") == []


def test_a_word_has_all_its_meanings() -> None:
    by_text = {entry.text: entry for entry in entries()}
    soldier, black = by_text["soldier"], by_text["black"]
    assert soldier.person
    assert wordlists.named(wordlists.OCCUPATIONS)[soldier.job].name == "soldier"
    assert black.only_before_person
    assert wordlists.named(wordlists.GROUPS)[black.group].name == "black people"
    assert by_text["优秀"].polarity == 1
    assert by_text["糟糕"].polarity == -1
    assert by_text["not"].negates
