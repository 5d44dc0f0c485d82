"""Numbers that money is moved with: credit cards, Chinese bank cards and IBANs. Each checks itself.

A card number has a Luhn digit, an issuer's prefix and a length that goes with it (ISO/IEC 7812, the schemes' published
ranges); one random number of 16 digits in about forty passes all three, so numbers that the text calls an order or a
serial are left. An IBAN has two check digits (ISO 13616, MOD 97-10) and a length of its country's.
"""

import re
from collections.abc import Iterator

from danlu.text.redact.digits import LEFT, RIGHT, called_otherwise, digits_of, luhn, near, search
from danlu.text.redact.scan import Span

WORDS = re.compile(
    r"信用卡|银行卡|储蓄卡|借记卡|卡号|银联|credit|debit|(?<![a-z])card|visa|mastercard|amex|american express|unionpay",
    re.IGNORECASE,
)
CARD = re.compile(
    rf"{LEFT}(?:[0-9]{{4}}(?P<gap>[ -])[0-9]{{4}}(?P=gap)[0-9]{{4}}(?P=gap)[0-9]{{4}}(?P<tail>(?P=gap)[0-9]{{1,3}})?"
    rf"|3[0-9]{{3}}(?P<gap3>[ -])[0-9]{{6}}(?P=gap3)[0-9]{{4,5}}|[0-9]{{6}}[ -][0-9]{{13}}|[0-9]{{12,19}}){RIGHT}"
)
FOUR_BEFORE, FOUR_AFTER = re.compile("[0-9A-Z]{4} $"), re.compile(" [0-9]{4}(?![0-9])")
Ranges = tuple[tuple[int, int, tuple[int, ...]], ...]  # first and last prefix of each, and its lengths
CREDIT: Ranges = (
    (4, 4, (16, 19)),  # Visa; its 13 digits are out of use since 2000
    (51, 55, (16,)), (2221, 2720, (16,)),  # Mastercard
    (34, 34, (15,)), (37, 37, (15,)),  # American Express
    (6011, 6011, (16, 19)), (644, 649, (16, 19)), (65, 65, (16, 19)),  # Discover
    (3528, 3589, (16, 17, 18, 19)), (1800, 1800, (15,)), (2131, 2131, (15,)),  # JCB
    (300, 305, (14, 16, 19)), (3095, 3095, (14, 16, 19)), (36, 36, (14, 16, 19)), (38, 39, (14, 16, 19)),  # Diners
    (5018, 5018, (16, 19)), (5020, 5020, (16, 19)), (5038, 5038, (16, 19)), (6304, 6304, (16, 19)),  # Maestro
    (6759, 6759, (16, 19)), (6761, 6763, (16, 19)),
    (2200, 2204, (16,)),  # Mir
)  # fmt: skip
BANK: Ranges = (
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (9558, 9559, (19,)),  # the Industrial and the Agricultural Bank before UnionPay
    (601382, 601382, (19,)), (603367, 603367, (18,)), (621, 623, (16, 17, 18, 19)),
    (436742, 436742, (19,)), (456351, 456351, (19,)),  # debit cards under prefixes of Visa's
    (685800, 685800, (16,)), (940000, 940099, (16, 19)),
)  # fmt: skip

IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?![0-9a-z])")
IBAN_LENGTHS = {
    **{"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29},
    **{"BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29},
    **{"ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28},
    **{"HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28},
    **{"LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20},
    **{"MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25},
    **{"QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27},
    **{"SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30},
}


def find_credit(text: str, places: list[Span]) -> Iterator[Span]:
    """Credit card numbers at ``places``."""
    return _cards(text, places, CREDIT)


def find_bank(text: str, places: list[Span]) -> Iterator[Span]:
    """Numbers of Chinese bank cards at ``places``."""
    return _cards(text, places, BANK)


def _cards(text: str, places: list[Span], ranges: Ranges) -> Iterator[Span]:
    for found in search(CARD, text, [place for place in places if place[1] - place[0] >= 12]):
        start, end = found.span()
        named = near(WORDS, text, (start, end))
        any_issuer = named and ranges is CREDIT  # so old and unknown ranges count where the text speaks of cards
        if not valid_card(digits_of(found.group()), ranges, any_issuer):
            if not found["tail"] or not valid_card(digits_of(text[start : found.start("tail")]), ranges, any_issuer):
                continue
            end = found.start("tail")  # the month of expiry followed
        row = found["gap"] == " " and (
            FOUR_BEFORE.search(text[max(0, start - 5) : start]) or FOUR_AFTER.match(text, end)
        )
        if named or not (row or called_otherwise(text, start)):
            yield start, end


def valid_card(number: str, ranges: Ranges, any_issuer: bool = False) -> bool:
    """Do prefix, length and check digit fit?"""
    return (any_issuer or issued(number, ranges)) and luhn(number)


def issued(number: str, ranges: Ranges) -> bool:
    """Does a range have this prefix and this length?"""
    return any(
        len(number) in lengths and first <= int(number[: len(str(first))]) <= last for first, last, lengths in ranges
    )


def find_iban(text: str, places: list[Span]) -> Iterator[Span]:
    """IBANs around ``places``: in all of them some seven digits stand in a row, or nearly."""
    wide = [(max(0, start - 16), min(len(text), end + 24)) for start, end in places]
    for found in search(IBAN, text, wide):
        wanted = IBAN_LENGTHS.get(found.group()[:2], 0)
        end = _nth(found.group(), wanted)
        if end and valid_iban(found.group()[:end].replace(" ", "")):
            following = found.group()[end : end + 1]
            if not following or following == " ":
                yield found.start(), found.start() + end


def _nth(text: str, count: int) -> int:
    """The position after the ``count``-th character that is no space, or 0."""
    seen = 0
    for position, character in enumerate(text, 1):
        seen += character != " "
        if seen == count:
            return position
    return 0


def valid_iban(iban: str) -> bool:
    """Do the check digits hold?"""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1
