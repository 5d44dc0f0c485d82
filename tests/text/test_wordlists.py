"""The lists themselves: well-formed, and no word on both sides of a question."""

import pytest

from danlu.text.wordlists import (
    EXCEPT,
    GROUPS,
    NEGATIONS,
    NEGATIONS_BEFORE,
    NEGATIVE,
    OCCUPATIONS,
    PEOPLE,
    POSITIVE,
    named,
)

ALL = [word for table in (GROUPS, OCCUPATIONS) for row in named(table) for word in row.words]


def test_tables_are_read_as_they_are_written() -> None:
    rows = {row.name: row for row in named(GROUPS)}
    assert rows["women"].attribute == rows["men"].attribute == "gender"
    assert {row.attribute for row in named(GROUPS)} == {
        "gender",
        "religion",
        "ethnicity and origin",
        "age",
        "disability",
        "orientation",
    }
    assert rows["women"].words[0] == "she"
    assert "女友" in rows["women"].words  # from a row that goes on
    assert rows["Sikhs"].words == ("sikh", "sikhs", "sikhism", "锡克教", "錫克教", "锡克教徒", "錫克教徒")
    assert [row.name for row in named(OCCUPATIONS)][:2] == ["doctor", "nurse"]


@pytest.mark.parametrize("text", [POSITIVE, NEGATIVE, PEOPLE, EXCEPT, NEGATIONS, NEGATIONS_BEFORE, " ".join(ALL)])
def test_every_word_is_there_once_and_in_lower_case(text: str) -> None:
    words = text.split()
    assert len(words) == len(set(words))
    for word in filter(str.isascii, words):
        assert word == word.lower()
        assert word.replace("_", "").rstrip("*").isalpha()
        assert word.count("_") <= 1
    assert all("\u4e00" <= character <= "\u9fff" for word in words if not word.isascii() for character in word)


def test_no_word_is_good_and_bad_and_none_for_people_is_either() -> None:
    good, bad = set(POSITIVE.split()), set(NEGATIVE.split())
    assert not good & bad
    assert not {word.rstrip("*") for word in ALL} & (good | bad)
    assert not set(PEOPLE.split()) & (good | bad)
