"""Cards and IBANs. Golden: the networks' published test numbers, the IBAN registry's examples."""

import random

import pytest

from danlu.text.redact.digits import luhn
from danlu.text.redact.payment import IBAN_LENGTHS, valid_iban
from tests.text.redact.cases import private

CARDS = [
    "4111111111111111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "3530111333300000",
    "36700102000000",
]


@pytest.mark.parametrize("number", CARDS)
def test_credit_cards(number: str) -> None:
    assert private(f"卡号{number}，有效期", "credit_card") == [number]
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert private(f"卡号{wrong}，有效期", "credit_card") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111 1111 1111 1111 12/25", ["4111 1111 1111 1111"]),  # the month of expiry is no part of it
        ("4111-1111-1111-1111", ["4111-1111-1111-1111"]),
        ("3782 822463 10005", ["3782 822463 10005"]),
        ("order no. 4111111111111111", []),
        ("id=4111111111111111", []),
        ("0.4111111111111111", []),
        ("1234 4111 1111 1111 1111", []),  # a table's row
        ("4111-1111 1111-1111", []),
        ("0000000000000000", []),
        ("abc4111111111111111", []),
    ],
)
def test_where_a_card_stands(text: str, found: list[str]) -> None:
    assert private(text, "credit_card") == found


def test_bank_cards_of_china() -> None:
    body = "622202123456789012"
    number = next(body + digit for digit in "0123456789" if luhn(body + digit))
    assert private(f"工行卡{number}。", "bank_card") == [number]
    grouped = f"{number[:4]} {number[4:8]} {number[8:12]} {number[12:16]} {number[16:]}"
    assert private(f"打到 {grouped} 即可", "bank_card") == [grouped]
    assert private(f"打到 {number[:6]} {number[6:]} 即可", "bank_card") == [f"{number[:6]} {number[6:]}"]
    assert private(f"流水号{number}", "bank_card") == []


def test_luhn_sees_every_wrong_digit_and_most_swaps() -> None:
    draw = random.Random(0)
    for _ in range(200):
        body = "".join(draw.choices("0123456789", k=15))
        right = [digit for digit in "0123456789" if luhn(body + digit)]
        assert len(right) == 1 or len(set(body)) == 1
    assert luhn("4111111111111111")
    assert not luhn("1111111111111111")


IBANS = [
    "GB82 WEST 1234 5698 7654 32",
    "DE89 3704 0044 0532 0130 00",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NO93 8601 1117 947",
    "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "BR18 0036 0305 0000 1000 9795 493C 1",
]


@pytest.mark.parametrize("iban", IBANS)
def test_ibans(iban: str) -> None:
    joined = iban.replace(" ", "")
    assert len(joined) == IBAN_LENGTHS[joined[:2]]
    assert valid_iban(joined)
    assert private(f"账户{iban}，", "iban") == [iban]
    assert private(f"IBAN: {joined} BIC", "iban") == [joined]
    assert private(f"IBAN: {joined[:-2]}{'00' if joined[-2:] != '00' else '11'}", "iban") == []
    assert private(f"IBAN: {joined}9", "iban") == []
