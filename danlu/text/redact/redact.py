"""The privacy step: private data is replaced by its kind, replaced by a keyed hash, or costs the document.

    email phone ip credit_card bank_card resident_id passport iban key      (name only when asked for)

Each kind is a file of this folder or a part of one; this one settles what to do where two claim the same characters
(the longer wins, then the more specific) and writes. A cheap scan goes before every kind, so that clean prose pays for
three or four scans and a few searches for fixed words.

What is replaced is seen again: the result is searched until nothing is found, because a number that stood beside
another may only then count. So the step is idempotent, and no placeholder can be taken for private data itself.

`bench/redact.py` measures precision and recall. What is left out stands with each kind; the whole is a net for what
has a form, and addresses, birthdays and what people tell of themselves have none.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from danlu.base.errors import require
from danlu.text.document import Document, Dropped, changed
from danlu.text.redact import contact, identity, keys, names, network, payment, phone
from danlu.text.redact.scan import Scan, Span, scan

Kind = Literal["email", "phone", "ip", "credit_card", "bank_card", "resident_id", "passport", "iban", "key", "name"]
How = Literal["replace", "hash", "drop"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "name")
# Where two kinds claim the same characters: the one whose form says more of it.
RANK = {kind: rank for rank, kind in enumerate(
    ("key", "resident_id", "iban", "email", "bank_card", "credit_card", "passport", "phone", "ip", "name")
)}  # fmt: skip
IN_DIGITS: set[Kind] = {"phone", "credit_card", "bank_card", "resident_id", "iban"}
PASSES = 20  # texts of people need one, sometimes two; the rest is for texts made to defeat the step

# Full-width letters, digits and marks are found like their ASCII twins, whatever normalisation ran before.
WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠]")
TO_ASCII = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F) if chr(wide) not in "，：；！？"}


class Match(NamedTuple):
    """One find: ``text[start:end]`` is a ``kind``."""

    start: int
    end: int
    kind: Kind


def find(text: str, kinds: tuple[Kind, ...] = DEFAULT) -> list[Match]:
    """What is private in ``text``, in order and without overlaps."""
    if not text.isascii() and WIDE.search(text):
        text = text.translate(TO_ASCII)  # one character for one, so positions hold
    found = [Match(*span, kind) for kind, span in _all(text, kinds)]
    found.sort(key=lambda match: (match.start - match.end, RANK[match.kind], match.start))
    chosen: list[Match] = []
    taken: set[int] = set()
    for match in found:
        places = range(match.start, match.end)
        if taken.isdisjoint(places):
            taken.update(places)
            chosen.append(match)
    return sorted(chosen)


def _all(text: str, kinds: tuple[Kind, ...]) -> Iterator[tuple[Kind, Span]]:
    seen = scan(text)
    for kind in kinds:
        for span in _spans(text, kind, seen):
            yield kind, span


def _spans(text: str, kind: Kind, seen: Scan) -> Iterator[Span]:
    match kind:
        case "email":
            return contact.find(text)
        case "phone":
            return phone.find(text, seen.numbers)
        case "ip":
            return network.find(text, seen.dotted)
        case "credit_card":
            return payment.find_credit(text, seen.numbers)
        case "bank_card":
            return payment.find_bank(text, seen.numbers)
        case "resident_id":
            return identity.find_resident(text, seen.numbers)
        case "passport":
            return identity.find_passport(text)
        case "iban":
            return payment.find_iban(text, seen.numbers)
        case "key":
            return keys.find(text, seen.runs)
        case "name":
            return names.find(text)


@dataclass(frozen=True)
class Redact:
    """Take private data out of documents; the report counts it by kind as ``redact.email`` and so on."""

    kinds: tuple[Kind, ...] = DEFAULT
    """What to look for; 'name' (people named next to a title) is the only kind that has to be asked for."""
    how: How = "replace"
    """Replace by a placeholder, by a placeholder with a keyed hash (equal values stay equal), or drop the document."""
    placeholder: str = "<{kind}>"
    """What is written instead; {kind} becomes EMAIL, or EMAIL:qakbdfhm… where how is 'hash'."""
    salt: str = ""
    """The key of the hash, needed for it: without one, a table of all telephone numbers undoes a hash in minutes."""
    drop_from: int = 1
    """With how 'drop': documents with at least so many finds are dropped, those with fewer have them replaced."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        shown = self.placeholder.replace("{kind}", "")
        require(
            self,
            ("kinds", len(self.kinds) > 0, "needs at least one kind"),
            ("kinds", set(self.kinds) <= set(KINDS), f"must be of {', '.join(KINDS)}"),
            ("kinds", len(self.kinds) == len(set(self.kinds)), "names a kind twice"),
            ("how", self.how in get_args(How), f"must be one of {', '.join(get_args(How))}"),
            ("placeholder", not set("0123456789@{}") & set(shown), "may hold no digit, no @ and no brace but {kind}"),
            ("placeholder", len(shown) <= 40, "must not be longer than 40 characters"),
            ("salt", self.how != "hash" or self.salt != "", "must be given where how is 'hash'"),
            ("drop_from", self.drop_from >= 1, "must be at least 1"),
        )

    def __call__(self, document: Document) -> Document | Dropped:
        """The document without private data, or ``private`` if it has ``drop_from`` finds or more."""
        text, counts = document.text, Counter[str]()
        for _ in range(PASSES):
            found = find(text, self.kinds)
            if not found:
                break
            counts.update(match.kind for match in found)
            text = self._rewrite(text, found)
        if self.how == "drop" and counts.total() >= self.drop_from:
            return Dropped("private", ", ".join(f"{kind} {number}" for kind, number in sorted(counts.items())))
        return changed(document, text, {f"redact.{kind}": number for kind, number in sorted(counts.items())})

    def _rewrite(self, text: str, found: list[Match]) -> str:
        parts, done = [], 0
        for match in found:
            parts += [text[done : match.start], self._instead(match.kind, text[match.start : match.end])]
            done = match.end
        return "".join([*parts, text[done:]])

    def _instead(self, kind: Kind, value: str) -> str:
        name = kind.upper()
        if self.how == "hash":
            name = f"{name}:{digest(kind, value, self.salt)}"
        return self.placeholder.replace("{kind}", name)


def digest(kind: Kind, value: str, salt: str) -> str:
    """16 letters of a keyed BLAKE2b: letters, because digits could be taken for a number in their turn.

    A value's case, and the separators of a number, make no difference: 138-1234-5678 is 13812345678.
    """
    plain = value.translate(TO_ASCII)
    if kind in IN_DIGITS:
        plain = re.sub("[^0-9A-Za-z]", "", plain).upper()
    elif kind != "key":
        plain = plain.lower()
    key = hashlib.blake2b(salt.encode("utf-8", "replace"), digest_size=32).digest()
    hashed = hashlib.blake2b(f"{kind}:{plain}".encode("utf-8", "replace"), digest_size=8, key=key).hexdigest()
    return hashed.translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))
