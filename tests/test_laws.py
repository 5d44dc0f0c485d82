"""The laws of the house, read from `danlu.base.river` and from the source itself.

Everything here works on syntax trees and text; what has to be run is run in a process of its own, so that
no import of another test can hide a fault.
"""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import danlu
from danlu.base import river

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "danlu"
ROOMS = [room.name for room in river.RIVER]
TOP = {"__init__", "__main__", "cli"}  # stand above all rooms; no room may import them
FILE_LINES, FUNCTION_LINES, CLI_LINES = 400, 60, 200


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    """Every Python file below these folders of the repository."""
    return tuple(sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    """``danlu/text/read.py:12``, for messages."""
    line = getattr(node, "lineno", None)
    return f"{path.relative_to(ROOT)}{f':{line}' if line else ''}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def aliases(module: ast.Module) -> dict[str, str]:
    """Local name → dotted origin of everything imported anywhere in the module."""
    names = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for item in node.names:
                root = item.name.split(".")[0]
                names[item.asname or root] = item.name if item.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """``torch.load`` for the expression that means it, whatever it was imported as; '' for other expressions."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return ""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, under the dotted name of what is called."""
    names = aliases(tree(path))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield dotted(node.func, names), node


def own_imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every module of Danlu that a file imports, at any depth and by any spelling."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            targets = [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            # `from danlu import text` means danlu.text; deeper, the module itself already names its room.
            targets = [f"danlu.{item.name}" for item in node.names] if start == "danlu" else [start]
        else:
            continue
        yield from ((node, target) for target in targets if target.split(".")[0] == "danlu")
    for name, call in calls(path):
        if name in ("importlib.import_module", "__import__") and call.args:
            argument = call.args[0]
            if isinstance(argument, ast.Constant) and str(argument.value).split(".")[0] == "danlu":
                yield call, str(argument.value)


def broken_layers(path: Path) -> list[str]:
    """The imports of ``path`` that flow up the river."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in TOP:
        return []
    broken = []
    for node, target in own_imports(path):
        parts = target.split(".")
        room = parts[1] if len(parts) > 1 else ""
        if room == "__version__":
            continue
        if room not in ROOMS or ROOMS.index(room) > ROOMS.index(own):
            broken.append(f"{place(path, node)}: {own}/ may not import {target}")
    return broken


def test_imports_go_only_to_rooms_above() -> None:
    assert [line for path in sources("danlu") for line in broken_layers(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    from danlu.train import loop",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import danlu.recipes.chain",
        "from .. import generate",
        "from ..recipes import chain",
        "import importlib\nimportlib.import_module('danlu.train.loop')",
        "from danlu import Engine",
        "import danlu.cli",
    ],
)
def test_the_layer_law_sees_every_spelling(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "tree", lambda path: ast.parse(code))
    assert broken_layers(PACKAGE / "text" / "invented.py")


def test_extras_are_imported_where_they_are_used() -> None:
    """At the top of a module stand only the standard library, the core dependencies and Danlu."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[^\w-]", item)[0] for item in project["dependencies"]} | {"danlu", "yaml"}
    known = core | set(sys.stdlib_module_names)
    broken = []
    for path in sources("danlu"):
        for node in tree(path).body:
            found = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                found = [str(node.module)]
            broken += [f"{place(path, node)}: {name}" for name in found if name.split(".")[0] not in known]
    assert broken == []


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short() -> None:
    assert {place(path): length(path) for path in sources("danlu") if length(path) > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in sources("danlu"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{place(path, node)} {node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("room", river.RIVER, ids=ROOMS)
def test_a_room_keeps_to_its_cap(room: river.Room) -> None:
    assert sum(map(length, sources(f"danlu/{room.name}"))) <= room.cap


def test_the_command_line_keeps_to_its_cap() -> None:
    assert length(PACKAGE / "cli.py") <= CLI_LINES


def test_every_folder_is_in_the_river_and_the_reverse() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    with_code = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*/*.py")}
    assert folders == with_code == set(ROOMS)
    assert len(ROOMS) == len(set(ROOMS))


def test_every_package_folder_has_an_init() -> None:
    """Without one, setuptools leaves the folder out of the wheel and nobody notices in a checkout."""
    assert [place(p) for p in sources("danlu") if not (p.parent / "__init__.py").exists()] == []


def order(name: str) -> tuple[int, str]:
    """CONSTANTS, Classes, functions; alphabetical in each: the order that ruff's RUF022 keeps as well."""
    constant = len(name) > 1 and name.isupper()
    return (0 if constant else 1 if name[0].isupper() else 2, name)


def test_public_names_are_sorted() -> None:
    unsorted = {}
    for path in sources("danlu"):
        for node in tree(path).body:
            named = isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
            )
            if named and isinstance(node, ast.Assign):
                names = ast.literal_eval(node.value)
                if names != sorted(names, key=order) or len(names) != len(set(names)):
                    unsorted[place(path)] = names
    assert unsorted == {}


@pytest.mark.parametrize("name", danlu.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(danlu, name)
    assert name in dir(danlu)
    home = getattr(value, "__module__", "danlu")
    assert home.startswith("danlu")
    assert getattr(importlib.import_module(home), name) is value


def test_a_wrong_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Transfromer"):
        _ = danlu.Transfromer


# Prints its report whether the command returns, exits or fails; the exit status says which.
PROBE = textwrap.dedent(
    """
    import json, os, sys, threading, time
    began, status = time.process_time(), 0
    try:
        {code}
    except SystemExit as stop:
        status = stop.code
    seconds, task = time.process_time() - began, "/proc/self/task"
    tasks = os.listdir(task) if os.path.isdir(task) else []
    children = [open(f"{{task}}/{{t}}/children").read().strip() for t in tasks
                if os.path.exists(f"{{task}}/{{t}}/children")]
    print("\\n" + json.dumps({{
        "status": status, "seconds": seconds, "threads": max(threading.active_count(), len(tasks)),
        "children": "".join(children),
        "heavy": sorted({{"torch", "transformers", "matplotlib", "pyarrow", "numpy"}} & set(sys.modules)),
    }}))
    """
)


def probe(code: str) -> dict[str, object]:
    """Run ``code`` in a fresh interpreter and say what it loaded, started and cost."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light_and_starts_nothing() -> None:
    # Processor time and the best of three: the law is about our imports, not about a busy machine.
    found = min((probe("import danlu") for _ in range(3)), key=lambda seen: float(str(seen["seconds"])))
    assert float(str(found["seconds"])) < 0.5
    assert found["heavy"] == []
    assert found["threads"] == 1
    assert found["children"] == ""


@pytest.mark.parametrize("words", [["--help"], ["pretrain", "--help"], ["chain", "--help"], ["map"]], ids=" ".join)
def test_help_is_answered_without_torch(words: list[str]) -> None:
    found = probe(f"from danlu.cli import main; sys.argv = {['danlu', *words]!r}; status = main() or 0")
    assert found["status"] in (0, None)
    assert not {"torch", "transformers", "matplotlib"} & set(found["heavy"])  # type: ignore[call-overload]


def test_python_m_danlu_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "danlu", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pretrain" in done.stdout


FORBIDDEN_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"torch.save", "eval", "exec", "builtins.eval", "builtins.exec"}


def forbidden(path: Path) -> Iterator[str]:
    """Ways of running code that came with the data: pickle in any dress, eval, remote code."""
    names = aliases(tree(path))
    for origin in {name.split(".")[0] for name in names.values()} & FORBIDDEN_MODULES:
        yield f"{place(path)}: imports {origin}"
    for name, call in calls(path):
        given = {
            keyword.arg: keyword.value.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)
        }
        if name in FORBIDDEN_CALLS:
            yield f"{place(path, call)}: calls {name}"
        if name in ("torch.load", "torch.serialization.load") and given.get("weights_only") is not True:
            yield f"{place(path, call)}: torch.load without weights_only=True"
        for keyword in ("trust_remote_code", "allow_pickle"):
            if keyword in {k.arg for k in call.keywords} and given.get(keyword) is not False:
                yield f"{place(path, call)}: {keyword}"


def test_no_expression_has_a_possessive_group() -> None:
    """Before Python 3.11.5 such groups may match wrongly (CPython issue 106052); single characters are safe."""
    group = re.compile(r"\)[*+?]\+|\(\?>")
    assert [
        f"{path}: {found[0]}" for path in sources("danlu") for found in group.finditer(path.read_text("utf-8"))
    ] == []


def test_nothing_runs_code_that_came_with_data() -> None:
    assert [line for path in sources("danlu", "tests", "bench") for line in forbidden(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads as read",
        "from torch import load\nload('x')",
        "import torch as t\nt.load('x', weights_only=False)",
        "import torch\ntorch.save({}, 'x')",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=wanted)",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_the_forbidden_is_seen(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "tree", lambda path: ast.parse(code))
    assert list(forbidden(PACKAGE / "invented.py"))


def test_there_is_one_backward() -> None:
    sites = [
        place(path, node)
        for path in sources("danlu")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
    ]
    assert len(sites) == 1, sites


def dataclasses_of(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(item) for item in node.decorator_list):
            yield node


def dials(cls: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    """A dataclass's fields by name."""
    return {n.target.id: n for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


def recipe_classes() -> dict[str, tuple[Path, ast.ClassDef]]:
    """The stages' dataclasses (those in recipes/ with an ``out``) and, wherever they live, those nested in them."""
    known = {cls.name: (path, cls) for path in sources("danlu") for cls in dataclasses_of(path)}
    waiting = [cls.name for path in sources("danlu/recipes") for cls in dataclasses_of(path) if "out" in dials(cls)]
    found: dict[str, tuple[Path, ast.ClassDef]] = {}
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found[name] = known[name]
            cls = known[name][1]
            for part in [*cls.bases, *(field.annotation for field in dials(cls).values())]:
                waiting += [node.id for node in ast.walk(part) if isinstance(node, ast.Name)]
    return found


def unexplained(path: Path, cls: ast.ClassDef) -> Iterator[str]:
    """Fields that say nothing of themselves in any of the places where tyro looks for a help text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    described = ast.get_docstring(cls) or ""
    for name, field in dials(cls).items():
        own = "\n".join(lines[field.lineno - 1 : field.end_lineno])
        after = cls.body[cls.body.index(field) + 1 :][:1]
        documented = (
            re.search(r"(^|\s)#\s*\w", own)
            or lines[field.lineno - 2].lstrip().startswith("#")
            or any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in after)
            or "help=" in own
            or re.search(rf"^\s*{name}\s*:", described, re.MULTILINE)
        )
        if not documented:
            yield f"{place(path, field)}: {cls.name}.{name}"


def test_every_dial_of_a_recipe_is_explained() -> None:
    found = recipe_classes()
    assert "Clean" in found
    assert [line for path, cls in found.values() for line in unexplained(path, cls)] == []
