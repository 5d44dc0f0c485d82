"""Blocks to plain text that shows their structure: headings alone, lists with dashes, rows of tables with bars.

Code keeps its lines and spaces. A table whose cells hold paragraphs, code or other tables is there for the layout of
the page and is read as what it holds.
"""

from dataclasses import dataclass, field

from danlu.text.extraction.markup import HEADINGS, Block, Tree

INDENT = "  "
CELL = 400  # characters of a table's cell at most
LINE = 80  # weight below which a block of no sort is a line and not a paragraph
PARAGRAPHS = frozenset(["p", "blockquote", "pre", "listing", "dt", *HEADINGS])


@dataclass
class _Places:
    """For each element: the nearest list item, cell and table around it, and how many lists."""

    item: list[int] = field(default_factory=lambda: [0])
    depth: list[int] = field(default_factory=lambda: [0])
    cell: list[int] = field(default_factory=lambda: [0])
    table: list[int] = field(default_factory=lambda: [0])
    rows: dict[int, list[int]] = field(default_factory=dict)  # row → its cells
    layout: set[int] = field(default_factory=set)


def render(tree: Tree, blocks: list[Block]) -> str:
    """The text of ``blocks``, which stand in the order of the page."""
    places = _places(tree)
    _find_layout(tree, blocks, places)
    out: list[str] = []
    bulleted: set[int] = set()
    before: Block | None = None
    place = 0
    while place < len(blocks):
        block = blocks[place]
        table = places.table[block.node]
        if table and table not in places.layout:
            end = place
            while end < len(blocks) and places.table[blocks[end].node] == table:
                end += 1
            text, blank = _table(tree, blocks[place:end], places), True
            place = end
        else:
            text, blank = _block(tree, block, before, places, bulleted)
            place += 1
        if out:
            out.append("\n\n" if blank else "\n")
        out.append(text)
        before = blocks[place - 1]
    return "".join(out)


def _places(tree: Tree) -> _Places:
    places = _Places()
    for node in range(1, len(tree.tags)):
        tag, parent = tree.tags[node], tree.parents[node]
        item, depth, cell, table = places.item[parent], places.depth[parent], places.cell[parent], places.table[parent]
        if tag == "li":
            item = node
        elif tag in ("ul", "ol", "menu"):
            depth += 1
        elif tag == "table":
            if table:
                places.layout.add(table)
            item, depth, cell, table = 0, 0, 0, node
        elif tag in ("td", "th"):
            places.rows.setdefault(parent, []).append(node)
            item, depth, cell = 0, 0, node
        places.item.append(item)
        places.depth.append(depth)
        places.cell.append(cell)
        places.table.append(table)
    return places


def _find_layout(tree: Tree, blocks: list[Block], places: _Places) -> None:
    """Tables with a long cell, with code, headings or lists in one, or without a row of two cells."""
    length: dict[int, int] = {}
    for block in blocks:
        table, cell, tag = places.table[block.node], places.cell[block.node], tree.tags[block.node]
        if cell:
            length[cell] = length.get(cell, 0) + len(block.text)
            if length[cell] > CELL or tag == "pre" or tag in HEADINGS:
                places.layout.add(table)
    wide = {places.table[row] for row, cells in places.rows.items() if sum(cell in length for cell in cells) > 1}
    places.layout |= {table for table in places.table if table and table not in wide}


def _table(tree: Tree, blocks: list[Block], places: _Places) -> str:
    cells: dict[int, list[str]] = {}
    for block in blocks:
        cells.setdefault(places.cell[block.node] or block.node, []).append(" ".join(block.text.split()))
    lines: list[str] = []
    done: set[int] = set()
    for cell in cells:
        row = tree.parents[cell]
        if cell not in places.cell or not places.cell[cell]:
            lines.append(" ".join(cells[cell]))  # a caption
        elif row not in done:
            done.add(row)
            lines.append(" | ".join(" ".join(cells.get(one, [])) for one in places.rows[row]).rstrip(" |"))
    return "\n".join(line for line in lines if line)


def _block(tree: Tree, block: Block, before: Block | None, places: _Places, bulleted: set[int]) -> tuple[str, bool]:
    """The text of a block outside tables, and whether an empty line comes before it."""
    node, tag = block.node, tree.tags[block.node]
    item = places.item[node]
    if item:
        margin = INDENT * max(0, places.depth[node] - 1)
        mark = INDENT if item in bulleted else "- "
        bulleted.add(item)
        text = margin + mark + (block.text if tag == "pre" else block.text.replace("\n", f"\n{margin}{INDENT}"))
        return text, before is not None and not places.item[before.node]
    if before is None:
        return block.text, False
    if places.item[before.node] or tag in PARAGRAPHS or tree.tags[before.node] in PARAGRAPHS - {"dt"}:
        return block.text, tree.tags[before.node] != "dt"
    return block.text, block.weight >= LINE or before.weight >= LINE
