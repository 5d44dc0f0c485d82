"""HTML to text. The built-in extractor needs nothing but the standard library; trafilatura is there on request.

The built-in one keeps what stands in the body, block by block: it drops scripts, styles and navigation, but it does
not judge which block is the article. Left out as well: a time limit for each page.
"""

import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Literal, get_args

from danlu.base.errors import MissingExtra, UserError
from danlu.text.document import Document, Dropped

Extractor = Literal["builtin", "trafilatura"]

# fmt: off
UNSEEN = frozenset(["script", "style", "template", "noscript", "svg", "iframe", "object", "select", "textarea"])
FURNITURE = frozenset(["nav", "header", "footer", "aside", "form", "button", "dialog", "menu"])
PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "dl", "table",
                        "figure", "section", "article", "main", "hr", "details", "address"])
LINES = frozenset(["div", "br", "li", "dt", "dd", "tr", "caption", "figcaption", "summary", "legend", "option", "body"])
# fmt: on
SPACE = re.compile(r"[ \t\n\r\f\xa0]+")


@dataclass(frozen=True)
class Extract:
    """Turn documents that are HTML into text; others pass."""

    extractor: Extractor = "builtin"
    """What finds the text: Danlu's own, or trafilatura, which has to be installed."""

    def __post_init__(self) -> None:
        """A `UserError` for a wrong setting, or for a library that is not installed."""
        if self.extractor not in get_args(Extractor):
            raise UserError(f"must be one of {', '.join(get_args(Extractor))}", where="recipe: extractor")
        extract("", self.extractor)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document as text with its title, or ``no_content``."""
        if document.meta.get("format") != "html":
            return document
        text, title = extract(document.text, self.extractor)
        if not text.strip():
            return Dropped("no_content")
        meta = {key: value for key, value in document.meta.items() if key != "format"}
        return replace(document, text=text, meta=meta | ({"title": title} if title else {}))


def extract(html: str, extractor: Extractor = "builtin") -> tuple[str, str]:
    """(text, title) of a page; either may be empty. Broken markup never raises."""
    if extractor == "trafilatura":
        return _trafilatura(html)
    page = _parse(html, UNSEEN | FURNITURE)
    # A <nav> that is never closed swallows the page; then its furniture is better than nothing.
    return (page if page[0] else (_parse(html, UNSEEN)[0], page[1])) if html.strip() else ("", "")


def _parse(html: str, dropped: frozenset[str]) -> tuple[str, str]:
    page = _Page(dropped)
    # The parser searches for the end of every open tag anew; after the last ">" there is none to be found, and a
    # page of "<a <a <a" would take it minutes.
    last = html.rfind(">") + 1
    page.feed(html[:last] + html[last:].replace("<", "&lt;"))
    page.close()
    return page.text(), SPACE.sub(" ", "".join(page.title)).strip()


def _trafilatura(html: str) -> tuple[str, str]:
    try:
        import trafilatura
    except ModuleNotFoundError:
        raise MissingExtra("trafilatura", "text", "extractor 'trafilatura'") from None
    page = trafilatura.bare_extraction(html, include_comments=False, with_metadata=True)
    return (str(page.text or ""), str(page.title or "")) if page is not None else ("", "")


class _Page(HTMLParser):
    """Events in, text out. It keeps no tree, so depth costs nothing."""

    def __init__(self, dropped: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.dropped = dropped
        self.title: list[str] = []
        self._out: list[str] = []
        self._breaks = 0  # line feeds owed before the next text
        self._space = False  # a space owed before the next text
        self._skipping, self._skip_depth = "", 0
        self._pre = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipping:
            self._skip_depth += tag == self._skipping
        elif tag in self.dropped:
            self._skipping, self._skip_depth = tag, 1
            self._break(1)
        elif tag == "title":
            self._in_title = True
        else:
            self._pre += tag == "pre"
            self._block(tag)
            if tag == "li":
                self._text("- ")
            elif tag in ("td", "th"):
                self._space = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._skipping and tag not in self.dropped and tag != "title":
            self._block(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            self._skip_depth -= tag == self._skipping
            if self._skip_depth == 0:
                self._skipping = ""
        elif tag == "title":
            self._in_title = False
        else:
            self._pre = max(0, self._pre - (tag == "pre"))
            self._block(tag)

    def handle_data(self, data: str) -> None:
        if self._skipping:
            return
        if self._in_title:
            self.title.append(data)
        elif self._pre:
            self._text(data)
        else:
            words = SPACE.sub(" ", data)
            self._space = self._space or words.startswith(" ")
            if words.strip(" "):
                self._text(words.strip(" "))
                self._space = words.endswith(" ")

    def parse_html_declaration(self, i: int) -> int:
        """``<![unknown[`` raises in the standard library (bpo-32876); a browser takes it for a comment."""
        try:
            return super().parse_html_declaration(i)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def _block(self, tag: str) -> None:
        if tag in PARAGRAPHS:
            self._break(2)
        elif tag in LINES:
            self._break(1)

    def _break(self, lines: int) -> None:
        self._breaks, self._space = max(self._breaks, lines), False

    def _text(self, text: str) -> None:
        if self._breaks and self._out:
            self._out.append("\n" * self._breaks)
        elif self._space and self._out:
            self._out.append(" ")
        self._breaks, self._space = 0, False
        self._out.append(text)

    def text(self) -> str:
        """Everything seen so far."""
        return "".join(self._out).strip("\n")
