"""Which blocks of a page are what a reader came for.

In three steps, each of which looks at sums over subtrees and at nothing else, so all are linear in the page:
1. furniture goes by its name (``<nav>``, ``role="banner"``, ``class="related-posts"``), except what holds the densest
   run of prose: a name is a hint, and pages whose body is called ``has-sidebar`` are common;
2. from the root downwards along the child that holds most of the prose, its neighbours without prose or full of links
   go, until the page's own mark for its contents or running text is met;
3. in what is left, lists of links go, and headings that stand over nothing any more.

Prose is text in blocks of some length with few links, the observation of Kohlschütter, Fankhauser and Nejdl,
"Boilerplate Detection using Shallow Text Features" (WSDM 2010); theirs decides block by block, this one by subtrees.
"""

import re
from dataclasses import dataclass
from typing import Literal

from danlu.text.extraction.markup import HEADINGS, Block, Tree
from danlu.text.extraction.names import Kind, classes, kind

Favour = Literal["balanced", "precision", "recall"]

# fmt: off
FLOW = frozenset(["p", "pre", "blockquote", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "table", "li", "dd"])
BOXES = frozenset(["ul", "ol", "div", "section", "nav", "center", "fieldset", "form", "aside", "header"])
LINES = frozenset(["p", "div", "dd", "header", "section", "article", "address"])
CELLS = frozenset(["td", "th", "dt"])
LISTS = BOXES | {"dl", "table"}
FRAME: tuple[Kind, ...] = ("unseen", "hidden", "frame", "comments")
FURNITURE: tuple[Kind, ...] = ("furniture", "beside", "aside", "caption", "note")
# fmt: on
LENGTH = 70  # weight from which a block can be prose: a short sentence in English, 23 characters of Chinese
MOST_LINKED = 0.4  # of a block that is prose
NOTE = 250  # characters of a note about the text (who wrote it, when) at most
LOST = 0.5  # of the characters that lists of links may take with them; where they are more, the page is a list
DATELINE = 120  # weight of a line that says when and by whom a text was written at most
FINE_PRINT = 500  # weight of a paragraph about rights and cookies at most
TITLE = 15  # weight from which a block that is all link can be the title of another page


_FINE_PRINT = re.compile(
    r"©|\(c\) ?(?:19|20)\d\d|all rights reserved|(?:uses?|using) (?:of )?cookies|cookie (?:policy|settings)|privacy policy|"  # noqa: E501
    r"terms of (?:use|service)|版权所有|著作权所有|未经.{0,8}(?:授权|许可|同意)|备案号|隐私政策",
    re.IGNORECASE,
)

_DATELINE = re.compile(
    r"(?:19|20)\d\d ?[-/.年] ?\d\d?|\b\d\d?(?:[./]| )(?:\d\d?|\w{3,9})[., /]+(?:19|20)\d\d|\b\w{3,9} \d\d?,? (?:19|20)\d\d\b|"  # noqa: E501
    r"\b\d\d?:\d\d\b|^(?:by|von|par|por|di|記者|记者|作者|来源|來源|文)[ :：/]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Bounds:
    """How much of a page's text an element may hold and still go for its name; of links, how much a list may hold."""

    unseen: float
    hidden: float
    frame: float
    furniture: float
    comments: float
    beside: float
    aside: float
    caption: float
    linked: float


BOUNDS = {
    "recall": _Bounds(
        unseen=0.5, hidden=0.2, frame=0.1, furniture=0.1, comments=0.0, beside=0.1, aside=0.1, caption=0.1, linked=0.95
    ),
    "balanced": _Bounds(
        unseen=0.9, hidden=0.5, frame=0.8, furniture=0.8, comments=0.8, beside=0.4, aside=0.4, caption=0.4, linked=0.8
    ),
    "precision": _Bounds(
        unseen=0.95, hidden=0.9, frame=0.9, furniture=0.9, comments=0.95, beside=0.6, aside=0.6, caption=0.6, linked=0.6
    ),
}


class _Sums:
    """For each element, over its subtree: characters, linked ones, prose, blocks of prose, blocks that are one link."""

    def __init__(self, tree: Tree, gone: bytearray) -> None:
        count = len(tree.tags)
        self.characters, self.linked, self.prose = [0] * count, [0] * count, [0.0] * count
        self.paragraphs, self.titles, self.cells = [0] * count, [0] * count, [0] * count
        for block in tree.blocks:
            node = block.node
            if not gone[node]:
                length, found = len(block.text), prose(block, tree.tags[node])
                self.characters[node] += length
                self.linked[node] += block.linked
                self.prose[node] += found
                self.paragraphs[node] += found > 0
                if tree.tags[node] in CELLS or tree.tags[tree.parents[node]] in CELLS:
                    self.cells[node] += length
                elif block.weight >= TITLE and block.linked > 0.9 * length and "://" not in block.text:
                    self.titles[node] += 1
        self.own, self.text = self.prose[:], self.characters[:]  # of the blocks that stand in the element itself
        sums = (self.characters, self.linked, self.prose, self.paragraphs, self.titles, self.cells)
        for node in range(count - 1, 0, -1):
            if self.characters[node]:
                parent = tree.parents[node]
                for one in sums:
                    one[parent] += one[node]  # type: ignore[assignment]

    def mass(self, node: int) -> float:
        """Characters that are in no link, those of prose counted twice."""
        return self.characters[node] - self.linked[node] + self.prose[node]

    def share(self, node: int) -> float:
        """Of the characters, how much is in links."""
        return self.linked[node] / max(1, self.characters[node])

    def worth(self, node: int) -> float:
        """The prose, of which that of teasers counts little."""
        return self.prose[node] * (0.2 if self.teasers(node, 3) else 1.0)

    def teasers(self, node: int, least: int) -> bool:
        """Titles of other pages, each with a sentence or none?"""
        in_rows = self.cells[node] > 0.2 * self.characters[node]
        return self.titles[node] >= max(least, self.paragraphs[node]) and not in_rows


def prose(block: Block, tag: str) -> float:
    """The weight of a block that looks like sentences: none of a short or heavily linked one."""
    if block.weight < LENGTH and tag != "pre":
        return 0.0
    if block.weight < FINE_PRINT and _FINE_PRINT.search(block.text):
        return 0.0
    share = block.linked / len(block.text)
    return 0.0 if share > MOST_LINKED else block.weight * (1 - share)


def select(tree: Tree, favour: Favour = "balanced") -> list[Block]:
    """The blocks to keep, in order."""
    gone = _without_furniture(tree, BOUNDS[favour])
    if _Sums(tree, gone).prose[0]:
        if favour != "recall":
            _along_the_prose(tree, gone)
        _without_links(tree, gone, BOUNDS[favour].linked)
    kept = _with_something_below(tree, [not gone[block.node] for block in tree.blocks])
    return kept if favour == "recall" else _without_dateline(tree, kept)


def _without_furniture(tree: Tree, bounds: _Bounds) -> bytearray:
    """First what frames a page whatever it holds, then the rest, of which the contents can bear the name as well."""
    gone = bytearray(len(tree.tags))
    kinds = [kind(tag, attributes) for tag, attributes in zip(tree.tags, tree.attributes, strict=True)]
    for names in (FRAME, FURNITURE):
        sums = _Sums(tree, gone)
        total, kept = max(1.0, sums.mass(0)), _around_the_densest(tree, sums) if names is FURNITURE else set()
        for node in range(1, len(tree.tags)):
            if gone[tree.parents[node]]:
                gone[node] = 1
            elif kinds[node] in names and sums.characters[node] and node not in kept:
                gone[node] = _goes(tree, sums, node, kinds[node], getattr(bounds, kinds[node], 0.0) * total)
    return gone


def _around_the_densest(tree: Tree, sums: _Sums) -> set[int]:
    """The element in which most prose runs side by side, and those around it; a comment stands in one of its own."""
    beside = [0.0] * len(tree.tags)
    for node, own in enumerate(sums.own):
        if own:
            beside[tree.parents[node] if tree.tags[node] in FLOW else node] += own
    node = max(range(len(beside)), key=beside.__getitem__)
    around = set()
    while node:
        around.add(node)
        node = tree.parents[node]
    return around


def _goes(tree: Tree, sums: _Sums, node: int, called: Kind, most: float) -> bool:
    """Is an element, from what it is called and what it holds, no contents? ``most`` is the mass it may have."""
    tag = tree.tags[node]
    if called == "note":
        return sums.characters[node] <= NOTE and tag not in HEADINGS
    if called == "beside" and sums.share(node) < 0.3 and sums.prose[node] > 0.5 * sums.characters[node]:
        return False  # a box in a manual is called sidebar too
    if tag in FLOW and sums.own[node] and called not in ("hidden", "unseen"):
        return False
    return sums.mass(node) <= most


def _along_the_prose(tree: Tree, gone: bytearray) -> None:
    """Drop the neighbours of the contents, from the root down to where the text runs."""
    sums = _Sums(tree, gone)
    children: dict[int, list[int]] = {}
    for node in range(1, len(tree.tags)):
        if sums.characters[node] and not gone[node]:
            children.setdefault(tree.parents[node], []).append(node)
    titles = [b for b in tree.blocks if tree.tags[b.node] in ("h1", "h2") and b.linked == 0 and not gone[b.node]]
    titled: dict[int, int] = {}
    for block in titles:
        node = block.node
        while node:
            titled[node] = titled.get(node, 0) + len(block.text)
            node = tree.parents[node]
    node = 0
    while sums.prose[node]:
        inside = children.get(node, [])
        heavy = max(inside, key=sums.worth, default=0)
        runs = _runs(tree, sums, node, heavy, inside)
        for child in inside:
            if child != heavy and _poor(tree, sums, child, heavy, runs):
                gone[child] = not (child < heavy and titled.get(child, 0) > 0.6 * sums.characters[child])
        if runs:
            break
        node = heavy
    for node in range(1, len(tree.tags)):
        gone[node] |= gone[tree.parents[node]]


def _runs(tree: Tree, sums: _Sums, node: int, heavy: int, inside: list[int]) -> bool:
    """Does the text run in this element, or only in the heaviest of its children?"""
    if tree.tags[node] == "article" or not heavy or sums.worth(heavy) < 0.5 * sum(map(sums.worth, inside)):
        return True
    if sums.own[node] or (tree.tags[heavy] in FLOW and tree.tags[heavy] != "table"):
        return True
    if sums.text[heavy] > 0.5 * sums.characters[heavy]:
        return True  # a paragraph that is called <div>
    if node and kind(tree.tags[node], tree.attributes[node]) == "contents":
        return True
    beside = [c for c in inside if c != heavy and tree.tags[c] in FLOW and tree.tags[c] not in HEADINGS]
    return any(sums.prose[c] for c in beside) or sum(sums.share(c) < 0.5 for c in beside) > 1


def _poor(tree: Tree, sums: _Sums, node: int, heavy: int, runs: bool) -> bool:
    """Is a neighbour of the contents no contents itself? Where the text runs, only a list of other pages is none."""
    tag, share = tree.tags[node], sums.share(node)
    if tag in FLOW:
        return not runs and tag not in HEADINGS and share > 0.5
    sort = classes(tree.attributes[node])
    alike = tag == tree.tags[heavy] and sort == classes(tree.attributes[heavy]) and (tag == "section" or sort != ())
    if alike and share <= 0.8:
        return False
    if sums.teasers(node, 2):
        return True
    if runs:
        return False
    if alike or tag in ("header", "form") or kind(tag, tree.attributes[node]) == "beside":
        return True
    return sums.prose[node] == 0 or share > 0.25


def _without_links(tree: Tree, gone: bytearray, most: float) -> None:
    """Drop lists of links: most of the text linked and no prose, or titles of other pages with a sentence each.

    Where they are most of what is left, the page is a list and stays one.
    """
    sums = _Sums(tree, gone)
    kept, without, lost = _around_the_densest(tree, sums), gone[:], 0
    for block in tree.blocks:
        tag = tree.tags[block.node]
        if block.linked > 0.75 * len(block.text) and tag in ("p", "div") and sums.own[block.node] == 0:
            alone = tree.tags[tree.parents[block.node]] not in ("li", "td", "th", "dd", "dt")
            without[block.node] |= alone and "://" not in block.text and sums.characters[block.node] < NOTE
    for node in range(1, len(tree.tags)):
        if without[tree.parents[node]]:
            without[node] = 1
        elif sums.linked[node] and tree.tags[node] in LISTS:
            links = sums.share(node) > most and sums.prose[node] == 0
            titles = tree.tags[node] in BOXES and sums.prose[node] > 0 and sums.teasers(node, 3)
            if links or (titles and node not in kept):
                without[node] = 1
                lost += sums.characters[node]
    if lost <= LOST * sums.characters[0]:
        gone[:] = without


def _with_something_below(tree: Tree, kept: list[bool]) -> list[Block]:
    """Without headings whose own text went: what follows is gone, and then comes no text but a heading or the end."""
    level, lost = 0, False  # of the kept block below, from the end; did something go in between?
    blocks = tree.blocks
    for place in range(len(blocks) - 1, -1, -1):
        if not kept[place]:
            lost = True
            continue
        heading = HEADINGS.get(tree.tags[blocks[place].node], 0)
        if heading > 1 and lost and level <= heading:
            kept[place], lost = False, False
            continue
        level, lost = heading or 9, False
    return [block for block, keep in zip(blocks, kept, strict=True) if keep]


def _without_dateline(tree: Tree, blocks: list[Block]) -> list[Block]:
    """Without the lines above the text that say when and by whom it was written."""
    first = next((n for n, block in enumerate(blocks) if prose(block, tree.tags[block.node])), 0)
    above = blocks[:first]
    kept = [b for b in above if b.weight > DATELINE or tree.tags[b.node] not in LINES or not _DATELINE.search(b.text)]
    return kept + blocks[first:]
