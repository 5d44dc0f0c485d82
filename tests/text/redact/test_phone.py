"""Telephone numbers: every form with as much evidence as it needs."""

import pytest

from danlu.text.redact.phone import possible
from tests.text.redact.cases import private


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("我的手机号是13812345678。", "13812345678"),
        ("电话138-1234-5678转告", "138-1234-5678"),
        ("张三 13812345678 北京", "13812345678"),  # Chinese near by is enough
        ("张三 13812345678 25岁", "13812345678"),
        ("Tel13812345678", "13812345678"),
        ("+86 138 1234 5678", "+86 138 1234 5678"),
        ("(+86)13812345678", "(+86)13812345678"),
        ("总机 010-62345678转123。", "010-62345678转123"),
        ("(0755)26711234", "(0755)26711234"),
        ("传真 02162345678", "02162345678"),
        ("客服400-123-4567", "400-123-4567"),
        ("拨打4001234567", "4001234567"),
        ("(212) 555-1234", "(212) 555-1234"),
        ("212-555-1234", "212-555-1234"),
        ("212.555.1234", "212.555.1234"),
        ("1-800-861-1481!", "1-800-861-1481"),
        ("call 2125551234 now", "2125551234"),
        ("+1 512 374 0500", "+1 512 374 0500"),
        ("+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
        ("+49 30 901820, or write", "+49 30 901820"),
        ("+353-87-240-6691", "+353-87-240-6691"),
        ("手机１３８１２３４５６７８", "１３８１２３４５６７８"),
    ],
)
def test_found(text: str, found: str) -> None:
    assert private(text, "phone") == [found]


@pytest.mark.parametrize(
    "text",
    [
        "订单号13812345678",
        "13812345678 bytes were read",
        "of 15032385536 rows",  # an English text without a word of telephones
        "共13812345678元",
        "timestamp 1700000000, in ms 1700000000123",
        "2023-11-15 12:30:45",
        "3.13812345678",
        "0.2125551234",
        "ISBN 978-7-302-12345-6",
        "550e8400-e29b-41d4-a716-446655440000",
        "120 138 1234 5678 990\n12 138 1234 5678 7",  # columns of a table
        "表：25 13812345678 99",
        "1.0 212-555-1234 3.0",
        "1 (212) 5551234",
        "https://item.host.com/138-1234-5678/x?id=13812345678",
        "121-555-1234 211-555-1234 212-911-1234",  # no area code begins with 1, none is N11, nor an exchange
        "+999 123 456 789",  # no such country
        "+44 1",
        "x = Decimal('+35236450.6')",
        "+30000000 users",
        "010 2345 678",
    ],
)
def test_left(text: str) -> None:
    assert private(text, "phone") == []


def test_several_in_a_row_are_all_found() -> None:
    text = "+44 20 7946 0958, +86 138 1234 5678; +49 30 901820"
    assert private(text, "phone") == ["+44 20 7946 0958", "+86 138 1234 5678", "+49 30 901820"]


@pytest.mark.parametrize(
    ("digits", "right"),
    [
        ("8613812345678", True),
        ("12125551234", True),
        ("11125551234", False),  # area codes begin with 2
        ("442079460958", True),
        ("44207946", False),
        ("35312345678", True),
        ("21012345678", False),  # 210 is no country
        ("4930000000", False),  # a round number
    ],
)
def test_possible(digits: str, right: bool) -> None:
    assert possible(digits) is right
