"""What the filters share: thresholds are strict, 0 is off, and settings that make no sense are named."""

from types import SimpleNamespace

import pytest

from danlu.base.errors import UserError
from danlu.text.document import Document, Dropped
from danlu.text.filters import checks


def test_thresholds() -> None:
    assert checks.over("much", 0.3, 0.2) == Dropped("much", "0.3, at most 0.2")
    assert checks.over("much", 0.2, 0.2) is None
    assert checks.over("much", 9, 0) is None
    assert checks.under("little", 3, 5) == Dropped("little", "3, at least 5")
    assert checks.under("little", 5, 5) is None
    assert checks.under("little", 0, 0) is None


def test_whom_a_filter_concerns() -> None:
    document = Document("x", "a:1", "a", {"language": "zh"})
    assert checks.concerns("", document)
    assert checks.concerns("zh", document)
    assert not checks.concerns("en", document)
    assert not checks.concerns("en", Document("x", "a:1", "a"))


def test_settings() -> None:
    given = SimpleNamespace(share=1.5, number=-1, low=3, high=2, off=0)
    with pytest.raises(UserError, match=r"recipe: share: must be between 0 and 1, found 1.5"):
        checks.shares(given, "share")
    with pytest.raises(UserError, match=r"recipe: number: must be at least 0, found -1"):
        checks.at_least(given, 0, "high", "number")
    with pytest.raises(UserError, match=r"recipe: high: must not be below low, found 2"):
        checks.ordered(given, "low", "high")
    with pytest.raises(UserError, match=r"recipe: low: must not be above the number of x, found 3"):
        checks.at_most(given, "low", 2, "the number of x")
    with pytest.raises(UserError, match=r"Did you mean 'chinese'"):
        checks.cutter("chines")
    checks.ordered(given, "low", "off")
    checks.cutter("jieba")
