"""What a page says about itself: title, language, date of publication. Read from its head, never guessed from its text.

Dates: the names under which sites publish theirs are those of Open Graph, schema.org, Dublin Core and the citation
tags of scholarly sites. A page's date of change is not taken for its date of publication.
"""

import re
from datetime import date
from email.utils import parsedate
from html import unescape

from danlu.text.extraction.markup import Tree

HEAD = 1 << 18  # characters in which the tags of the head are looked for
YEARS = range(1990, 2100)
_META = re.compile(r"<meta\s([^>]*+)>", re.IGNORECASE)
_PAIR = re.compile(r"""([a-zA-Z:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_LANG = re.compile(r"""(?<![\w:-])(?:xml:)?lang\s*=\s*["']?([a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{2,8})*)""")
_LOCALE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{2,8})*")
_JSON_DATE = re.compile(r'"datePublished"\s*:\s*"([^"]{8,40})"')
_TIME = re.compile(r"""<time\s[^>]*?datetime\s*=\s*["']?([^"'>]{8,40})""", re.IGNORECASE)
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:[-/.年]\s?(\d{1,2})[-/.月]\s?(\d{1,2})|(\d\d)(\d\d)(?!\d))")
_DATES = (
    "article:published_time", "og:published_time", "datepublished", "date", "pubdate", "publishdate", "publish_date",
    "publish-date", "publication_date", "dc.date.issued", "dcterms.issued", "dc.date", "dcterms.date",
    "dcterms.created", "dc.date.created", "citation_publication_date", "citation_date", "parsely-pub-date",
    "sailthru.date", "article.published",
)  # fmt: skip
_LANGUAGES = ("content-language", "language", "og:locale", "dc.language")


def facts(html: str, tree: Tree) -> dict[str, str]:
    """Of ``title``, ``declared_language`` and ``date``, those that the page gives; the date as 2024-05-31."""
    named = _named(html[:HEAD])
    found = {
        "title": _title(tree, named),
        "declared_language": _language(tree, named),
        "date": _date(html, named),
    }
    return {name: value for name, value in found.items() if value}


def _named(head: str) -> dict[str, str]:
    """The page's ``<meta>``: name → content, the first of each."""
    named: dict[str, str] = {}
    for match in _META.finditer(head):
        pairs = {name.lower(): one or two or three for name, one, two, three in _PAIR.findall(match[1])}
        content = pairs.get("content", "").strip()
        for key in ("name", "property", "itemprop", "http-equiv"):
            if content and key in pairs:
                named.setdefault(pairs[key].lower(), unescape(content))
    return named


def _title(tree: Tree, named: dict[str, str]) -> str:
    """The heading that the page's title contains, without the name of the site; else the title."""
    announced = " ".join(named.get("og:title", "").split())
    for block in tree.blocks:
        if (
            tree.tags[block.node] == "h1"
            and len(block.text) > 2
            and (block.text in announced or block.text in tree.title)
        ):
            return block.text
    return announced or tree.title


def _language(tree: Tree, named: dict[str, str]) -> str:
    given = _LANG.search(tree.attributes[0])
    values = [given[1] if given else "", *(named.get(name, "") for name in _LANGUAGES)]
    found = next((match[0] for match in map(_LOCALE.match, values) if match), "")
    return found.replace("_", "-")


def _date(html: str, named: dict[str, str]) -> str:
    values = [named[name] for name in _DATES if name in named]
    for pattern, mark in ((_JSON_DATE, '"datePublished"'), (_TIME, "<time")):
        if mark in html:
            match = pattern.search(html)
            values += [match[1]] if match else []
    return next((day for day in map(iso_day, values) if day), "")


def iso_day(value: str) -> str:
    """A date in any of the usual spellings as 2024-05-31; '' for what is none."""
    match = _DAY.search(value)
    if match:
        numbers = [int(group) for group in match.groups() if group]
    else:
        parsed = parsedate(value)
        numbers = list(parsed[:3]) if parsed else []
    try:
        return date(*numbers).isoformat() if numbers and numbers[0] in YEARS else ""
    except (ValueError, OverflowError):
        return ""
