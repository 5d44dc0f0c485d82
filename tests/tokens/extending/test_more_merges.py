"""Merges learned from the middle on, against counting everything again before each one."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from danlu.tokens.extending.more_merges import Merge, Words, learn

STRINGS = [b"a", b"b", b"c", b"ab"]


def words_of(listed: dict[tuple[int, ...], int]) -> Words:
    ids = np.array([i for word in listed for i in word], np.int32)
    lengths = np.array([len(word) for word in listed], np.int64)
    return Words(ids, lengths, np.array(list(listed.values()), np.int64))


def replaced(word: list[int], left: int, right: int, new: int) -> list[int]:
    """From the left, as an encoder does it."""
    found: list[int] = []
    at = 0
    while at < len(word):
        pair = word[at : at + 2] == [left, right]
        found.append(new if pair else word[at])
        at += 2 if pair else 1
    return found


def plainly(
    listed: dict[tuple[int, ...], int], strings: list[bytes], longest: int, most: int, least: int
) -> list[Merge]:
    """The definition: count every pair, take the best that is new, replace it, and again."""
    words, strings = [(list(word), count) for word, count in listed.items()], list(strings)
    merges: list[Merge] = []
    while len(merges) < most:
        counts: Counter[tuple[int, int]] = Counter()
        for word, count in words:
            for left, right in set(pairwise(word)):
                times = len(word) - len(replaced(word, left, right, -1))
                counts[left, right] += times * count
        good = {
            pair: count
            for pair, count in counts.items()
            if count >= least
            and strings[pair[0]] + strings[pair[1]] not in strings
            and len(strings[pair[0]] + strings[pair[1]]) <= longest
        }
        if not good:
            break
        (left, right), count = min(good.items(), key=lambda item: (-item[1], item[0]))
        merges.append(Merge(left, right, len(strings), count))
        words = [(replaced(word, left, right, len(strings)), times) for word, times in words]
        strings.append(strings[left] + strings[right])
    return merges


WORDS = st.dictionaries(st.lists(st.integers(0, 3), min_size=2, max_size=9).map(tuple), st.integers(1, 5), max_size=12)


@given(WORDS, st.integers(1, 6), st.integers(1, 3))
def test_the_merges_are_those_of_the_definition(listed: dict[tuple[int, ...], int], longest: int, least: int) -> None:
    found, _ = learn(words_of(listed), STRINGS, lambda string: len(string) <= longest, 8, least)
    assert found == plainly(listed, STRINGS, longest, 8, least)


def test_a_run_of_the_same_id_is_merged_from_the_left() -> None:
    found, _ = learn(words_of({(2, 2, 2): 1, (2, 2): 1}), STRINGS, lambda _: True, 5, 1)
    assert found == [Merge(2, 2, 4, 2), Merge(4, 2, 5, 1)]


def test_a_string_that_is_a_piece_is_passed_over_and_counted() -> None:
    merges, existing = learn(words_of({(0, 1): 9, (1, 0): 2}), STRINGS, lambda _: True, 5, 1)
    assert merges == [Merge(1, 0, 4, 2)]
    assert existing == 1


def test_no_words() -> None:
    assert learn(words_of({}), STRINGS, lambda _: True, 5, 1) == ([], 0)
