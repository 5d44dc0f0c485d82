"""Advertising, spam and the furniture of pages, Chinese and English.

A page that sells says so again and again, and that is what is measured: how many tell-tale phrases there are for each
1,000 letters (a Han character counts as two, since it says as much), and how much of a page is menus and lists of
keywords. A text with fewer than `few` hits is never dropped for phrases: an article may say "click here" twice.
The reasons, in this order:

- ``spam_terms`` (gambling, pills, loans, forged papers), ``contact_lines`` (hotlines, 加微信, QQ群, "call us now") or
  ``calls_to_action`` (立即购买, 限时优惠, "order today", "to unsubscribe"): together there are too many of them, and
  these are the most;
- ``cookie_banner``: "we use cookies", "accept all";
- ``placeholders``: a template that nobody filled in: ``{{name}}``, ``[Your Company]``, 【请填写】;
- ``keyword_list``: lines of many short items, separated by commas or bars, that repeat a word (for search engines);
- ``navigation``: lines that are menus (首页 | 关于我们 | 联系我们), breadcrumbs, copyright and record numbers.

The thresholds are Danlu's own, set on package text and on mail labelled as spam; ``docs/CONFORMANCE.md`` states how
much clean text they drop. A trained classifier (the quality filter) sees more; this needs no training and says why.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from danlu.text.document import Document, Dropped
from danlu.text.filters import checks
from danlu.text.filters.advertising_terms import CALLS, CONTACTS, COOKIES, MENU, SPAM, phrases
from danlu.text.filters.words import lines

HAN = re.compile("[\u3400-\u9fff]")
UNIT = re.compile("[a-z0-9%']+|[\u3400-\u9fff]")  # a word, or a Han character
# In small letters. Each alternative begins with a mark, so that `re` can skip to the next one.
PLACEHOLDER = re.compile(
    r"\{\{[^{}\n]{1,40}\}\}|\[(?:your|insert|enter|company|client|recipient|first|last|date)\b[^\]\n]{0,30}\]"
    r"|<(?:your|insert|enter)\b[^>\n]{0,30}>|【(?:请|在此|此处|填写)[^】\n]{0,20}】"
    r"|（(?:请填写|此处填|在此填|待填)[^）\n]{0,20}）|_____+|xx+(?:公司|先生|女士|单位|项目)|××+(?:公司|先生|女士|单位|项目)"
)
SEPARATORS = ",，、;；|｜/"
ITEMS = re.compile(f"[{SEPARATORS}]")
SELLING = {"spam_terms": SPAM, "contact_lines": CONTACTS, "calls_to_action": CALLS}
LONG_LIST = 10  # items from which on a line may be a list of keywords
SHARED = 0.4  # of the items of such a list hold its most frequent word
ITEM_WORDS, ITEM_HAN = 5, 12  # most words, or characters of a line without spaces, of a keyword
PROSE = re.compile(r"[。！？?!()（）\[\]{}=]|[.:] ")  # what a list of keywords does not hold
CUTS = re.compile("[|｜»›>·•]")
FOOTER = re.compile(
    "版权所有|京icp|icp备|icp证|公网安备|技术支持[:：]|all rights reserved|copyright ©|© ?(?:19|20)[0-9]{2}|powered by"
)
LONGEST_MENU = 400  # characters of a line that may be one


@dataclass(frozen=True)
class Advertising:
    """Drop texts that sell, or that are the furniture of a page."""

    max_phrases: float = 2.0
    """Spam terms, contacts and calls to buy or click for each 1,000 letters; 0 switches this test off, as below."""
    max_cookie_notices: float = 3.0
    """Phrases of cookie banners for each 1,000 letters."""
    max_placeholders: float = 5.0
    """Blanks of a template for each 1,000 letters."""
    few: int = 3
    """Fewest hits that drop a text for one of these, and fewest lines of a text that can be all menu."""
    max_keyword_lists: float = 0.3
    """The share of characters that may stand in lists of keywords."""
    max_navigation: float = 0.5
    """The share of lines that may be menus, breadcrumbs and footers."""
    language: str = ""
    """Judge only documents found to be in this language (en, zh, ...); empty judges all."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        checks.at_least(self, 0, "max_phrases", "max_cookie_notices", "max_placeholders")
        checks.at_least(self, 1, "few")
        checks.shares(self, "max_keyword_lists", "max_navigation")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or what it advertises with."""
        if not document.text or not checks.concerns(self.language, document):
            return document
        text, lowered = document.text, document.text.lower()
        letters = len(text) if text.isascii() else len(text) + len(HAN.findall(text))
        return self._phrases(lowered, letters) or self._layout(lowered) or document

    def _phrases(self, lowered: str, letters: int) -> Dropped | None:
        units = set(UNIT.findall(lowered))
        found = {reason: _found(table, lowered, units) for reason, table in SELLING.items()}
        if sum(map(len, found.values())) > 1:  # one phrase again and again may be what the text is about
            hits = {reason: sum(phrases.values()) for reason, phrases in found.items()}
            most = max(hits, key=lambda reason: hits[reason])
            if dropped := self._dense(most, sum(hits.values()), letters, self.max_phrases):
                return dropped
        notices = sum(_found(COOKIES, lowered, units).values())
        blanks = len(PLACEHOLDER.findall(lowered))
        return self._dense("cookie_banner", notices, letters, self.max_cookie_notices) or self._dense(
            "placeholders", blanks, letters, self.max_placeholders
        )

    def _dense(self, reason: str, hits: int, letters: int, most: float) -> Dropped | None:
        return checks.over(reason, 1000 * hits / letters, most) if hits >= self.few else None

    def _layout(self, lowered: str) -> Dropped | None:
        filled = [line.strip() for line in lines(lowered) if line and not line.isspace()]
        listed = sum(len(line) for line in filled if _is_keyword_list(line))
        if dropped := checks.over("keyword_list", listed / len(lowered), self.max_keyword_lists):
            return dropped
        if len(filled) < self.few:
            return None
        footers = FOOTER.search(lowered) is not None
        menus = sum(_is_menu(line, footers) for line in filled)
        return checks.over("navigation", menus / len(filled), self.max_navigation)


@lru_cache(maxsize=8)
def _phrases_of(table: str) -> tuple[tuple[frozenset[str], str], ...]:
    """Each phrase with the words and Han characters that it is made of."""
    return tuple((frozenset(UNIT.findall(phrase)), phrase) for phrase in phrases(table))


def _found(table: str, lowered: str, units: set[str]) -> dict[str, int]:
    """Which phrases of a table a text holds, and how often. Few are looked for: those all of whose words it has."""
    found = ((phrase, lowered.count(phrase)) for parts, phrase in _phrases_of(table) if parts <= units)
    return {phrase: number for phrase, number in found if number}


@lru_cache(maxsize=1)
def _menu() -> frozenset[str]:
    return frozenset(phrases(MENU))


def _is_keyword_list(line: str) -> bool:
    """Many short items, no sentence, one word again and again."""
    if len(line) < 3 * LONG_LIST or sum(map(line.count, SEPARATORS)) < LONG_LIST - 1 or PROSE.search(line):
        return False
    items = [item for item in map(str.strip, ITEMS.split(line)) if item]
    if len(items) < LONG_LIST:
        return False
    spaced = line.isascii() or not HAN.search(line)
    if not all(len(item.split()) <= ITEM_WORDS if spaced else len(item) <= ITEM_HAN for item in items):
        return False
    parts = [set(item.split()) if spaced else set(map("".join, pairwise(item))) for item in items]
    shared = Counter(part for found in parts for part in found if not part.isdigit()).most_common(1)
    return bool(shared) and shared[0][1] >= SHARED * len(items)


def _is_menu(line: str, footers: bool) -> bool:
    """A line of menu entries, a breadcrumb, or (if the text has any) a footer."""
    if len(line) > LONGEST_MENU:
        return False
    if line.strip(" :：|>»-*•·") in _menu() or (footers and FOOTER.search(line) is not None):
        return True
    if not CUTS.search(line):
        return False
    items = [item for item in map(str.strip, CUTS.split(line)) if item]
    return len(items) > 2 and sum(item in _menu() for item in items) * 2 >= len(items)
