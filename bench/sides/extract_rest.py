"""The words that a reader of a Sphinx page sees, out of its reST source: the ground truth of extract.

docutils parses; what Sphinx and the Python documentation add to reST is described here. Every directive is one of
`HIDDEN` (nothing is shown), `LABELS` and `VERSIONS` (a word or two, then the contents), `LITERAL` (shown as is) or an
object description, whose signature is shown with the module before it, as Sphinx does. A role shows its title, or the
last part after a tilde. Tables of contents are not text here, so pages that are one are left out, and so are pages
that show files which the package does not ship or lists which Sphinx computes (`whole` says no).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles

# fmt: off
HIDDEN = ("index", "module", "moduleauthor", "sectionauthor", "highlight", "tabularcolumns", "testsetup",
          "testcleanup", "program", "contents", "image")
LITERAL = ("doctest", "testcode", "code-block", "sourcecode", "testoutput", "productionlist", "parsed-literal")
LABELS = {"note": "Note", "warning": "Warning", "seealso": "See also", "important": "Important", "caution": "Caution",
          "impl-detail": "CPython implementation detail:", "availability": "Availability:", "rubric": "",
          "glossary": "", "only": ""}
VERSIONS = {"versionadded": "New in version", "versionchanged": "Changed in version",
            "deprecated": "Deprecated since version", "deprecated-removed": "Deprecated since version"}
CLASSES = ("class", "exception")
IN_MODULE = ("function", "data", "decorator", "coroutinefunction", "awaitablefunction", *CLASSES)
MEMBERS = ("method", "attribute", "coroutinemethod", "classmethod", "abstractmethod", "staticmethod",
           "awaitablemethod")
OTHERS = ("cmdoption", "option", "opcode", "envvar", "2to3fixer", "pdbcommand", "describe", "object", "c:function",
          "c:member", "c:type", "c:var", "c:macro", "c:struct")
PREFIXES = {"class": "class", "exception": "exception", "coroutinefunction": "coroutine", "decorator": "@",
            "coroutinemethod": "coroutine", "classmethod": "classmethod", "abstractmethod": "abstractmethod",
            "staticmethod": "static", "awaitablefunction": "awaitable", "awaitablemethod": "awaitable",
            "c:type": "type", "c:struct": "struct"}
ROLES = ("class", "func", "meth", "mod", "exc", "attr", "const", "term", "data", "keyword", "file", "option", "envvar",
         "source", "program", "mailheader", "dfn", "kbd", "opcode", "command", "mimetype", "manpage", "samp", "pdbcmd",
         "token", "menuselection", "code", "newsgroup", "guilabel", "makevar", "download", "2to3fixer", "ref", "doc",
         "abbr", "issue", "gh", "pep", "rfc", "func", "obj", "type", "ctype", "cmacro")
BEFORE = {"pep": "PEP ", "rfc": "RFC ", "issue": "bpo-", "gh": "gh-"}
# fmt: on
COMPUTED = re.compile(
    r"^ *\.\. +(toctree|literalinclude|miscnews|limited-api-list|audit-event-table|include:: +(?!.*wasm-notavail))",
    re.M,
)
TITLED = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.S)
LABEL = re.compile(
    r"^\.\. _([^:\n]+):\s*\n(?:\s*\n|\.\. [^\n]*\n(?: +[^\n]*\n)*)*(?:([=*#-])\2*\n)?([^\n]+)\n([=\-~^\"*#.])\4{2,}",
    re.M,
)


def whole(source: str) -> bool:
    """Does the source hold everything that its page shows?"""
    return COMPUTED.search(source) is None


def labels(sources: Mapping[str, str]) -> dict[str, str]:
    """Label → the title below it; page name → its title."""
    found: dict[str, str] = {}
    for source in sources.values():
        for match in LABEL.finditer(source):
            found[match[1].strip().strip("`").lower()] = match[3]
    return found


class _Reader:
    """Roles and directives for one run: what a label is called, and which module a signature stands in."""

    def __init__(self, titles: Mapping[str, str], include: Path) -> None:
        self.titles, self.include = titles, include
        self.module = ""
        self.inside: list[str] = []  # the classes whose description is being read

    def role(self, name: str, text: str) -> str:
        text = text.replace("\x00", "")
        titled = TITLED.match(text)
        if name == "abbr":
            return text.partition("(")[0]
        if titled and name not in ("token",):
            return titled[1]
        if name in ("ref", "doc"):
            return plain(self.titles.get(text.lower(), text))
        if name in ("samp", "file"):
            return text.replace("{", "").replace("}", "")
        text = text.lstrip("!")
        if text.startswith("~"):
            text = text.rpartition(".")[2]
        return BEFORE.get(name, "") + text

    def signature(self, name: str, line: str) -> str:
        line = line.replace("\\", "")
        before = PREFIXES.get(name, "")
        bare = line.split("(")[0].strip()
        if self.inside and name in MEMBERS:
            line = line.removeprefix(f"{self.inside[-1]}.")
        if name in IN_MODULE and not self.inside and self.module and "." not in bare:
            line = f"{self.module}.{line}"
        return f"{before} {line}"


def plain(title: str) -> str:
    """A title without its markup."""
    title = re.sub(r":[\w:+-]+:`~?!?([^`<]*?)(?:\s*<[^>]*>)?`", r"\1", title)
    return title.replace("``", "").replace("`", "").replace("*", "")


class _Anything(dict[str, Any]):
    """Every option is known to the directives of this file."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Callable[[str], Any]:
        return directives.unchanged

    def __getitem__(self, key: str) -> Any:
        return directives.unchanged

    def __bool__(self) -> bool:
        return True


def _directive(reader: _Reader, name: str) -> type[Directive]:
    class Described(Directive):
        required_arguments, optional_arguments = 0, 1
        final_argument_whitespace = has_content = True
        option_spec = _Anything()

        def run(self) -> list[nodes.Node]:
            return _run(reader, name, self)

    return Described


def _run(reader: _Reader, name: str, directive: Directive) -> list[nodes.Node]:
    given = directive.arguments[0] if directive.arguments else ""
    if name in ("module", "currentmodule"):
        reader.module = given
    if name in HIDDEN or name == "currentmodule" or (name == "only" and "html" not in given):
        return []
    if name == "include":
        text = (reader.include / Path(given + ".txt").name).read_text(encoding="utf-8")
        directive.state_machine.insert_input(text.splitlines(), given)
        return []
    if name in LITERAL:
        lines = "\n".join(directive.content) if name != "productionlist" else directive.block_text.partition("\n")[2]
        lines = re.sub(r"^\s*:\w+:.*$", "", lines, flags=re.M) if name == "productionlist" else lines
        return [nodes.literal_block("", lines.replace("`", ""))]
    box = nodes.container()
    if name == "audit-event":
        event, *arguments = given.replace(",", " ").split()
        many = "s" if len(arguments) > 2 else ""
        told = f" with argument{many} {', '.join(arguments[:-1])}" if arguments[:-1] else " with no arguments"
        if not directive.content:
            box += nodes.paragraph("", f"Raises an auditing event {event}{told}.")
    elif name in VERSIONS:
        version, _, rest = given.partition(" ")
        if name == "deprecated-removed":
            removed, _, rest = rest.partition(" ")
            version = f"{version}, will be removed in version {removed}"
        box += nodes.paragraph("", f"{VERSIONS[name]} {version}:")
        _inline(directive, rest, box)
    elif name in LABELS:
        box += nodes.paragraph("", LABELS[name])
        _inline(directive, given if name != "only" else "", box)
    else:
        box += [nodes.paragraph("", reader.signature(name, line.strip())) for line in given.splitlines()]
    if name in CLASSES:
        reader.inside.append(given.split("(")[0].strip())
    directive.state.nested_parse(directive.content, directive.content_offset, box)
    if name in CLASSES:
        reader.inside.pop()
    return [box]


def _inline(directive: Directive, text: str, box: nodes.Element) -> None:
    found, _ = directive.state.inline_text(text, directive.lineno)
    box += nodes.paragraph("", "", *found)


def prepare(titles: Mapping[str, str], include: Path) -> Callable[[str], str]:
    """The function from a reST source to its visible text."""
    reader = _Reader(titles, include)
    names = {*HIDDEN, *LITERAL, *LABELS, *VERSIONS, *IN_MODULE, *MEMBERS, *OTHERS}
    for name in {*names, "audit-event", "currentmodule", "include", "tabularcolumns"}:
        directives.register_directive(name, _directive(reader, name))
    for name in {*ROLES, *(f"c:{n}" for n in ("func", "member", "type", "expr", "data", "macro", "struct", "var"))}:
        _register(reader, name)
    for name in ("data", "class", "meth", "attr", "mod", "func"):
        _register(reader, f"py:{name}", name)

    def text(source: str) -> str:
        reader.module, reader.inside = "", []
        settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": True, "raw_enabled": False}
        source += "\n\n.. |version| replace:: 3.11\n.. |release| replace:: 3.11.2\n.. |today| replace:: today\n"
        tree = publish_doctree(source, settings_overrides={**settings, "smart_quotes": False})
        return _seen(tree)

    return text


def _register(reader: _Reader, name: str, shown: str = "") -> None:
    def role(
        _: str, raw: str, text: str, line: int, inliner: object, options: object = None, content: object = None
    ) -> Any:
        return [nodes.inline(raw, reader.role(shown or name, text))], []

    roles.register_local_role(name, role)


def _seen(tree: nodes.document) -> str:
    """Text nodes, a block on a line of its own; comments, targets and docutils' complaints are not shown."""
    out: list[str] = []
    unseen = (nodes.comment, nodes.substitution_definition, nodes.system_message, nodes.target)

    def visit(node: nodes.Node) -> None:
        if isinstance(node, nodes.field) and isinstance(node.parent, nodes.docinfo):
            return  # settings of Sphinx such as :tocdepth:
        if isinstance(node, nodes.Text):
            out.append(node.astext())
        elif not isinstance(node, unseen) or (
            isinstance(node, nodes.target) and isinstance(node.parent, nodes.TextElement)
        ):
            for child in node.children:
                visit(child)
            if not isinstance(node, nodes.Inline):
                out.append("\n")

    visit(tree)
    return "".join(out)
