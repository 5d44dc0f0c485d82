"""The documentation inside installed Python packages, read from their source and never by running it.

Modules are parsed with ``ast``: importing hundreds of them would run whatever they do at import. What has no source
(``builtins``, NumPy's ufuncs) is asked for its ``__doc__`` instead, in modules that are safe to import. torch keeps
the documentation of its compiled functions in ``add_docstr(torch.abs, "...")`` calls, which are read as well;
the shared fragments that those calls format in are left out.
"""

import ast
import importlib
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

SHORTEST = 20  # characters; below that a docstring says no more than its name
# Neither prose nor public: tests, bundled tools, games, generated tables, and other people's code.
# fmt: off
SKIPPED = frozenset([
    "test", "tests", "_internal", "_private", "_examples", "idlelib", "lib2to3", "turtledemo", "site-packages", "this",
    "antigravity", "pydoc_data", "_vendor", "encodings", "ntpath", "distutils", "__main__", "__phello__", "ensurepip",
])
# fmt: on
# Modules under the names that people import; the source stands elsewhere.
ALIASES = {
    "posixpath": "os.path",
    "genericpath": "os.path",
    "_collections_abc": "collections.abc",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_pydatetime": "datetime",
    "posix": "os",
}
SIGNATURE = re.compile(
    r"\s*([\w.]+)(\((?:[^()]|\([^()]*\))*\)(?: *-+> *[^\n]*)?)[ \t]*\n(?:--[ \t]*\n|[ \t]*[\w.]+\([^\n]*\n)*\s*\n"
)
ROLE = re.compile(r":(?:\w+:)?(\w+):`~?([^`<]*?)(?:\s*<[^`>]*>)?`")
# Instructions to the documentation's builder.
NOISE = re.compile(
    r"^[ \t]*(?::meta [^\n]*|\.\. (?:_[^\n]*:|currentmodule::|module::|automodule::|autofunction::|autoclass::"
    r"|autosummary::|toctree::|index::|testsetup::|testcleanup::|ifconfig::|# )[^\n]*)\n?",
    re.MULTILINE,
)
FRAGMENT = re.compile(r"^[ \t]*\{\w+\}[ \t]*\n|(?<!\{)\{\w+\}(?!\})", re.MULTILINE)
BARE_HEADING = re.compile(r"^(?:Keyword )?(?:Args|args|Arguments|arguments):(?:\n\s*(?=^\S)|\Z)", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One documented thing. ``signature`` is ``(a, b=1) -> int`` or empty; ``kind`` is module, class or function."""

    name: str
    signature: str
    text: str
    kind: str

    @property
    def public(self) -> bool:
        """Does no part of its name begin with an underscore?"""
        return not any(part.startswith("_") for part in self.name.split("."))


@dataclass(frozen=True)
class Module:
    """A module's entries in the order of its source; ``file`` is relative to the package's folder."""

    name: str
    file: str
    entries: list[Entry]


def modules(root: Path, package: str = "") -> Iterator[Module]:
    """Each documented module under ``root``, sorted by path. ``package`` is its dotted name, empty for a library."""
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        parts = [*relative.parts[:-1], relative.stem]
        if any(part in SKIPPED or part.startswith(("test_", "config-")) for part in parts):
            continue
        source = path.read_bytes()
        if b'"""' not in source and b"'''" not in source:
            continue  # parsing is the slow part
        if parts[-1] == "__init__":
            parts.pop()
        name = ".".join([package, *parts] if package else parts)
        entries = list(parse(source, ALIASES.get(name, name)))
        if entries:
            yield Module(ALIASES.get(name, name), str(relative), entries)


def parse(source: bytes, module: str) -> Iterator[Entry]:
    """The entries of one module's source; nothing where this Python cannot parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    yield from _documented(module, "", tree, "module")
    yield from _inside(tree.body, module)


def _inside(body: Iterable[ast.stmt], prefix: str) -> Iterator[Entry]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            yield from _documented(f"{prefix}.{node.name}", f"({ast.unparse(node.args)}){returns}", node, "function")
        elif isinstance(node, ast.ClassDef):
            yield from _documented(f"{prefix}.{node.name}", "", node, "class")
            yield from _inside(node.body, f"{prefix}.{node.name}")
        elif isinstance(node, ast.If | ast.Try):
            yield from _inside([*node.body, *node.orelse], prefix)
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            yield from _added(node.value)


def _documented(
    name: str, signature: str, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, kind: str
) -> Iterator[Entry]:
    for entry in _entry(name, ast.get_docstring(node) or "", kind):
        yield replace(entry, signature=signature or entry.signature)


def _added(call: ast.Call) -> Iterator[Entry]:
    """``add_docstr(torch.abs, "...")``, under whatever name the function was imported."""
    if ast.unparse(call.func).rpartition(".")[2] in ("add_docstr", "_add_docstr") and len(call.args) == 2:
        name = ast.unparse(call.args[0]).replace("torch._C._", "torch.").replace("_C._", "torch.")
        text = _string(call.args[1])
        if text is not None and re.fullmatch(r"[\w.]+", name):
            yield from _entry(name, BARE_HEADING.sub("", inspect.cleandoc(text)), "function")


def _string(node: ast.expr) -> str | None:
    """A string made of literals, ``+`` and ``.format(...)``; the fields of a format are dropped."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left), _string(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = _string(node.func.value)
        return None if text is None else FRAGMENT.sub("", text).replace("{{", "{").replace("}}", "}")
    return None


def compiled(name: str) -> list[Entry]:
    """The entries of a module without source, and of its classes' methods. It is imported."""
    module = importlib.import_module(name)
    entries: list[Entry] = []
    shown = ALIASES.get(name, name)
    for key, value in sorted(vars(module).items()):
        if key.startswith("_") or isinstance(value, ModuleType) or not callable(value):
            continue
        full = key if name == "builtins" else f"{shown}.{key}"
        if not isinstance(value, type):
            entries.extend(_asked(full, value, "function"))
        elif value.__module__ in (name, shown):
            entries.extend(_asked(full, value, "class"))
            for attribute, member in sorted(vars(value).items()):
                if callable(member) and not attribute.startswith("_"):
                    entries.extend(_asked(f"{full}.{attribute}", member, "function"))
    return entries


def _asked(name: str, value: object, kind: str) -> Iterator[Entry]:
    text = value.__doc__ if isinstance(value.__doc__, str) else ""
    for entry in _entry(name, inspect.cleandoc(text), kind):
        if not entry.signature and kind == "function":
            with suppress(ValueError, TypeError):
                entry = replace(entry, signature=str(inspect.signature(value)))  # type: ignore[arg-type]
        yield entry


def _entry(name: str, text: str, kind: str) -> Iterator[Entry]:
    """Compiled functions write their signature at the head of the docstring; it is taken off there."""
    found = SIGNATURE.match(text)
    same = found is not None and found[1].rpartition(".")[2] == name.rpartition(".")[2]
    signature = " ".join(found[2].split()).replace("( ", "(").replace(", )", ")") if found and same else ""
    text = tidy(text[found.end() :] if found and signature else text)
    if len(text) >= SHORTEST:
        yield Entry(name, signature, text, kind)


def tidy(text: str) -> str:
    """Without the builder's instructions: roles become plain names, formulas ``$...$``."""
    text = ROLE.sub(lambda role: f"${role[2]}$" if role[1] == "math" else f"`{role[2]}`", NOISE.sub("", text))
    return re.sub(r"\n{4,}", "\n\n\n", text).strip()


def page(module: Module) -> Iterator[str]:
    """A module as ``help()`` would show it, in parts of at most about 64k characters, cut between entries."""
    part: list[str] = []
    size = 0
    for entry in module.entries:
        text = _shown(entry)
        if size + len(text) > 1 << 16 and part:
            yield "\n\n".join(part)
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield "\n\n".join(part)


def _shown(entry: Entry) -> str:
    if entry.kind == "module":
        return f"module {entry.name}\n\n{entry.text}"
    body = "\n".join(f"    {line}" if line else "" for line in entry.text.split("\n"))
    return f"{'class ' if entry.kind == 'class' else ''}{entry.name}{entry.signature}\n{body}"


def reexported(source: bytes, package: str) -> set[tuple[str, str]]:
    """(module, name) of each ``from .module import name`` in a package's ``__init__``."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level == 1)
    return {(f"{package}.{node.module}", alias.name) for node in nodes if node.module for alias in node.names}


def renamed(module: Module, public: set[tuple[str, str]]) -> Module:
    """The module with its entries under public names: ``numpy._core.fromnumeric.sum`` → ``numpy.sum``.

    What the package re-exports loses its whole path, the rest loses private parts at the end of the path
    (``numpy.linalg._linalg.solve`` → ``numpy.linalg.solve``).
    """
    parents = [".".join(module.name.split(".")[:n]) for n in range(1, module.name.count(".") + 2)]
    exported = {name for parent, name in public if parent in parents}
    shown = module.name.split(".")
    while shown[-1].startswith("_"):
        shown.pop()

    def rename(entry: Entry) -> Entry:
        inside = entry.name.removeprefix(module.name + ".")
        if entry.kind == "module" or inside == entry.name:
            return entry
        path = shown[:1] if inside.split(".")[0] in exported else shown
        return replace(entry, name=".".join([*path, inside]))

    return replace(module, entries=[rename(entry) for entry in module.entries])
