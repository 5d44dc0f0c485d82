"""What labels, entities, answers, numbers and vectors are measured by, against values worked out elsewhere."""

import numpy as np
import pytest

from danlu.evaluate.entities import entity_measures
from danlu.evaluate.labels import label_measures, number_measures, ranks, retrieval_measures
from danlu.evaluate.spans import answer_measures, overlap, words
from danlu.evaluate.stats import bootstrap


def test_labels() -> None:
    """scikit-learn's user guide: wanted 0 1 2 0 1 2, guessed 0 2 1 0 0 1 has macro-F1 0.26..., accuracy 1/3."""
    wanted, guessed = (np.eye(3, dtype=int)[[*row]] for row in ((0, 1, 2, 0, 1, 2), (0, 2, 1, 0, 0, 1)))
    found = label_measures(wanted, guessed, ("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["macro_f1"] == pytest.approx(0.8 / 3)
    assert found["micro_f1"] == pytest.approx(1 / 3)
    assert found["labels"]["a"] == {
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "records": 2,
    }
    assert found["accuracy_interval"][0] < 1 / 3 < found["accuracy_interval"][1]
    assert found["macro_f1_interval"][0] < 0.27 < found["macro_f1_interval"][1]


def test_entities() -> None:
    """The example of seqeval's page: F1 0.50."""
    wanted = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    guessed = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = entity_measures(wanted, guessed)
    assert (found["f1"], found["precision"], found["recall"], found["entities"]) == (0.5, 0.5, 0.5, 2)
    assert found["types"]["MISC"]["f1"] == 0
    assert found["types"]["PER"]["f1"] == 1
    assert found["f1_interval"] == [0.0, 1.0]


def test_answers() -> None:
    assert words("The  Cat's, a hat!") == ["cats", "hat"]
    assert words("北京， the 2008年") == ["北", "京", "2008", "年"]
    assert overlap("a cat sat", "the cat") == pytest.approx(2 / 3)
    assert overlap("北京市", "北京") == pytest.approx(0.8)
    assert overlap("", "") == 1
    assert overlap("", "cat") == 0
    found = answer_measures(["The cat", "a dog ran", "", "x"], [["cat", "hat"], ["dog"], [], []])
    assert found["exact_match"] == 0.5
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)


def test_numbers() -> None:
    """Spearman of 1 2 3 4 5 and 5 6 7 8 7 is 0.8208 (scipy's documentation)."""
    found = number_measures(np.array([1.0, 2, 3, 4, 5]), np.array([5.0, 6, 7, 8, 7]))
    assert found["spearman"] == pytest.approx(0.82078268)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(np.array([4, 4, 4, 4, 2]) ** 2)))
    assert found["mae"] == pytest.approx(3.6)
    assert ranks(np.array([3.0, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]
    assert number_measures(np.ones(4), np.arange(4.0))["pearson"] == 0


def test_retrieval() -> None:
    texts = np.eye(3)
    queries = np.array([[1.0, 0, 0], [0.9, 0.4, 0], [0, 0, 1]])
    found = retrieval_measures(queries, texts, np.array([0, 1, 2]))
    assert (found["accuracy"], found["texts"]) == (pytest.approx(2 / 3), 3)
    assert found["reciprocal_rank"] == pytest.approx((1 + 0.5 + 1) / 3)


def test_the_bootstrap_covers_a_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        values = draw.normal(size=60)
        low, high = bootstrap(60, lambda rows, v=values: float(v[rows].mean()), seed, rounds=200)  # type: ignore[misc]
        covered += low <= 0 <= high
    assert 88 <= covered <= 99
    assert bootstrap(0, lambda rows: 0.0, 0) == (0.0, 1.0)
