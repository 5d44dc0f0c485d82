"""What the tag, class, id and role of an element say about it.

Names are hints and nothing more: `content` weighs each against the text that stands in the element.
"""

import re
from functools import lru_cache
from typing import Literal

Kind = Literal[
    "", "hidden", "unseen", "frame", "furniture", "comments", "beside", "aside", "caption", "note", "contents"
]

# fmt: off
_TAGS: dict[str, Kind] = {
    **dict.fromkeys(["nav", "footer", "menu", "dialog"], "frame"), "aside": "aside", "figcaption": "caption",
    **dict.fromkeys(["noscript", "template", "svg", "math", "object", "canvas", "audio", "video", "map", "select",
                     "datalist", "button", "applet", "optgroup"], "unseen"),
}
# Elements whose id is often made from the words of their title: it says what they are about, not what they are.
_TITLED = frozenset(["section", "dt", "dd", "li", "p", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "td"])
# fmt: on
# Words of a class, id or role; a "*" stands for any ending, a "_" for what is between two words.
_WORDS: dict[Kind, str] = {
    "hidden": "hide hidden invisible",
    "frame": """nav navbar navi navigation* navheader navfooter docnav subnav topnav menu menus submenu breadcrumb*
        pagination pager paging paginator banner footer* masthead copyright contentinfo cookie* consent gdpr newsletter*
        subscri* login signin signup toc skiplink""",
    "furniture": """dropdown* crumb crumbs prevnext jump headerlink foot topbar toolbar tools search searchbox register
        legal avisolegal disclaimer modal popup* popover overlay lightbox snackbar dialog alerts tooltip follow share*
        sharing social* sns related* more_from morefrom recommend* recirc* referenced trending popular mostread
        mostpopular breaking ticker linkbox tags taglist tagcloud advert* ads adsense sponsor* outbrain taboola
        pingback* trackback* feedback donate gallery carousel
        slideshow video* audio player daohang xiangguan tuijian fenxiang""",
    "comments": "comment* comentario* kommentar* disqus* respond replies livefyre pinglun",
    "beside": """sidebar* sidenav sider rail rightbar leftbar rightcol leftcol rightcolumn leftcolumn
        right_bar right_col right_column right_rail right_side left_bar left_rail widget*
        promo* teaser* complementary headlines""",
    "note": """byline* meta postmeta date datestamp timestamp dateline published updated author* autor credit* caption*
        legende fecha rating* stars likes views hits editsection""",
}
_ATTRIBUTE = r"""\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)"""
_NAMES = re.compile(rf"(?<![\w-])(class|id|role|itemprop){_ATTRIBUTE}", re.IGNORECASE)
_HIDDEN = re.compile(
    r"""display:\s*none|visibility:\s*hidden|(?<![\w-])hidden(?![\w-])(?!=["']?false)|aria-hidden\s*=\s*["']?true"""
    r"""|display-none|(?<![\w-])(?:d|dis)-none(?!\s+[dm]+-)""",
    re.IGNORECASE,
)
_ID = re.compile(rf"(?<![\w-])id{_ATTRIBUTE}", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NO_WORD = re.compile(r"[^a-zA-Z]+")
_ADMONITION = re.compile(r"admonition|callout|sidebar|note|tip|warning|important|topic", re.IGNORECASE)
_CONTENTS = re.compile(r"\b(?:article|entry|post|story) ?(?:body|content|text)\b|\bmarkdown body\b|\bmw content\b")


def _any_of(words: str) -> str:
    return "|".join(word.replace("*", "[a-z]*").replace("_", " ") for word in words.split())


_KNOWN = re.compile(rf"\b(?:{'|'.join(f'(?P<{kind}>{_any_of(words)})' for kind, words in _WORDS.items())})\b")
_ORDER: tuple[Kind, ...] = ("hidden", "frame", "furniture", "comments", "beside", "note")


def kind(tag: str, attributes: str) -> Kind:
    """What an element is called; '' for a name that says nothing."""
    found = _TAGS.get(tag)
    if tag == "aside" and _ADMONITION.search(attributes):
        return "beside"
    if found or not attributes:
        return found or ""
    if tag in _TITLED and "id" in attributes:
        attributes = _ID.sub("", attributes)
    return _kind(attributes)


@lru_cache(maxsize=1 << 16)
def _kind(attributes: str) -> Kind:
    if _HIDDEN.search(attributes):
        return "hidden"
    found = _NAMES.findall(attributes)
    values = " ".join(value for name, value in found if name.lower() != "id")
    if "section" not in values:  # see _TITLED
        values += "".join(f" {value}" for name, value in found if name.lower() == "id")
    words = _NO_WORD.sub(" ", _CAMEL.sub(" ", values)).lower()
    kinds = {match.lastgroup for match in _KNOWN.finditer(words)}
    for one in _ORDER:
        if one in kinds:
            return one
    return "contents" if _CONTENTS.search(words) else ""


@lru_cache(maxsize=1 << 16)
def classes(attributes: str) -> tuple[str, ...]:
    """The class attribute, to tell whether two elements are of one sort."""
    return tuple(value for name, value in _NAMES.findall(attributes) if name.lower() == "class")
