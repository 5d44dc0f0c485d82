"""The two steps against toxicity: what they write, what they drop, and each of their settings."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.document import Document, Dropped
from danlu.text.filters.linear import LinearModel, features
from danlu.text.filters.toxic_words import turned
from danlu.text.filters.toxicity import Toxicity, ToxicWords

CURSE = turned("fuvg")


def document(text: str) -> Document:
    return Document(text, "d:1", "d", {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = np.zeros(1 << 10, np.float32)
    weights[features("kind", 10)] = 2
    weights[features("vile", 10)] = -2
    LinearModel(weights).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_classifier_of_clean_text_tells_toxicity(model: Path) -> None:
    chance = 1 / (1 + math.exp(2))
    kind = Toxicity(model)(document("kind"))
    assert isinstance(kind, Document)
    assert kind.meta == {"toxicity": pytest.approx(chance)}
    assert Toxicity(model)(document("vile")) == Dropped("toxic", f"toxicity {1 - chance:.4f}")
    assert isinstance(Toxicity(model, threshold=0.99)(document("vile")), Document)
    assert isinstance(Toxicity(model, threshold=0.1)(document("kind")), Dropped)


def test_words_are_counted_by_category_and_judged_by_share() -> None:
    few = ToxicWords()(document(f"{CURSE}! " + "word " * 300 + CURSE))
    assert isinstance(few, Document)
    assert few.meta == {"toxic_words": {"profanity": 2}}
    many = ToxicWords()(document(f"{CURSE}! " + "word " * 30 + CURSE))
    assert many == Dropped("toxic_words", "profanity 2 in 32 words")
    clean = document("nothing of the kind")
    assert ToxicWords()(clean) is clean


@pytest.mark.parametrize(
    ("changes", "text", "dropped"),
    [
        ({"max_share": 0.5}, f"{CURSE} {CURSE} one two three four", False),
        ({"max_share": 0.5}, f"{CURSE} {CURSE} {CURSE} one two", True),
        ({"least": 1}, f"{CURSE} one two", True),
        ({"least": 3}, f"{CURSE} {CURSE} one two", False),
        ({"least": 2}, f"{CURSE} {CURSE} one two", True),
        ({"own_list": False}, f"{CURSE} {CURSE} one two", False),
        ({"own_list": False}, "ham ham one two", True),
        ({}, "ham ham one two", True),
    ],
)
def test_every_setting_of_the_words_decides(changes: dict[str, Any], text: str, dropped: bool, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("[meat]\nham\n", encoding="utf-8")
    result = ToxicWords(files=(file,), **changes)(document(text))
    assert isinstance(result, Dropped) == dropped


def test_a_phrase_of_chinese_weighs_its_characters() -> None:
    phrase = turned("跍硠芈")  # three characters
    result = ToxicWords(max_share=0.3)(document(phrase * 2 + "一二三四五六七八九十" + "一二三"))
    assert isinstance(result, Dropped)  # 6 of 19 characters
    assert isinstance(ToxicWords(max_share=0.32)(document(phrase * 2 + "一二三四五六七八九十" + "一二三")), Document)


@pytest.mark.parametrize("text", ["", "\x00\ud800", f"{CURSE} " * 100_000, "x" * 1_000_000, "\n"])
def test_no_text_is_too_odd(text: str, model: Path) -> None:
    for step in (ToxicWords(), Toxicity(model)):
        assert isinstance(step(document(text)), Document | Dropped)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Toxicity(threshold=-0.1), "threshold"),
        (lambda: ToxicWords(own_list=False), "files"),
        (lambda: ToxicWords(max_share=1.1), "max_share"),
        (lambda: ToxicWords(least=0), "least"),
    ],
)
def test_senseless_settings_are_named(make: Any, key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}:"):
        make()
