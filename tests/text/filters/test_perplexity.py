"""The perplexity filter: bounds, what it writes, and that batches say what single documents say."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text.corpus import CorpusStep
from danlu.text.document import Document, Dropped
from danlu.text.filters.ngram import train
from danlu.text.filters.perplexity import Perplexity, PerplexityBatches, PerplexityStep

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "zxq jvw kkp", "", "天地玄黄"]


def documents() -> list[Document]:
    return [Document(text, f"d:{n}", "d", {"n": n}) for n, text in enumerate(TEXTS)]


def bits() -> list[float]:
    return MODEL.score(TEXTS)


MODEL = train(TEXTS[:2] * 5, order=4, bits=12)


def test_bounds_decide_and_the_number_is_written() -> None:
    cat, _, salad, *_ = bits()
    step = PerplexityStep(Perplexity(minimum=cat / 2, maximum=(cat + salad) / 2), MODEL.score)
    found = [step(document) for document in documents()]
    assert isinstance(found[0], Document)
    assert found[0].meta == {"n": 0, "bits_per_byte": cat}
    assert found[2] == Dropped("perplexity_high", f"{salad:.4f} bits a byte")
    assert found[3] == Dropped("perplexity_low", "0.0000 bits a byte")
    assert [d for d in map(PerplexityStep(Perplexity(), MODEL.score), documents()) if isinstance(d, Dropped)] == []


@pytest.mark.parametrize("together", [1, 2, 256])
def test_batches_say_the_same(together: int, tmp_path: Path) -> None:
    asked: list[int] = []

    def scorer(texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        return MODEL.score(texts)

    settings = Perplexity(minimum=0.1, maximum=3.0)
    batches = PerplexityBatches(settings, scorer, together)
    assert isinstance(batches, CorpusStep)
    assert not isinstance(PerplexityStep(settings, scorer), CorpusStep)
    tasks = [documents()[:3], documents()[3:], []]
    for number in (2, 0, 1):
        batches.look(iter(tasks[number]), tmp_path, number)
    assert max(asked) == min(together, 3)
    facts = batches.decide(tmp_path, 3)
    assert facts == {"scored": 5, "mean_bits_per_byte": pytest.approx(sum(bits()) / 5)}
    verdicts = [v for number in range(3) for v in batches.apply(iter(tasks[number]), tmp_path, number)]
    single = PerplexityStep(settings, MODEL.score)
    assert [after for _, after in verdicts] == [single(document) for document in documents()]


def test_a_score_that_is_no_number_does_not_pass_a_maximum() -> None:
    step = PerplexityStep(Perplexity(maximum=9.0), lambda texts: [math.nan] * len(texts))
    assert isinstance(step(documents()[0]), Dropped)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"minimum": -1.0}, "minimum"),
        ({"minimum": 2.0, "maximum": 1.0}, "maximum"),
        ({"length": 1}, "length"),
        ({"batch": 0}, "batch"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_senseless_settings_are_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}:"):
        Perplexity(**changes)
