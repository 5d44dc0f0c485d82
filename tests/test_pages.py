"""What the pages say is so: the river, the commands and the table of techniques agree with the source."""

import ast
import re
from pathlib import Path

import danlu
from danlu.base import river

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [room.name for room in river.RIVER]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_readmes_show_the_river() -> None:
    assert river.table() in read("README.md"), f"README.md needs this table:\n{river.table()}"


def test_the_package_docstring_shows_the_river() -> None:
    wanted = river.lines()
    assert wanted in (danlu.__doc__ or ""), f"danlu/__init__.py's docstring needs these lines:\n{wanted}"


def test_the_design_page_names_every_room_and_cap() -> None:
    rows = dict(re.findall(r"^\| `(\w+)/` \| ([\d,]+) \|", read("docs/DESIGN.md"), re.MULTILINE))
    assert {r.name: r.cap for r in river.RIVER} == {r.name: int(rows[r.name].replace(",", "")) for r in river.RIVER}
    assert [name for name in rows if name in ROOMS] == ROOMS


def commands(name: str) -> list[str]:
    """The lines of a page's bash blocks, comments and blank lines aside."""
    blocks = re.findall(r"^```bash\n(.*?)^```", read(name), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_both_readmes_have_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh-CN.md")
    assert "make demo" in commands("README.md")


def technique_rows() -> list[list[str]]:
    lines = read("TECHNIQUES.md").splitlines()
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["technique", "source", "file", "test"]
    return rows[2:]


def names_of_tests(file: str) -> set[str]:
    """The names of the test functions in a file, methods included."""
    module = ast.parse(read(file))
    functions = (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test")}


def test_every_technique_has_a_source_a_file_and_a_test() -> None:
    broken = []
    for row in technique_rows():
        if len(row) != 4 or not all(row):
            broken.append(f"{row}: four filled cells are needed")
            continue
        technique, _, file, test = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", cell).replace("`", "") for cell in row)
        if not (ROOT / file).is_file():
            broken.append(f"{technique}: there is no file {file}")
        test_file, _, name = test.partition("::")
        if not (ROOT / test_file).is_file():
            broken.append(f"{technique}: there is no file {test_file}")
        elif name not in names_of_tests(test_file):
            broken.append(f"{technique}: {test_file} has no test '{name}'")
    assert broken == []
