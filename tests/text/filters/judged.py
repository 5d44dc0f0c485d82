"""How the tests here ask a filter, and how they read datatrove's reasons off the tables in the filters' own pages."""

import re
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.document import Document, Dropped
from tests.text.filters import golden

needs_jieba = pytest.mark.skipif(find_spec("jieba") is None, reason="jieba is not installed")
ROW = re.compile(r"^``(\w+)``\s+``([^`]+)``", re.MULTILINE)


def reason(step: Any, text: str, **meta: Any) -> str:
    """Why ``step`` drops ``text``, or '' if it keeps it."""
    found = step(Document(text, "a:1", "a", meta))
    return found.reason if isinstance(found, Dropped) else ""


def left(step: Any, text: str) -> str:
    """The text that ``step`` hands on."""
    found = step(Document(text, "a:1", "a"))
    assert isinstance(found, Document)
    return found.text


def renamed(*modules: ModuleType) -> dict[str, str]:
    """datatrove's reason → ours, as the tables say."""
    return {theirs: ours for module in modules for ours, theirs in ROW.findall(module.__doc__ or "")}


def expected(name: str, module: ModuleType, mandarin: bool = False) -> dict[str, str]:
    """Name of a text → our reason for what datatrove's filter called ``name`` decided."""
    names, table = (golden.MANDARIN_FILTERS, golden.MANDARIN) if mandarin else (golden.ENGLISH_FILTERS, golden.ENGLISH)
    ours = {"": "", **renamed(module)}
    return {text: ours[reasons[names.index(name)]] for text, reasons in table.items()}


@cache
def clean() -> list[Document]:
    """Text that no filter for damage or selling should drop: Python's language reference, 三国演义 and Tatoeba.

    The last two where they are installed.
    """
    from pydoc_data.topics import topics  # a dictionary of strings and nothing else

    found = [Document(text, name, "topics") for name, text in sorted(topics.items())]
    for name in ("sanguo", "tatoeba"):
        try:
            found += packages.documents(name)
        except UserError:
            continue
    return found
