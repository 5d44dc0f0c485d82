"""Public IP addresses. Private, reserved and documentation ranges name nobody and stay (IANA's special registries).

Four numbers with dots are as often a version, a section or an object identifier: an address whose parts are all
below 20 counts only where the text speaks of addresses, and never after a word such as "version".
"""

import ipaddress
import re
from collections.abc import Iterator

from danlu.text.redact.digits import before
from danlu.text.redact.scan import Span

OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
SHORTEST = len("1.1.1.1")
V4 = re.compile(rf"(?<![0-9A-Za-z_])(?<![0-9A-Za-z]\.){OCTET}(?:\.{OCTET}){{3}}(?![0-9A-Za-z_]|\.[0-9A-Za-z]|-[0-9.])")
# Global unicast addresses begin with 2 or 3 (2000::/3), which `std::map` and 12:30:00 do not.
# The class stands first because then the search skips to it; what stands before is asked only there.
V6 = re.compile(r"[23](?<![0-9A-Za-z:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![0-9A-Za-z:])")
COLONS = re.compile(":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
SMALL = 20
BORDER = "(?<![A-Za-z])"
VERSION = re.compile(
    rf"(?:版本|章|节|条款|{BORDER}(?:version|ver|v|release|rel|build|firmware|driver|update|patch|section|chapter|clause"
    rf"|appendix|table|figure|fig|oid|revision|rev)|§)[^\n]{{0,8}}$|[A-Za-z][-/]$",
    re.IGNORECASE,
)
ADDRESS = re.compile(
    rf"地址|服务器|主机|域名|网关|登录|攻击|{BORDER}(?:ipv?[46]?(?![a-z])|address|host|server|dns|ping|ssh|router|gateway|nameserver"
    rf"|client|login|from|traceroute|connect|proxy|resolver|http)|://",
    re.IGNORECASE,
)


def find(text: str, places: list[Span]) -> Iterator[Span]:
    """Public addresses of either version; those of version 4 have four digits or more, at ``places``."""
    for start, end in places:
        if end - start >= SHORTEST and text.count(".", start, end) >= 3:
            for found in V4.finditer(text, start, min(end + 3, len(text))):
                if _is_address(text, found.start(), found.group()):
                    yield found.span()
    if "::" in text or COLONS.search(text):
        yield from _version_6(text)


def _version_6(text: str) -> Iterator[Span]:
    for found in V6.finditer(text):
        number = found.group().rstrip(":") if not found.group().endswith("::") else found.group()
        if public(number):
            yield found.start(), found.start() + len(number)


def _is_address(text: str, start: int, number: str) -> bool:
    if not public(number):
        return False
    said = before(text, start).rsplit("\n", 1)[-1]
    if VERSION.search(said):
        return False
    return any(int(part) >= SMALL for part in number.split(".")) or bool(ADDRESS.search(said))


def public(number: str) -> bool:
    """Is it an address of one host or network on the open internet?"""
    try:
        address = ipaddress.ip_address(number)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast
