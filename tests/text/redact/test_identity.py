"""Resident IDs (golden: the example of GB 11643-1999, and one that is shown everywhere) and passports."""

import pytest

from danlu.text.redact.identity import CHECKS, WEIGHTS, valid_resident
from tests.text.redact.cases import private

STANDARD = "11010519491231002X"


@pytest.mark.parametrize("number", [STANDARD, STANDARD.lower(), "110105 19491231 002X", "110105-19491231-002X"])
def test_a_resident_id_is_found_between_chinese(number: str) -> None:
    assert private(f"身份证号{number}，请核对", "resident_id") == [number]


@pytest.mark.parametrize(
    "number",
    [
        "110105194912310021",  # wrong check character
        "100105194912310020",  # no such province
        "110105194902310020",  # no 31 February
        "1101051949123100" + "2X1",
        "订单110105194912310029",
    ],
)
def test_what_is_none(number: str) -> None:
    assert private(f"{number}", "resident_id") == []


def test_the_check_character_is_that_of_the_standard() -> None:
    assert WEIGHTS == [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]  # its table
    assert CHECKS[0] == "1"
    assert valid_resident(STANDARD)
    assert valid_resident("34052419800101001X")
    # Any one digit changed, and any two neighbours that differ swapped, are seen (what MOD 11-2 promises).
    for place in range(6, 17):
        for digit in "0123456789":
            other = STANDARD[:place] + digit + STANDARD[place + 1 :]
            assert valid_resident(other) == (other == STANDARD)


def test_the_old_form_only_where_it_is_named() -> None:
    assert private("身份证：110105491231002", "resident_id") == ["110105491231002"]
    assert private("数值 110105491231002", "resident_id") == []
    assert private("身份证：110105499931002", "resident_id") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("护照号码：E12345678，", ["E12345678"]),
        ("护照号码（Passport No.）：EA1234567", ["EA1234567"]),
        ("Passport number: 123456789.", ["123456789"]),
        ("US passport A12345678 was", ["A12345678"]),
        ("part E12345678", []),  # nobody speaks of passports
        ("passport was renewed in 2019 at the office, room 123456789", []),
        ("passport 1234567890", []),
    ],
)
def test_passports(text: str, found: list[str]) -> None:
    assert private(text, "passport") == found
