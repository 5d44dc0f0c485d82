"""API keys, tokens, passwords and private keys.

Most issuers mark their keys with a prefix, documented by each of them, and a fixed alphabet and length; a search for
the prefixes costs next to nothing. A secret without a prefix is found by the name it is given (``api_key = "…"``):
only its value is taken, and only if it looks random: letters, two digits or more, and at least 3 bits a character.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from danlu.text.redact.scan import Span

BORDER = r"(?<![A-Za-z0-9_-])"
END = r"(?![A-Za-z0-9_-])"
# What a key begins with, and the whole of it.
ISSUED = [
    (prefix, re.compile(BORDER + pattern + END))
    for prefix, pattern in (
        ("AKIA", "AKIA[A-Z2-7]{16}"), ("ASIA", "ASIA[A-Z2-7]{16}"),  # Amazon
        ("AIza", r"AIza[\w-]{35}"), ("ya29.", r"ya29\.[\w-]{20,}"), ("GOCSPX-", r"GOCSPX-[\w-]{28}"),  # Google
        ("ghp_", "ghp_[A-Za-z0-9]{36,251}"), ("gho_", "gho_[A-Za-z0-9]{36,251}"), ("ghu_", "ghu_[A-Za-z0-9]{36,251}"),
        ("ghs_", "ghs_[A-Za-z0-9]{36,251}"), ("ghr_", "ghr_[A-Za-z0-9]{36,251}"),
        ("github_pat_", r"github_pat_\w{60,244}"), ("glpat-", r"glpat-[\w-]{20,}"),
        ("xoxb-", "xoxb-[A-Za-z0-9-]{20,}"), ("xoxp-", "xoxp-[A-Za-z0-9-]{20,}"),  # Slack
        ("xoxa-", "xoxa-[A-Za-z0-9-]{20,}"), ("xoxr-", "xoxr-[A-Za-z0-9-]{20,}"), ("xapp-", "xapp-[A-Za-z0-9-]{20,}"),
        ("sk-", r"sk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z])(?:proj-|ant-(?:api\d\d|admin\d\d)-|svcacct-|or-v1-)?[\w-]{20,}"),
        ("sk-", "sk-(?=[a-z]*[0-9])[a-f0-9]{32}"),  # DeepSeek, Moonshot and others of OpenAI's form
        ("hf_", "hf_[A-Za-z0-9]{30,40}"),
        ("sk_live_", "sk_live_[A-Za-z0-9]{16,}"), ("rk_live_", "rk_live_[A-Za-z0-9]{16,}"),  # Stripe
        ("npm_", "npm_[A-Za-z0-9]{36}"), ("pypi-AgE", r"pypi-AgE[\w-]{50,}"),
        ("SG.", r"SG\.[\w-]{20,24}\.[\w-]{39,50}"),
        ("LTAI", "LTAI[A-Za-z0-9]{12,26}"), ("AKID", "AKID[A-Za-z0-9]{28,40}"),  # Alibaba, Tencent
        ("eyJ", r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"), ("gsk_", "gsk_[A-Za-z0-9]{40,60}"),  # JSON web token; Groq
    )
]  # fmt: skip
WEBHOOK = re.compile(r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}")
PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]{0,16384}-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s]{0,16384})"
)
USER_PASSWORD = re.compile(r"://([^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,128})@[A-Za-z0-9.-]")

STEMS, CHINESE_STEMS = ("key", "token", "secret", "passw", "pwd"), ("密钥", "口令", "密码", "令牌")
NAMED = re.compile(
    r"(?P<name>key|token|secret|passwords?|passwd|pwd|passw|密钥|口令|密码|令牌)"
    r"(?:[_-]?(?:id|key|value|text|str))?[\"'`]?[ \t]{0,4}(?::=|=>|==?|[:：=]|是|为)[ \t]{0,4}[\"'`“]?"
    r"(?P<value>[A-Za-z0-9+/_.~!@#$%^&*-]{8,512}={0,2})(?P<next>[(\[]?)",
    re.IGNORECASE,
)
KEY_OF = re.compile(
    r"(?:api|secret|access|private|auth|app|account|storage|subscription|encrypt\w*|signing|service|master|license)"
    r"[_\-. ]?$",
    re.IGNORECASE,
)
PASSWORDS = {"password", "passwords", "passwd", "pwd", "passw", "口令", "密码"}
NOT_SECRET = re.compile(
    r"example|(?<![A-Za-z])your|xxxx|placeholder|changeme|\.\.\.|\*\*\*|<|\{|test_?key|dummy|sample|redacted|user(?:name)?:pass",
    re.IGNORECASE,
)
LONG, SHORT_PASSWORD, BITS = 16, 8, 3.0
WIDEST = 24  # characters of the name before its last word


def find(text: str, runs: list[Span]) -> Iterator[Span]:
    """Keys by their issuers' prefixes in ``runs``, private keys, passwords in addresses, and named secrets."""
    if runs:
        yield from _issued(text, runs)
    if "hooks.slack.com/" in text:
        yield from (found.span() for found in WEBHOOK.finditer(text))
    if "PRIVATE KEY" in text:
        yield from (found.span() for found in PEM.finditer(text))
    if "://" in text and "@" in text:
        yield from _in_addresses(text)
    yield from _named(text)


def _issued(text: str, runs: list[Span]) -> Iterator[Span]:
    joined = " ".join([text[start:end] for start, end in runs])
    for prefix, pattern in ISSUED:
        if prefix not in joined:
            continue
        for start, end in runs:
            if text.find(prefix, start, end) >= 0:
                yield from (found.span() for found in pattern.finditer(text, start, end) if not _shown(found.group()))


def _shown(value: str) -> bool:
    """Is it there to be filled in?"""
    return bool(NOT_SECRET.search(value))


def _in_addresses(text: str) -> Iterator[Span]:
    position = text.find("://")
    while position >= 0:
        found = USER_PASSWORD.match(text, position)
        if found and not _shown(found[1]):
            yield found.span(1)
        position = text.find("://", position + 3)


def _named(text: str) -> Iterator[Span]:
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters grow when lowered; their texts are read as they are
        lowered = text
    for stem in STEMS if text.isascii() else STEMS + CHINESE_STEMS:
        done = 0
        position = lowered.find(stem)
        while position >= 0:
            found = NAMED.match(text, position)
            if found and _secret(text, found):
                yield found.span("value")
                done = found.end()
            position = lowered.find(stem, max(position + 1, done))


def _secret(text: str, found: re.Match[str]) -> bool:
    value, name = found["value"], found["name"].lower()
    if found["next"] or _shown(value) or not re.search("[A-Za-z]", value):
        return False
    digits = sum(character.isdigit() for character in value)
    if name in PASSWORDS:
        return digits > 0 and len(value) >= SHORT_PASSWORD and entropy(value) >= BITS - 0.5 and "." not in value
    if name == "key" and not KEY_OF.search(text[max(0, found.start("name") - WIDEST) : found.start("name")]):
        return False  # a key of a dictionary, of a piano
    mixed = value != value.lower() and value != value.upper() and "_" not in value and "." not in value
    return (digits >= 2 or (digits and mixed)) and len(value) >= LONG and entropy(value) >= BITS


def entropy(value: str) -> float:
    """Bits a character of the characters' own frequencies."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
