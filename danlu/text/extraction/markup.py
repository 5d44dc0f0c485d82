"""HTML to a tree of blocks in one pass of regular expressions, fast because inline markup never leaves them.

A page for training is mostly inline tags that change no word (``<span>``, ``<em>``) and scripts that nobody reads.
One expression swallows a run of text together with its inline tags, so Python code runs once a block and not once a
tag: `bench/extract.py` has the speed beside parsers in C. What is kept of the HTML standard is what moves words from
one block to another: implied end tags, raw text elements, quoted attributes, stray ``<``. Formatting elements and
foster parenting are not: they never move a word out of its block.

All repetition is possessive, so no page can make an expression go back over what it has matched.
"""

import re
from dataclasses import dataclass, field
from html import unescape

# fmt: off
INLINE = ["span", "em", "strong", "b", "i", "u", "s", "small", "big", "font", "code", "tt", "kbd", "samp", "var", "cite", "dfn", "abbr", "acronym", "sub", "sup", "ins", "del", "mark", "q", "bdi", "bdo", "time", "data", "wbr", "nobr", "label", "img", "input", "ruby", "rb", "rt", "rp", "strike", "link", "meta", "source", "track", "param", "area", "col", "base", "embed", "path", "g", "use"]  # noqa: E501
RAW = ["script", "style", "iframe", "textarea", "title", "xmp", "noembed"]  # what stands inside is no markup
VOID = frozenset(["hr", "basefont", "bgsound", "frame", "keygen", "spacer"])
HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
PARAGRAPHS = frozenset(["p", "dt", *HEADINGS])  # a block that starts ends an open one
# A start tag on the left ends the nearest open element of the right, unless one of `FENCES` stands between them.
ENDS = {"li": ("li",), "dt": ("dt", "dd"), "dd": ("dt", "dd"), "tr": ("tr",), "td": ("td", "th"), "th": ("td", "th"),
        "thead": ("thead", "tbody", "tfoot"), "tbody": ("thead", "tbody", "tfoot"), "option": ("option",),
        "tfoot": ("thead", "tbody", "tfoot")}
FENCES = {"li": ("ul", "ol", "menu", "td", "th"), "dt": ("dl", "td", "th"), "dd": ("dl", "td", "th")}
# fmt: on
LOOK_BACK = 64  # open elements searched for the one that a tag ends: deeper nesting is not a page but an attack

# No group is possessive: before Python 3.11.5 such a group may match wrongly (CPython issue 106052). None needs to be:
# where one of these stops, what follows it always matches, so there is nothing to go back for.
_ATTRIBUTES = r"""(?:[^>=]++|=[ \t\n\r\f]*+(?:"[^"]*+"|'[^']*+')?)*"""
_INLINE = rf"</?(?:{'|'.join(INLINE)})(?![^\s/>]){_ATTRIBUTES}>|<[!?]{_ATTRIBUTES}>|</(?![a-zA-Z])[^>]*+>"
_UNREAD = re.compile(
    rf"<({'|'.join(RAW)})(?![^\s/>]){_ATTRIBUTES}>([^<]*+(?:<(?!/\1)[^<]*+)*)(?:</\1[^>]*+>|\Z)"
    r"|<!--(?:-?>|(?:[^-]++|-(?!-!?>))*--!?>)",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    rf"((?:[^<]++|<(?![a-zA-Z/!?])|{_INLINE})*)(?:<(/?)([a-zA-Z][^\s/>]*+)({_ATTRIBUTES})>|(<)|\Z)", re.IGNORECASE
)
_INLINE_TAG = re.compile(_INLINE, re.IGNORECASE)
# Inline elements that are not shown, or are marks for the mouse: they go with their contents.
_HIDDEN = re.compile(
    rf"<(span|sup|i|small|label)(?=[\s/])(?={_ATTRIBUTES}>)[^>]*?(?:display:\s*none|\shidden[\s=>]|editsection|sr-only|"
    r"screen-reader|visually-hidden)[^>]*+>[^<]*+(?:<(?!/\1)[^<]*+)*</\1\s*+>",
    re.IGNORECASE,
)
_CUT = re.compile(r"<[/!?a-zA-Z].*", re.DOTALL)  # a tag that the end of the page cut off
_OWN_PAGE = re.compile(r"""href\s*=\s*["']?#""", re.IGNORECASE)
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
BREAK = "\0"  # stands for <br>; the page's own NULs are removed first
ANCHORS = frozenset("¶#§🔗")  # a link that is only a mark for copying its address


@dataclass
class Tree:
    """Elements in document order, and the blocks of text in them. The root is element 0."""

    parents: list[int] = field(default_factory=lambda: [0])
    tags: list[str] = field(default_factory=lambda: ["body"])
    attributes: list[str] = field(default_factory=lambda: [""])
    blocks: list["Block"] = field(default_factory=list)
    title: str = ""


@dataclass(slots=True)
class Block:
    """A run of text that nothing breaks. ``linked`` is how many of its characters are in links."""

    node: int
    text: str
    linked: int
    weight: int  # characters, an ideograph or kana as three: it says about as much as three letters


def parse(html: str) -> Tree:
    """The tree of a page; whatever the markup, it never raises and takes time in proportion to the page."""
    return _Builder().run(html)


class _Builder:
    def __init__(self) -> None:
        self.tree = Tree()
        self.open = [0]  # the elements that are open, outermost first
        self.count: dict[str, int] = {"body": 1}  # how many of each are open
        self.pieces: list[str] = []
        self.linked = 0
        self.links = False  # inside <a href>
        self.place = False  # was the last link one to a place in a page?
        self.verbatim = 0  # open <pre>

    def run(self, html: str) -> Tree:
        html = html.replace("\0", "")
        end = html.rfind(">") + 1
        close = html.rfind("-->", 0, end) + 3
        close = close if close > 2 else 0  # there is no comment
        # An expression that looks for an end which is not there would look through the rest of the page each time, so
        # after the last "-->" no comment starts.
        html = _UNREAD.sub(self._unread, html[:close] + html[close:end].replace("<!--", "<!")) + _CUT.sub(
            "", html[end:]
        )
        for run, slash, name, attributes, stray in _TOKEN.findall(html):
            if run:
                self._text(run)
            if name:
                name = name.lower()
                if name == "a":
                    self._link(slash, attributes)
                elif name == "br":
                    self.pieces.append(BREAK)
                elif slash:
                    self._end(name)
                else:
                    self._start(name, attributes)
            elif stray:
                self.pieces.append("<")
        self._flush()
        return self.tree

    def _unread(self, match: re.Match[str]) -> str:
        if match[1] and match[1].lower() == "title" and not self.tree.title:
            self.tree.title = " ".join(unescape(match[2]).split())
        return ""

    def _text(self, run: str) -> None:
        if "<" in run:
            if "none" in run or "hidden" in run or "sr-only" in run or "screen-reader" in run or "editsection" in run:
                run = _HIDDEN.sub("", run)
            run = _INLINE_TAG.sub("", run)
        if self.links:
            if run.strip() in ANCHORS:
                return
            self.linked += len(run.strip())
        self.pieces.append(run)

    def _link(self, slash: str, attributes: str) -> None:
        """Links do not nest: a second start tag ends the first. XHTML's ``<a id="here"/>`` is a place, not a link."""
        if not slash:
            self.place = _OWN_PAGE.search(attributes) is not None
        self.links = not slash and "href" in attributes.lower() and not attributes.endswith('"/')

    def _flush(self) -> None:
        """What was read since the last block tag becomes a block, or several where there were empty lines."""
        if not self.pieces:
            return
        raw = unescape("".join(self.pieces))
        self.pieces.clear()
        linked, self.linked = self.linked, 0
        node = self.open[-1]
        if self.verbatim:
            text = raw.replace(BREAK, "\n").strip("\n")
            if text.strip():
                self._add(node, text, linked)
            return
        if BREAK not in raw:
            text = " ".join(raw.split())
            if text:
                self._add(node, text, linked)
            return
        lines = [" ".join(line.split()) for line in raw.split(BREAK)]
        paragraphs = [part.strip("\n") for part in "\n".join(lines).split("\n\n")]
        paragraphs = [part for part in paragraphs if part]
        total = sum(map(len, paragraphs))
        for part in paragraphs:
            self._add(node, part, linked * len(part) // total)

    def _add(self, node: int, text: str, linked: int) -> None:
        tag = self.tree.tags[node]
        own = tag == "h1" or (self.place and tag in HEADINGS)  # a heading that links to itself
        linked = 0 if own else min(linked, len(text))
        weight = len(text) if text.isascii() else 3 * len(text) - 2 * len(_IDEOGRAPHS.sub("", text))
        self.tree.blocks.append(Block(node, text, linked, weight))

    def _start(self, name: str, attributes: str) -> None:
        self._flush()
        tags, parents = self.tree.tags, self.tree.parents
        if name in VOID:
            self._point(name)
            return
        if tags[self.open[-1]] in PARAGRAPHS:
            self._pop()
        if name in ENDS:
            self._close(ENDS[name], FENCES.get(name, ("table",)))
        elif name in ("html", "body"):
            self.tree.attributes[0] += attributes
            return
        parents.append(self.open[-1])
        tags.append(name)
        self.tree.attributes.append(attributes)
        self.open.append(len(tags) - 1)
        self.count[name] = self.count.get(name, 0) + 1
        self.verbatim += name == "pre" or name == "listing"

    def _point(self, name: str) -> None:
        self.tree.parents.append(self.open[-1])
        self.tree.tags.append(name)
        self.tree.attributes.append("")

    def _end(self, name: str) -> None:
        self._flush()
        if name in ("html", "body") or not self.count.get(name):
            return
        fences = () if name in ("table", "td", "th", "tr", "tbody", "thead", "tfoot") else ("td", "th")
        self._close((name,), fences)

    def _close(self, names: tuple[str, ...], fences: tuple[str, ...]) -> None:
        """End the nearest open element called one of ``names``, and all that is open inside it."""
        tags, opened = self.tree.tags, self.open
        for place in range(len(opened) - 1, max(0, len(opened) - 1 - LOOK_BACK), -1):
            tag = tags[opened[place]]
            if tag in names:
                while len(opened) > place:
                    self._pop()
                return
            if tag in fences:
                return

    def _pop(self) -> None:
        tag = self.tree.tags[self.open.pop()]
        self.count[tag] -= 1
        self.verbatim -= tag == "pre" or tag == "listing"
