"""The quality step over a model on disk: what it writes, what it drops, and that a newer model is noticed."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text import stamp
from danlu.text.document import Document, Dropped
from danlu.text.filters.linear import LinearModel, features
from danlu.text.filters.quality import Quality

BITS = 10


def model(folder: Path, **weights: float) -> Path:
    """A model that knows a few words, each by its weight."""
    table = np.zeros(1 << BITS, np.float32)
    for word, weight in weights.items():
        table[features(word, BITS)] = weight
    LinearModel(table).save(folder)
    return folder


def document(text: str) -> Document:
    return Document(text, "d:1", "d", {"url": "u"})


def chance(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_the_probability_is_written_and_decides(tmp_path: Path) -> None:
    folder = model(tmp_path, fine=2.0, awful=-2.0)
    good, bad = (Quality(folder)(document(word)) for word in ("fine", "awful"))
    assert isinstance(good, Document)
    assert good.meta == {"url": "u", "quality": pytest.approx(chance(2))}
    assert good.text == "fine"
    assert bad == Dropped("low_quality", f"quality {chance(-2):.4f}")


def test_settings_change_something(tmp_path: Path) -> None:
    folder, other = model(tmp_path / "a", fine=2.0), model(tmp_path / "b", fine=-2.0)
    assert isinstance(Quality(folder, threshold=0.95)(document("fine")), Dropped)
    assert isinstance(Quality(other)(document("fine")), Dropped)
    scored = Quality(other, threshold=0.0, key="edu")(document("fine"))
    assert isinstance(scored, Document)
    assert scored.meta["edu"] == pytest.approx(chance(-2))


def test_a_model_trained_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamp, "SECONDS", 0.0)
    step = Quality(model(tmp_path, fine=2.0))
    assert isinstance(step(document("fine")), Document)
    model(tmp_path, fine=-2.0)
    os.utime(tmp_path / "model.json", ns=(1, 1))
    assert isinstance(step(document("fine")), Dropped)


def test_near_certainty_still_ranks(tmp_path: Path) -> None:
    """The best tenth of a good corpus must not be chosen among equal ones."""
    step = Quality(model(tmp_path, fine=12.0, finer=13.0))
    one, two = (step(document(word)) for word in ("fine", "finer"))
    assert isinstance(one, Document)
    assert isinstance(two, Document)
    assert 0.99999 < one.meta["quality"] < two.meta["quality"] < 1


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: threshold"):
        Quality(threshold=1.5)
    with pytest.raises(UserError, match="recipe: key"):
        Quality(key="")
    with pytest.raises(UserError, match="no model is named"):
        Quality()(document("x"))
    with pytest.raises(UserError, match="danlu quality"):
        Quality(tmp_path / "nowhere")(document("x"))
