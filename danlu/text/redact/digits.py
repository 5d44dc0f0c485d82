"""What the kinds made of digits share: how to look at the places of numbers, what stands around them, the Luhn check.

``\\b`` is never used: for Python a Chinese character is a letter, so there is no border between 话 and 1 in 电话138.
"""

import re
from collections.abc import Iterator

from danlu.text.redact.scan import Span

MARGIN = 12  # characters around a number that a pattern may need: a prefix such as (+86), and what borders it

# A number must not go on at either side: as a word, a decimal, a thousand, or a group of a UUID.
LEFT = r"(?<![0-9A-Za-z_])(?<![0-9][.,])(?<![0-9A-Fa-f]-)"
RIGHT = r"(?![0-9A-Za-z_]|[.,][0-9]|-[0-9A-Fa-f])"
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
HAN_NEAR, BEFORE, AFTER = 12, 32, 14

# What a number is called when it is none of the private kinds; it has to stand right before the number.
OTHER_NUMBER = re.compile(
    r"(?:订单|单号|编号|流水|货号|序号|条码|条形码|批号|期号|工单|运单|快递|物流|发票|合同|型号|版本|时间戳|商品|房号|文号"
    r"|(?<![a-z])(?:order|invoice|serial|tracking|sku|part|isbn|issn|ean|upc|asin|pmid|doi|ticket|version|timestamp"
    r"|epoch|bytes?|size|offset|commit|pid|uid|id|build|revision|case|model|barcode|reference|ref|item)|#)"
    r"[^\n。!?！？;；]{0,10}$",
    re.IGNORECASE,
)
# Right before it, or joined to it, as in a query or a path: an address of the web, not a person's number.
IN_ADDRESS = "/=_&?#"


def search(pattern: re.Pattern[str], text: str, places: list[Span]) -> Iterator[re.Match[str]]:
    """Matches of ``pattern`` in and around ``places``, each once."""
    done = 0
    for start, end in places:
        begin, stop = max(done, start - MARGIN), min(len(text), end + MARGIN)
        for found in pattern.finditer(text, begin, stop):
            # What reaches the end of the window may go on beyond it; it belongs to the next place and is seen there.
            if found.start() >= done and (found.end() < stop or stop == len(text)):
                done = found.end()
                yield found


def digits_of(text: str) -> str:
    """The digits alone."""
    return "".join(character for character in text if "0" <= character <= "9")


def luhn(digits: str) -> bool:
    """Does the last digit check the others (ISO/IEC 7812-1, annex B)? Numbers of one repeated digit do not count."""
    if len(set(digits)) == 1:
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def before(text: str, start: int, size: int = BEFORE) -> str:
    """What stands before a number, at most ``size`` characters of it."""
    return text[max(0, start - size) : start]


def near(words: re.Pattern[str], text: str, span: Span) -> bool:
    """Does one of ``words`` stand shortly before the number or right after it?"""
    start, end = span
    return bool(words.search(before(text, start))) or bool(words.search(text[end : end + AFTER]))


def called_otherwise(text: str, start: int) -> bool:
    """Is the number at ``start`` called an order, a version, a size or the like, or is it part of an address?"""
    return bool(OTHER_NUMBER.search(before(text, start, 20))) or (start > 0 and text[start - 1] in IN_ADDRESS)


CHINESE = re.compile(f"[{HAN}]")


def in_chinese(text: str, span: Span) -> bool:
    """Does a Chinese character stand near the number?"""
    start, end = span
    return bool(CHINESE.search(text[max(0, start - HAN_NEAR) : start])) or bool(
        CHINESE.search(text[end : end + HAN_NEAR])
    )


def in_row(text: str, span: Span) -> int:
    """At how many sides digits stand a space or a tab away, as in a table of numbers."""
    start, end = span
    left, right = text[max(0, start - 2) : start], text[end : end + 2]
    before = len(left) == 2 and left[1] in " \t" and left[0].isdigit()
    return before + (len(right) == 2 and right[0] in " \t" and right[1].isdigit())
