"""Numbers of identity: the Chinese resident ID, old and new, and passports.

The resident ID checks itself: province, a date that exists, and a check character (GB 11643-1999, the algorithm of
ISO 7064 MOD 11-2), so a random number of 18 digits is taken for one about once in 25,000. The old form of 15 digits
has no check character, and passports none that is printed alone: both count only where the text names them.
"""

import re
from collections.abc import Iterator
from datetime import date

from danlu.text.redact.digits import LEFT, RIGHT, before, digits_of, search
from danlu.text.redact.scan import Span

# The first two digits: provinces, municipalities, autonomous and special regions (GB/T 2260); 83: Taiwan's residents.
PROVINCES = {
    *(11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46),
    *(50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83),
}
OLDEST, NEWEST = 1900, 2100
WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]
CHECKS = "10X98765432"  # by the sum modulo 11
NEW = re.compile(
    rf"{LEFT}[1-8][0-9]{{5}}(?P<gap>[ -]?)(?:19|20)[0-9]{{2}}[01][0-9][0-3][0-9](?P=gap)[0-9]{{3}}[0-9Xx]{RIGHT}"
)
OLD = re.compile(rf"{LEFT}[1-8][0-9]{{7}}[01][0-9][0-3][0-9]{{4}}{RIGHT}")
NAMED = re.compile(
    r"身份证|身分證|证件号|公民身份|(?<![a-z])ID (?:card|number|no)|identity card|resident id", re.IGNORECASE
)

PASSPORT_WORD = re.compile("[Pp]assport|PASSPORT|护照|護照")
# China: E, G, D, S, P with eight digits, E and a letter with seven (since 2012), 14 or 15 with seven (before 2007).
# United States: nine digits, or a letter and eight. Most others: one or two letters and six to eight digits.
PASSPORT = re.compile(
    r"(?<![0-9A-Za-z])(?:E[A-HJ-NP-Z][0-9]{7}|1[45][0-9]{7}|[A-Z][0-9]{7,8}|[A-Z]{2}[0-9]{6,7}|[0-9]{9})(?![0-9A-Za-z])"
)
PASSPORT_WITHIN = 28  # characters after the word: 护照号码（Passport No.）：E12345678 needs 21


def find_resident(text: str, places: list[Span]) -> Iterator[Span]:
    """Resident IDs at ``places``."""
    for found in search(NEW, text, places):
        if valid_resident("".join(found.group().split(found["gap"] or None))):
            yield found.span()
    for found in search(OLD, text, places):
        number = found.group()
        if _known(number, "19" + number[6:12]) and NAMED.search(before(text, found.start(), 20)):
            yield found.span()


def valid_resident(number: str) -> bool:
    """Are province, date and check character of these 18 characters right?"""
    if not _known(number, number[6:14]):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number[:17], strict=True))
    return CHECKS[total % 11] == number[17].upper()


def _known(number: str, born: str) -> bool:
    """Is there such a province and such a day?"""
    if int(number[:2]) not in PROVINCES:
        return False
    try:
        return OLDEST <= date(int(born[:4]), int(born[4:6]), int(born[6:8])).year <= NEWEST
    except ValueError:
        return False


def find_passport(text: str) -> Iterator[Span]:
    """Passport numbers shortly after the word passport or 护照."""
    words = ("assport", "PASSPORT") if text.isascii() else ("assport", "PASSPORT", "护照", "護照")
    if not any(word in text for word in words):
        return
    done = 0
    for word in PASSPORT_WORD.finditer(text):
        begin = max(done, word.end())
        stop = min(len(text), word.end() + PASSPORT_WITHIN + 10)
        for found in PASSPORT.finditer(text, begin, stop):
            whole = len(digits_of(found.group())) >= 6 and not text[found.end() : found.end() + 1].isdigit()
            if whole and found.start() - word.end() <= PASSPORT_WITHIN and "\n\n" not in text[begin : found.start()]:
                done = found.end()
                yield found.span()
                break
