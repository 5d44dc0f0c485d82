"""Texts without labels: which guesses are believed, and that each way runs to its end and learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.recipes.task import TrainTask, run
from danlu.recipes.tasks.semi import chosen, halves
from danlu.recipes.tasks.settings import Semi
from danlu.text.sample import Sample
from danlu.train.settings import OptimizerSettings
from tests.task_world import reviews, write, write_model


def test_the_surest_are_believed_in_the_shares_of_the_known() -> None:
    chances = np.array([[0.95, 0.05], [0.9, 0.1], [0.92, 0.08], [0.99, 0.01], [0.2, 0.8], [0.6, 0.4], [0.03, 0.97]])
    assert chosen(chances, [0.5, 0.5], 0.7, 0) == {3: 0, 0: 0, 6: 1, 4: 1}
    assert chosen(chances, [0.5, 0.5], 0.9, 0) == {3: 0, 6: 1}
    assert chosen(chances, [0.8, 0.2], 0.7, 0) == {3: 0, 0: 0, 2: 0, 1: 0, 6: 1}
    assert chosen(chances, [0.5, 0.5], 0.7, 3) == {3: 0, 0: 0, 2: 0, 6: 1, 4: 1}
    assert chosen(chances, [0.5, 0.5], 0.999, 0) == {}


def test_halves() -> None:
    first, second = halves([Sample("", "one two, three four"), Sample("", "a", "b"), Sample("", "x")])
    assert [s.text for s in first] == ["one two,", "a", "x"]
    assert [s.text for s in second] == ["three four", "b", "x"]
    assert all(s.pair is None for s in (*first, *second))


def twice(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts either half of which says enough."""
    found = reviews(count + 2, seed)
    return [{**found[n], "text": f"{found[n]['text']} {found[n + 2]['text']}"} for n in range(count)]


@pytest.mark.parametrize(
    "semi",
    [
        None,
        Semi(rounds=1, threshold=0.6),
        Semi(method="consistency", threshold=0.6, ratio=2.0, share=0.3),
        Semi(method="cotraining", rounds=1, threshold=0.6),
    ],
    ids=lambda semi: semi.method if semi else "labels alone",
)
def test_it_runs_and_uses_what_it_is_given(semi: Semi | None, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", encoder=True)
    known, test = write(tmp_path / "known.jsonl", twice(16, 1)), write(tmp_path / "test.jsonl", twice(64, 2))
    texts = [{"text": record["text"]} for record in twice(96, 3)]
    more: dict[str, Any] = {}
    if semi is not None:
        more = {"semi": semi, "unlabelled": (str(write(tmp_path / "more.jsonl", [*texts, texts[0], twice(1, 1)[0]])),)}
    given: dict[str, Any] = {"length": 24, "batch_examples": 8, "epochs": 16, "evaluations": 1, "precision": "fp32"}
    optimizer = OptimizerSettings(name="adamw", lr=4e-3)
    task = TrainTask(
        model=model,
        data=(str(known),),
        held_out=(str(test),),
        out=tmp_path / "out",
        optimizer=optimizer,
        **given,
        **more,
    )
    made = run(task)
    assert made.metrics["held_out"]["task"]["accuracy"] > 0.8
    if semi is not None and semi.method != "consistency":
        believed = made.metrics["guessed"]
        assert len(believed) == (2 if semi.method == "cotraining" else 1)
        assert all(
            counts["pos"] == pytest.approx(counts["neg"], abs=1) and counts["pos"] > 5 for counts in believed.values()
        )
