"""The keys of `danlu task train`: each reaches what it is for. A run is looked at where its loop would begin."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.model.adapters.lora import LoraLinear
from danlu.model.adapters.settings import Freeze, Lora
from danlu.objectives.consistency import ChangedBatches, Consistency
from danlu.objectives.contrast import Contrast
from danlu.objectives.gradnorm import GradNorm, shared
from danlu.objectives.labelled import Labelled
from danlu.objectives.masked import Masked, MaskedBatches
from danlu.objectives.masked_tags import MaskedTags
from danlu.objectives.multitask import MultiTask
from danlu.objectives.settings import Masking
from danlu.recipes.task import TrainTask, run
from danlu.recipes.tasks.settings import Answers, Embed, Holes, Semi, Several
from danlu.tokens.batches import Batch
from danlu.train.hooks.average import Average
from danlu.train.hooks.best import Best
from danlu.train.loop import Loop
from tests.task_world import questions, reviews, sentences, write, write_model


class Begun(Exception):
    """Carries the loop that was about to run."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("keys") / "model", encoder=True)


@pytest.fixture
def begun(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recipe's (n-th) loop and its first batch; the loops before it take one step."""
    files = {"a": reviews(40), "b": sentences(20), "c": questions(8)}
    for name, records in files.items():
        write(tmp_path / f"{name}.jsonl", records)
    real = Loop.run

    def begin(file: str | tuple[str, ...] = "a", number: int = 0, **changes: Any) -> tuple[Loop, Batch]:
        seen: list[Loop] = []

        def look(loop: Loop) -> Any:
            seen.append(loop)
            if len(seen) > number:
                raise Begun
            return real(loop)

        monkeypatch.setattr(Loop, "run", look)
        data = tuple(str(tmp_path / f"{file}.jsonl") for file in [file]) if isinstance(file, str) else tuple(
            f"{name}={kind}:{tmp_path / name}.jsonl" for name, kind in (item.split("=") for item in file)
        )  # fmt: skip
        given: dict[str, Any] = {"length": 32, "precision": "fp32", "held_out_share": 0.2, "batch_examples": 8}
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        with pytest.raises(Begun):
            run(TrainTask(**{"model": model, "data": data, "out": out} | given | changes))
        return seen[number], next(seen[number].source)

    return begin


def rows(loop: Loop) -> int:
    found: Any = loop.source
    return sum(len(part) for part in found._tasks.values())


def test_what_is_held_out_and_how_long_a_run_is(begun: Any) -> None:
    loop, batch = begun()
    assert (len(batch), rows(loop) < 40) == (8, True)
    assert (loop.settings.steps, loop.settings.optimizer.lr) == (100, 1e-4)  # 3 epochs of so few are 12 steps
    more, _ = begun(held_out_share=0.5, epochs=2.0)
    assert rows(more) < rows(loop)
    assert more.settings.steps == -(-2 * rows(more) // 8)
    assert begun(batch_examples=5)[1].ids.shape[0] == 5
    assert begun(steps=7)[0].settings.steps == 7
    assert begun(seed=1)[1].ids.tolist() != batch.ids.tolist()


def test_length_and_stride(begun: Any) -> None:
    def dealt(**changes: Any) -> list[Any]:
        found: list[Any] = begun("b", kind="tag", held_out_share=0.0, **changes)[0].source._tasks["task"]
        return found

    whole, apart, shared = dealt(length=32), dealt(length=8, stride=0), dealt(length=8, stride=3)
    assert len(whole) == 20 < len(apart)
    assert max(map(len, apart)) == 8
    assert sum(map(len, apart)) < sum(map(len, shared))


def test_losses_and_their_keys(begun: Any) -> None:
    loop, _ = begun(smoothing=0.2)
    assert isinstance(loop.objective, Labelled)
    assert loop.objective.rows.smoothing == 0.2
    assert begun("b", kind="tag", smoothing=0.3)[0].objective.rows.smoothing == 0.3
    loop, batch = begun("c", kind="qa", qa=Answers(longest=4))
    assert batch.extra["span"].shape == (8, 2)


def test_vectors(begun: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl", [{"query": f"who is {n}", "positive": "tea " * (n % 3 + 1)} for n in range(20)])
    loop, batch = begun("p", kind="embed", embed=Embed(pooling="first", temperature=0.2, group=4), micro_batches=2)
    assert isinstance(loop.objective, Contrast)
    assert (loop.objective.pooling, loop.objective.temperature, batch.ids.shape[:3]) == ("first", 0.2, (2, 4, 2))
    loop, batch = begun("p", kind="embed")
    assert (loop.objective.pooling, batch.ids.shape[:2]) == ("mean", (1, 8))


def test_several(begun: Any) -> None:
    both = ("a=classify", "b=tag")
    loop, batch = begun(both, several=Several(weights=("b=2.5",), alpha=0.0))
    assert isinstance(loop.objective, MultiTask)
    assert loop.objective.fixed == {"a": 1.0, "b": 2.5}
    assert sorted(batch.extra["task"].tolist()) == [0] * 4 + [1] * 4
    assert begun(both, several=Several(alpha=1.0))[1].extra["task"].sum() == 2
    loop, _ = begun(both, several=Several(weighting="gradnorm", gradnorm_alpha=0.7, gradnorm_rate=0.3))
    balance = loop.objective.balance
    assert isinstance(balance, GradNorm)
    assert (balance.alpha, balance.rate) == (0.7, 0.3)


def test_holes(begun: Any) -> None:
    masking = Masking(share=0.5, masked=1.0, random=0.0)
    loop, batch = begun("b", kind="tag", holes=Holes(weight=0.4, masking=masking))
    assert isinstance(loop.objective, MaskedTags)
    assert loop.objective.share == 0.4
    hidden = batch.extra["seen"] != batch.ids
    assert (batch.extra["seen"][hidden] == 4).all()
    assert 0.4 < hidden.sum() / (batch.ids > 4).sum() < 0.6
    assert (batch.extra["tags"] >= 0).sum() > 30
    loop, _ = begun("b", kind="tag", holes=Holes(epochs_before=2.0))
    assert isinstance(loop.objective, Masked)
    assert isinstance(loop.source, MaskedBatches)
    assert loop.settings.steps == -(-2 * rows_of(loop) // 8)
    after, _ = begun("b", kind="tag", number=1, holes=Holes(epochs_before=0.3))
    assert isinstance(after.objective, Labelled)
    assert not any(name.startswith("transform") for name, _ in after.model.named_parameters())


def rows_of(loop: Loop) -> int:
    found: Any = loop.source
    return sum(len(part) for part in found._source._tasks.values())


def test_texts_without_labels(begun: Any, tmp_path: Path) -> None:
    texts = (str(write(tmp_path / "u.jsonl", [{"text": r["text"]} for r in reviews(60, seed=9)])),)
    semi = Semi(method="consistency", ratio=2.0, share=0.5, threshold=0.7, temperature=0.3, weight=3.0)
    loop, batch = begun(unlabelled=texts, semi=semi)
    assert isinstance(loop.objective, Consistency)
    assert isinstance(loop.source, ChangedBatches)
    assert (loop.objective.scale, loop.objective.threshold, loop.objective.temperature) == (1.5, 0.7, 0.3)
    assert (len(batch), int((batch.extra["label"] < 0).sum())) == (24, 16)
    assert loop.objective.alignment is not None
    assert loop.objective.alignment.shares.tolist() == [17 / 32, 15 / 32]
    assert loop.source._alignment is loop.objective.alignment
    alone, _ = begun(unlabelled=texts, semi=Semi(method="consistency", align=False))
    assert isinstance(alone.objective, Consistency)
    assert alone.objective.alignment is None
    many = Semi(rounds=2, threshold=0.1, most=3, weight=0.25)
    first, _ = begun(unlabelled=texts, semi=many, steps=1)
    second, _ = begun(unlabelled=texts, semi=many, steps=1, number=1)
    last, _ = begun(unlabelled=texts, semi=many, steps=1, number=2)
    assert [loop.title for loop in (first, second, last)] == ["round-1", "round-2", "task"]
    guessed: list[Any] = [e for e in second.source._tasks["task"] if e.values["weight"] == 0.25]  # type: ignore[attr-defined]
    assert rows(second) == rows(first) + len(guessed)
    assert 0 < len(guessed) <= 6
    strict, _ = begun(unlabelled=texts, semi=Semi(rounds=1, threshold=0.999), steps=1, number=1)
    assert rows(strict) == rows(first)


def test_what_a_directory_says_of_itself(model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "c.jsonl", questions(8))
    few: dict[str, Any] = {"length": 32, "stride": 5, "steps": 1, "precision": "fp32", "held_out_share": 0.0}
    made = run(TrainTask(model=model, data=(str(data),), out=tmp_path / "out", kind="qa", qa=Answers(longest=4), **few))
    said = json.loads((made.path / "config.json").read_text())["danlu_task"]
    assert (said["length"], said["stride"], said["longest_answer"], said["unanswerable"]) == (32, 5, 4, False)


def test_what_is_kept(begun: Any) -> None:
    loop, _ = begun(patience=1, keep="best", ema=0.5)
    average, best = (next(hook for hook in loop.hooks if isinstance(hook, kind)) for kind in (Average, Best))
    assert (average.decay, best.patience, best.name, best.higher) == (0.5, 1, "score", True)
    assert best.folder is not None
    assert not any(isinstance(hook, Average | Best) for hook in begun()[0].hooks)


def test_what_learns_and_how_fast(begun: Any) -> None:
    plain, _ = begun()
    assert not plain.ratios
    loop, _ = begun(method="lora", lora=Lora(rank=3, b_rate_ratio=4.0))
    changes = [module for module in loop.model.modules() if isinstance(module, LoraLinear)]
    assert {layer.lora_A.shape[0] for layer in changes} == {3}
    assert set(loop.ratios.values()) == {4.0}
    assert loop.settings.optimizer.value("lr") == 10 * plain.settings.optimizer.value("lr")
    frozen, _ = begun(method="freeze", freeze=Freeze(last_layers=0, names=("bias",)))
    learned = {name for name, p in frozen.model.named_parameters() if p.requires_grad and name.startswith("blocks")}
    assert learned
    assert all(name.endswith("bias") for name in learned)
    with pytest.raises(UserError, match="none learns"):
        shared(frozen.model)
