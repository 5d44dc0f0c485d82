"""E-mail addresses, found from their @ outwards: a text without an @ costs one search for a character.

The local part takes the characters that people use (letters, digits and ``. _ % + -``; RFC 5321 allows more, and every
one of them glues an address to what stands before it), the domain has to end in a top-level domain that exists: all of
two letters in the root zone, and the generic ones in common use. So ``user@decorator``, ``icon@2x.png``, ``pkg@1.2.3``
and ``a@b.T`` are none. Kept as they are: the names reserved for examples (RFC 2606, RFC 6761), ``git@host:path``, the
user of an address ``ssh://user@host``, and fediverse ``@user@host``. Left out: "name at host dot com".
"""

import re
from collections.abc import Iterator

from danlu.text.redact.scan import Span

LOCAL = re.compile(r"[A-Za-z0-9._%+-]{1,64}\Z")
DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
USER_OF = re.compile(r"://(?:[^\s/@]{1,64}:)?\Z")  # the name or password in front of a host
NOT_PEOPLE = {"git", "hg", "svn"}
RESERVED = {"example", "test", "invalid", "localhost", "local", "internal", "lan"}
EXAMPLES = {"example.com", "example.net", "example.org", "example.edu"}
_COUNTRIES = (
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz "
    "ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk "
    "fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq "
    "ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh "
    "mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk "
    "pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz "
    "tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm "
    "zw "
)
_GENERIC = (
    "academy aero agency app arpa art asia bank beer berlin bid biz blog blue care cat center chat church clinic "
    "cloud club com company consulting coop date design dev digital directory earth edu education email energy "
    "engineering foundation fun game games global gov group health help host icu info ink institute int "
    "international jobs law legal life link live loan london ltd media men mil mobi museum name net network news "
    "nyc one online ooo org page paris photo photos post press pro red ren school science services shop site "
    "social software solutions space store studio support systems team tech tel today tokyo top travel university "
    "video vip wang website wiki win work works world xin xxx xyz zone "
)
TOP_LEVEL = {*_COUNTRIES.split(), *_GENERIC.split()}
NEXT = {"(", "@"}  # what follows a method's name, or another host, but no address


def find(text: str) -> Iterator[Span]:
    """The addresses of people in the text."""
    position = text.find("@")
    while position >= 0:
        span = _around(text, position)
        if span:
            yield span
        position = text.find("@", position + 1)


def _around(text: str, at: int) -> Span | None:
    local = LOCAL.search(text, max(0, at - 64), at)
    domain = DOMAIN.match(text, at + 1, min(len(text), at + 255))
    if not local or not domain:
        return None
    name = local.group().lstrip(".%+-")
    start = at - len(name)
    end = _domain_end(domain.group())
    if not end or not any(character.isalnum() for character in name) or name.endswith("."):
        return None
    if text[at + 1 + end : at + 2 + end] in NEXT or name.lower() in NOT_PEOPLE:
        return None
    if text[start - 1 : start] == "@" or USER_OF.search(text, max(0, start - 70), start):
        return None
    return start, at + 1 + end


def _domain_end(domain: str) -> int:
    """The length of the domain up to its last label that is a top-level domain; 0 for none, or a reserved name."""
    labels = domain.split(".")
    if labels[-1].lower() in RESERVED:
        return 0
    while len(labels) > 1:
        last = labels[-1].lower()
        if last in TOP_LEVEL or last.startswith("xn--"):
            break
        labels.pop()
    if len(labels) < 2 or any(not label or label[0] == "-" or label[-1] == "-" for label in labels):
        return 0
    return 0 if ".".join(labels[-2:]).lower() in EXAMPLES else len(".".join(labels))
