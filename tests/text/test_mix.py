"""Shares and budgets: exact sums, known proportions, UniMax as published, and errors whose advice works."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from danlu.base.errors import UserError
from danlu.text.mix import by_temperature, plan

SIZES = {"web": 8_000_000, "books": 1_000_000, "code": 125_000}


def amounts(**settings: object) -> dict[str, int]:
    made = plan(SIZES, 1_000_000, **settings)  # type: ignore[arg-type]
    return {part.name: part.amount for part in made.parts}


def test_temperature_one_keeps_proportions_and_infinity_evens_them_out() -> None:
    assert amounts() == {"web": 876_712, "books": 109_589, "code": 13_699}  # 64 : 8 : 1 of 73
    assert amounts(temperature=math.inf) == {"web": 333_334, "books": 333_333, "code": 333_333}


def test_temperature_is_a_power_of_the_size() -> None:
    """At T = 3 the cube roots of 64 : 8 : 1, which are 4 : 2 : 1."""
    assert amounts(temperature=3) == {"web": 571_429, "books": 285_714, "code": 142_857}
    assert [float(p) for p in by_temperature(SIZES, 1.5).values()] == pytest.approx([16 / 21, 4 / 21, 1 / 21])


def test_weights_have_any_scale_and_zero_leaves_out() -> None:
    assert amounts(weights={"web": 2, "books": 1, "code": 0}) == {"web": 666_667, "books": 333_333, "code": 0}
    assert amounts(weights={"web": 0.2, "books": 0.1, "code": 0}) == {"web": 666_667, "books": 333_333, "code": 0}


def test_what_a_capped_source_leaves_goes_to_the_others_in_proportion() -> None:
    made = plan(SIZES, 3_000_000, weights={"web": 2, "books": 1, "code": 1}, max_epochs=2)
    assert {part.name: part.amount for part in made.parts} == {"web": 1_833_333, "books": 916_667, "code": 250_000}
    assert [part.epochs <= 2 for part in made.parts] == [True] * 3


def unimax(sizes: dict[str, int], budget: float, epochs: float) -> dict[str, float]:
    """Algorithm 1 of Chung et al. 2023: from the smallest language on, an even share of what is left, or the cap."""
    left, found = budget, {}
    for i, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        even = left / (len(sizes) - i)
        found[name] = size * epochs if even > size * epochs else even
        left -= found[name]
    return found


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=8),
    epochs=st.integers(1, 20),
    part=st.floats(0.01, 1.0),
)
def test_an_infinite_temperature_with_a_cap_is_unimax(sizes: list[int], epochs: int, part: float) -> None:
    named = {str(i): size for i, size in enumerate(sizes)}
    budget = max(int(sum(sizes) * epochs * part), 1)
    made = plan(named, budget, temperature=math.inf, max_epochs=epochs)
    wanted = unimax(named, budget, epochs)
    assert all(abs(p.amount - wanted[p.name]) <= 1 + 1e-9 * budget for p in made.parts)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 10**13), min_size=1, max_size=9).filter(any),
    budget=st.integers(1, 10**14),
    temperature=st.floats(0.3, 50),
    epochs=st.one_of(st.none(), st.sampled_from([0.1, 0.7, 1, 2.5, 4, 1000])),
)
def test_a_plan_adds_up_and_keeps_to_the_cap(
    sizes: list[int], budget: int, temperature: float, epochs: float | None
) -> None:
    named = {str(i): size for i, size in enumerate(sizes)}
    try:
        made = plan(named, budget, temperature=temperature, max_epochs=epochs)
    except UserError as error:
        # The advice must work, whichever half of it is taken.
        lower, higher = re.findall(r"Lower the budget to (\d+), raise max_epochs to ([\d.e+]+),", str(error))[0]
        if int(lower):
            plan(named, int(lower), temperature=temperature, max_epochs=epochs)
        plan(named, budget, temperature=temperature, max_epochs=float(higher))
        return
    assert made.budget == sum(part.amount for part in made.parts) == budget
    assert epochs is None or all(part.amount <= part.size * epochs + 1e-3 for part in made.parts)
    assert sum(made.shares.values()) == pytest.approx(1)


def test_the_table_says_what_a_person_has_to_know() -> None:
    made = plan({"古籍": 100_000, "web": 50_000_000}, 2_000_000, weights={"古籍": 1, "web": 1}, max_epochs=8)
    lines = made.lines()
    assert len({cell_len(line.removesuffix("  capped")) for line in lines[:3]}) == 1  # Chinese is two columns wide
    assert re.fullmatch(r"  古籍 +100\.0k +40\.0% +800\.0k +8\.00  capped", lines[1])
    assert re.fullmatch(r"  web +50\.0M +60\.0% +1\.2M +0\.02", lines[2])
    assert "古籍 is read 8.0 times" in lines[-1]
    uncapped = plan({"a": 8062, "b": 2842}, 20_000, temperature=3, max_epochs=4)  # rounding takes half a token from a
    assert "capped" not in "".join(uncapped.lines())
    assert made.to_dict()["parts"][0] == {
        "name": "古籍", "size": 100_000, "amount": 800_000, "wanted": 0.5, "share": 0.4, "epochs": 8.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"web": 1, "boks": 1, "code": 1}}, "there is no source 'boks'. Did you mean 'books'"),
        ({"weights": {"web": 1, "books": 1}}, "no weight for code"),
        ({"weights": {"web": 1, "books": -1, "code": 1}}, "the weight of books is -1"),
        ({"weights": {"web": 1, "books": math.nan, "code": 1}}, "the weight of books is nan"),
        ({"weights": {"web": 0, "books": 0, "code": 0}}, "all weights are 0"),
        ({"temperature": 0.0}, "temperature: must be above 0"),
        ({"max_epochs": 0}, "max_epochs: must be above 0"),
        ({"max_epochs": 0.1}, r"0.1 epochs of the sources give 912\.5k tokens, and the budget is 1\.0M"),
    ],
)
def test_plans_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        amounts(**settings)


def test_an_empty_source_cannot_be_weighted() -> None:
    with pytest.raises(UserError, match="b: holds no bytes"):
        plan({"a": 5, "b": 0}, 5, weights={"a": 1, "b": 1}, unit="bytes")
    with pytest.raises(UserError, match="the sources are empty"):
        plan({"a": 0}, 5)
    with pytest.raises(UserError, match="no source to mix"):
        plan({}, 5)
    with pytest.raises(UserError, match="buys nothing"):
        plan({"a": 5}, 0)
