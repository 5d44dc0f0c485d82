"""Telephone numbers: mainland China, North America, and every country in the form +CC.

A bare run of digits is a telephone number only where the text says so: 13912345678 in an English text is as often a
number of bytes. So each form asks for as much evidence as it needs: its own punctuation, a word such as 电话 or
"call" near by, or, for Chinese mobiles, Chinese around it.

Sources: China's numbering plan (MIIT: mobile segments as allotted up to 2024, area codes), the North American
Numbering Plan (NXX-NXX-XXXX, no N11, 37X and 96X not in use), ITU-T E.164 and its list of country codes with the
lengths of national numbers. Left out: seven-digit local numbers, vanity letters, numbers spelt in words.
"""

import re
from collections.abc import Iterator

from danlu.text.redact.digits import (
    LEFT,
    RIGHT,
    called_otherwise,
    digits_of,
    in_chinese,
    in_row,
    near,
    search,
)
from danlu.text.redact.scan import Span

WORDS = re.compile(
    r"电话|電話|手机|手機|联系|聯繫|致电|拨打|来电|热线|传真|座机|微信|短信|号码|咨询"
    r"|phone|whatsapp|hotline|mobile|(?<![a-z])(?:tel|cell|fax|sms|ring)(?![a-z])|(?<![a-z])(?:call|contact|reach|dial)",
    re.IGNORECASE,
)
AREA = "(?:10|2[0-57-9]|[3-9][0-9]{2})"  # after the trunk 0
MOBILE_SEGMENT = "(?:13[0-9]|14[5-9]|15[0-35-9]|16[2567]|17[0-8]|18[0-9]|19[0-35-9])"
LEFT_OF = rf"(?:(?<=[Tt]el)|(?<=TEL)|{LEFT})"
MOBILE = re.compile(
    rf"{LEFT_OF}(?P<code>\(?(?:\+|00)86\)?[ -]?|86-)?{MOBILE_SEGMENT}(?P<gap>[ -]?)[0-9]{{4}}(?P=gap)[0-9]{{4}}{RIGHT}"
)
LANDLINE = re.compile(
    rf"{LEFT}(?P<area>[(（]0{AREA}[)）][ -]?|0{AREA}(?P<gap>[ -]?))[2-8][0-9]{{2,3}}[ -]?[0-9]{{4}}"
    rf"(?:(?:-|转| ?ext\.? ?)[0-9]{{1,5}})?{RIGHT}"
)
SERVICE = re.compile(
    rf"{LEFT}[48]00(?:(?P<gap>[ -])(?:[0-9]{{3}}(?P=gap)[0-9]{{4}}|[0-9]{{4}}(?P=gap)[0-9]{{3}})|[0-9]{{7}}){RIGHT}"
)
NOT_N11 = "[2-9](?!11)[0-9]{2}"
NANP = re.compile(
    rf"{LEFT}(?P<one>(?:\+?1|001)[-. ]?)?(?:\((?!37|96){NOT_N11}\)(?P<round> ?)|(?!37|96){NOT_N11}(?P<gap>[-. ]?))"
    rf"{NOT_N11}(?P<last>[-. ]?)[0-9]{{4}}(?: ?(?:x|ext\.? ?)[0-9]{{1,6}})?{RIGHT}"
)
UNIT = re.compile(r" ?(?:[元字条次人个件万亿块分秒年月日%％]|bytes|KB|MB|GB|ms(?![A-Za-z])|px(?![A-Za-z]))")

# Country code → shortest and longest national number. Codes not named here have 6 to 10 digits.
NATIONAL = {
    "1": (10, 10), "7": (10, 10), "20": (8, 10), "27": (9, 9), "30": (10, 10), "31": (9, 9), "32": (8, 9),
    "33": (9, 9), "34": (9, 9), "36": (8, 9), "39": (6, 11), "40": (9, 9), "41": (9, 9), "43": (7, 12), "44": (9, 10),
    "45": (8, 8), "46": (7, 9), "47": (8, 8), "48": (9, 9), "49": (7, 11), "51": (8, 9), "52": (10, 10), "53": (8, 8),
    "54": (10, 11), "55": (10, 11), "56": (9, 9), "57": (8, 10), "58": (10, 10), "60": (8, 10), "61": (9, 9),
    "62": (8, 12), "63": (8, 10), "64": (8, 10), "65": (8, 8), "66": (8, 9), "81": (9, 10), "82": (8, 10),
    "84": (9, 10), "86": (10, 11), "90": (10, 10), "91": (10, 10), "92": (9, 10), "93": (9, 9), "94": (9, 9),
    "95": (7, 10), "98": (10, 10), "852": (8, 8), "853": (8, 8), "886": (8, 9), "971": (8, 9), "353": (7, 9),
    "358": (6, 11), "420": (9, 9), "380": (9, 9),
}  # fmt: skip
THREE = {
    *map(str, (211, 212, 213, 216, 218, 290, 291, 297, 298, 299, 420, 421, 423, 670, 850, 852, 853, 855, 856)),
    *map(str, (880, 886, 998)),
    *map(str, range(220, 259)),
    *map(str, range(260, 270)),
    *map(str, range(350, 360)),
    *(str(code) for code in range(370, 390) if code not in (384, 388)),
    *map(str, range(500, 510)),
    *map(str, range(590, 600)),
    *(str(code) for code in range(672, 693) if code != 684),
    *map(str, range(960, 969)),
    *map(str, range(970, 978)),
    *map(str, range(992, 997)),
}
PLUS = re.compile(r"(?<![0-9A-Za-z_)+.])\(?\+[1-9](?:[ \u00a0().\-\u2010-\u2013]{0,2}[0-9]){6,16}")
ROUND = re.compile("0{5}$")
GOES_ON = re.compile("[0-9A-Za-z_]|[.,][0-9]")


def find(text: str, places: list[Span]) -> Iterator[Span]:
    """The telephone numbers at ``places``; they may overlap where two plans could claim one."""
    if not places:
        return
    for pattern, likely in ((MOBILE, _mobile), (LANDLINE, _landline), (SERVICE, _service), (NANP, _nanp)):
        for found in search(pattern, text, places):
            if likely(text, found):
                yield found.span()
    yield from _international(text, places)


def _mobile(text: str, found: re.Match[str]) -> bool:
    if found["code"]:
        return True
    span = found.span()
    hinted = near(WORDS, text, span)
    if (called_otherwise(text, found.start()) and not hinted) or (not found["gap"] and UNIT.match(text, found.end())):
        return False
    if found["gap"]:
        return found["gap"] == "-" or hinted or not in_row(text, span)
    return hinted or (in_chinese(text, span) and in_row(text, span) < 2)


def _landline(text: str, found: re.Match[str]) -> bool:
    span = found.span()
    if near(WORDS, text, span):
        return True
    if called_otherwise(text, found.start()):
        return False
    return found["area"][0] in "(（" or (found["gap"] == "-" and not in_row(text, span))


def _service(text: str, found: re.Match[str]) -> bool:
    return near(WORDS, text, found.span()) or (found["gap"] == "-" and not called_otherwise(text, found.start()))


def _nanp(text: str, found: re.Match[str]) -> bool:
    span = found.span()
    if (found["one"] or "").startswith(("+", "001-")) or near(WORDS, text, span):
        return True
    if called_otherwise(text, found.start()):
        return False
    if found["round"] is not None:
        return found["last"] != ""
    return not in_row(text, span) and found["last"] in ("-", ".") and found["gap"] in (found["last"], " ")


def _international(text: str, places: list[Span]) -> Iterator[Span]:
    if "+" not in text:
        return
    for found in search(PLUS, text, places):
        end = _number_end(text, found)
        if end and not UNIT.match(text, end):
            yield found.start(), end


def _number_end(text: str, found: re.Match[str]) -> int:
    """Where the number ends, at a border of its groups, or 0 if no country has such numbers."""
    whole = found.group()
    for end in range(len(whole), 7, -1):
        at_border = end == len(whole) or not whole[end].isdigit()
        if not at_border or not whole[end - 1].isdigit():
            continue
        if end == len(whole) and GOES_ON.match(text, found.end()):
            continue
        if not _decimal(whole[:end]) and possible(digits_of(whole[:end].replace("(0)", ""))):
            return found.start() + end
    return 0


def _decimal(written: str) -> bool:
    """Is the only separator a point, or its last group a single digit?"""
    groups = re.split("[^0-9]+", written.lstrip("(+"))
    return len(groups[-1]) == 1 or (len(groups) == 2 and "." in written)


def possible(digits: str) -> bool:
    """Is this, without its plus, a country code with a national number of a length that the country uses?"""
    if ROUND.search(digits):
        return False
    code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in NATIONAL or digits[:n] in THREE), "")
    if not code:
        return False
    shortest, longest = NATIONAL.get(code, (6, 10))
    national = digits[len(code) :]
    if code == "1":
        return bool(re.fullmatch(f"{NOT_N11}{NOT_N11}[0-9]{{4}}", national))
    return shortest <= len(national) <= longest
