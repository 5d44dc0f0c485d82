"""Which side a conversation stands on: shares, near-duplicates together, and tests that were learned are refused."""

import random

import pytest

from danlu.base.errors import UserError
from danlu.recipes.sides import check_apart, grouped, normalized, sides

LONG = (
    "explain in your own words and without any formula why the sky above the old harbour looks red in the evening of "
    "a clear winter day when the ships come home"
)


def test_shares_are_about_as_asked_and_do_not_depend_on_order() -> None:
    keys = [f"question {number}" for number in range(2000)]
    found = sides(keys, 0.1, 0.05, seed=3)
    counts = {side: found.count(side) for side in ("train", "heldout", "test")}
    assert 160 <= counts["heldout"] <= 240
    assert 70 <= counts["test"] <= 130
    order = random.Random(0).sample(range(2000), 2000)
    again = sides([keys[i] for i in order], 0.1, 0.05, seed=3)
    assert [again[order.index(i)] for i in range(50)] == found[:50]
    assert sides(keys, 0.1, 0.05, seed=4) != found
    without = sides(keys, 0.1, 0.0, seed=3)  # a test takes nothing from what is held out
    assert [side for side in without if side == "heldout"] == [side for side in found if side == "heldout"]
    assert all(a == b or b == "test" for a, b in zip(without, found))


def test_no_side_that_is_wanted_is_empty() -> None:
    for seed in range(20):
        assert sorted(sides(["a", "b", "c"], 0.01, 0.01, seed)) == ["heldout", "test", "train"]
        assert sorted(sides(["a", "b"], 0.01, 0.0, seed)) == ["heldout", "train"]
        assert sides(["a", "a"], 0.5, 0.0, seed) == ["train", "train"]
        assert "train" in sides(["a", "b", "c"], 0.98, 0.01, seed)


def test_a_question_that_many_begin_with_is_learned() -> None:
    keys = ["hello"] * 50 + [f"q{number}" for number in range(50)]
    for seed in range(20):
        found = sides(keys, 0.2, 0.2, seed)
        assert set(found[:50]) == {"train"}
        assert {"heldout", "test"} <= set(found[50:])


def test_near_duplicates_share_a_key_whatever_the_order() -> None:
    asked = [LONG, LONG.replace("clear ", ""), "hi", "Hi!", "bye"]
    keys = grouped(asked)
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 3
    assert grouped(asked[::-1]) == keys[::-1]
    assert normalized(" A  b\nC ") == "a b c"


def test_a_form_with_a_blank_in_it_is_told_apart_word_for_word() -> None:
    reviews = [f"{LONG} review {number}" for number in range(30)]
    assert grouped(reviews) == reviews
    assert len(set(grouped(reviews[:5]))) == 1
    check_apart(reviews[:25], reviews[25:])
    with pytest.raises(UserError, match=r"1 of 6 test conversations .* 1 of them word for word"):
        check_apart(reviews[:25], reviews[24:])


def test_a_test_that_was_learned_is_refused_with_counts_and_an_example() -> None:
    check_apart([LONG, "hi"], ["bye", "how?"])
    near = LONG.replace("clear ", "")
    with pytest.raises(
        UserError, match=r"recipe: test: 2 of 3 test conversations .* 1 of them word for word"
    ) as caught:
        check_apart([LONG, "hi"], [near, "hi", "bye"])
    assert f"such as '{near[:80]}', where training has '{LONG[:80]}'" in caught.value.what
    assert "--test-share" in caught.value.remedy
