"""The keys of `danlu sft` against overfitting and forgetting: each changes what is learned, and a stop changes nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.cli import read
from danlu.evaluate.report import write_report
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model
from danlu.objectives.settings import Adversarial
from danlu.plan.tuning import learning_rate
from danlu.recipes import auto, dpo, training
from danlu.recipes.dpo import Dpo
from danlu.recipes.methods import RATES
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.pretrain import run as pretrain
from danlu.recipes.sft import Sft, run
from danlu.train.hooks.metrics import Metrics
from danlu.train.settings import OptimizerSettings, ScheduleSettings
from danlu.train.state import Step

RATE = OptimizerSettings(lr=1e-2)


def recipe(made: Path, world: Path, out: Path, **changes: Any) -> Sft:
    values: dict[str, Any] = {"length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 2, "prompts": ()}
    values |= {} if {"epochs", "steps"} & set(changes) or changes.get("auto") else {"steps": 4}
    given = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "out": out, "optimizer": RATE}
    return Sft(**given | values | changes)


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if row["kind"] == kind]


def weights(path: Path) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in load_model(path).named_parameters()}


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of another kind than the conversations."""
    file = tmp_path_factory.mktemp("general") / "general.jsonl"
    lines = [{"text": f"The {n}th rain fell on maps and books, and Ben had tea with {n % 5} ships."} for n in range(60)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def plain(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """What a run without any of the keys leaves."""
    return run(recipe(made, world, tmp_path_factory.mktemp("plain") / "out"))


KEYS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.2},
    "attention_dropout": {"attention_dropout": 0.2},
    "label_smoothing": {"label_smoothing": 0.2},
    "neftune": {"neftune": 15.0},
    "fgm": {"adversarial": Adversarial(name="fgm")},
    "freelb": {"adversarial": Adversarial(name="freelb", steps=2)},
    "rdrop": {"rdrop": 1.0, "dropout": 0.2},
    "ema": {"ema": 0.9},
}


@pytest.mark.parametrize("key", KEYS)
def test_each_key_changes_what_is_learned(made: Path, world: Path, plain: Artifact, tmp_path: Path, key: str) -> None:
    found = run(recipe(made, world, tmp_path / "out", **KEYS[key]))
    before, after = weights(plain.path), weights(found.path)
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert load_model(found.path).config == load_model(plain.path).config  # dropout is the run's, not the model's
    train = rows(found.path, "train")
    assert train[0]["lr"] == rows(plain.path, "train")[0]["lr"]
    for metric, of in (("rdrop", "rdrop"), ("adversarial", "fgm")):
        assert (metric in train[0]) == (key == of)


EVERYTHING: dict[str, Any] = {
    "steps": 9,
    "evaluations": 4,
    "checkpoint_every": 3,
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "neftune": 5.0,
    "rdrop": 0.5,
    "adversarial": Adversarial(name="freelb", steps=2),
    "ema": 0.9,
    "patience": 3,
    "keep": "best",
}


def killed_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next run end in the middle of that step's hooks."""
    note = Metrics.after_step

    def noted(hook: Metrics, done: Step) -> None:
        note(hook, done)
        if done.number == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Metrics, "after_step", noted)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_with_all_of_them_a_stopped_run_ends_in_the_same_bits(
    made: Path, world: Path, general: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    given = {
        **EVERYTHING,
        "method": method,
        "replay": general,
        "replay_share": 0.3,
        "forgetting": world / "text" / "Anna0.txt",
    }
    if method == "lora":
        given |= {"lora": Lora(rank=2, dropout=0.1)}
    whole = run(recipe(made, world, tmp_path / "whole", **given))
    with monkeypatch.context() as patch:
        killed_after(8, patch)
        with pytest.raises(KeyboardInterrupt):
            run(recipe(made, world, tmp_path / "parts", **given))
    parts = run(recipe(made, world, tmp_path / "parts", **given))
    kept = [name for name in whole.manifest["outputs"] if name.endswith(".safetensors")]
    assert kept
    for name in kept:
        assert whole.manifest["outputs"][name] == parts.manifest["outputs"][name]
    assert whole.metrics["forgetting"] == parts.metrics["forgetting"]
    assert whole.metrics["best_step"] == parts.metrics["best_step"]
    assert not list(parts.path.glob(".*"))


def test_micro_batches_give_the_same_update(made: Path, world: Path, tmp_path: Path) -> None:
    """Of all that draws nothing anew for each piece; muon would show rounding noise, and Adam its epsilon."""
    given: dict[str, Any] = {
        "label_smoothing": 0.1,
        "neftune": 5.0,
        "adversarial": Adversarial(name="freelb"),
        "steps": 2,
    }
    given["optimizer"] = OptimizerSettings(name="adamw", lr=1e-2, epsilon=1e-3)
    ends = [run(recipe(made, world, tmp_path / str(n), micro_batches=n, **given)).path for n in (1, 4)]
    one, four = (weights(path) for path in ends)
    for name, value in one.items():
        torch.testing.assert_close(value, four[name], rtol=0, atol=2e-6)


def test_the_best_weights_are_written_and_measured(made: Path, world: Path, tmp_path: Path) -> None:
    """At such a rate the few conversations are soon known by heart, and those held out worse and worse."""
    hot: dict[str, Any] = {"optimizer": OptimizerSettings(lr=5e-2), "schedule": ScheduleSettings(name="constant")}
    hot |= {"steps": 12, "evaluations": 6, "most_per_source": 8, "held_out_share": 0.4}
    found = run(recipe(made, world, tmp_path / "best", keep="best", **hot))
    losses = {row["step"]: row["loss"] for row in rows(found.path, "eval")}
    best = min(losses, key=lambda step: losses[step])
    assert best < 12
    assert (found.metrics["best_step"], found.metrics["held_out_loss"]) == (best, pytest.approx(losses[best], rel=1e-6))
    last = run(recipe(made, world, tmp_path / "last", **hot))
    assert last.metrics["held_out_loss"] == pytest.approx(losses[12], rel=1e-6)
    assert "best_step" not in last.metrics
    stopped = run(recipe(made, world, tmp_path / "stopped", patience=1, **hot))
    assert stopped.metrics["steps"] < 12
    assert len(rows(stopped.path, "eval")) == stopped.metrics["steps"] // 2


def test_other_stages_keep_the_best_too(made: Path, world: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"size": "100K", "length": 64, "batch_tokens": 512, "steps": 4, "precision": "fp32"}
    kept: dict[str, Any] = {"keep": "best", "ema": 0.5, "evaluations": 2}
    found = pretrain(Pretrain(data=made / "tokens", out=tmp_path / "pretrain", **few, **kept))
    assert found.metrics["best_loss"] == min(row["loss"] for row in rows(found.path, "eval"))
    pairs = (str(world / "pairs.jsonl"),)
    values: dict[str, Any] = {"steps": 4, "batch_pairs": 8, "length": 64, "precision": "fp32", "prompts": ()}
    better = dpo.run(Dpo(model=made / "sft", preferences=pairs, out=tmp_path / "dpo", **values, **kept))
    losses = [row["loss"] for row in rows(better.path, "eval")]
    assert better.metrics["best_loss"] == min(losses)
    assert better.metrics["preference"]["loss"] == pytest.approx(min(losses))


@pytest.mark.parametrize("kind", ["documents", "shards"])
def test_general_text_is_read_again(
    made: Path, world: Path, general: Path, plain: Artifact, tmp_path: Path, kind: str
) -> None:
    replay = general if kind == "documents" else made / "tokens"
    few: dict[str, Any] = {"steps": 0, "epochs": 1.0}
    found = run(recipe(made, world, tmp_path / "out", replay=replay, replay_share=0.5, **few))
    alone = run(recipe(made, world, tmp_path / "alone", **few))
    assert found.metrics["steps"] == pytest.approx(2 * alone.metrics["steps"], abs=1)  # an epoch is of conversations
    assert any(not torch.equal(v, weights(plain.path)[name]) for name, v in weights(found.path).items())


def test_what_is_replayed_is_known_better(made: Path, world: Path, general: Path, tmp_path: Path) -> None:
    bits = {}
    (tmp_path / "same.jsonl").write_text(general.read_text())
    for share in (0.0, 0.5):
        given: dict[str, Any] = {"replay": tmp_path / "same.jsonl", "replay_share": share} if share else {}
        found = run(recipe(made, world, tmp_path / str(share), steps=8, forgetting=general, **given))
        bits[share] = found.metrics["forgetting"]["general_bits_per_byte"]
    assert bits[0.0][0] == bits[0.5][0]
    assert bits[0.5][1] < bits[0.0][1]


def test_forgetting_is_told(
    made: Path, world: Path, general: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(recipe(made, world, tmp_path / "out", forgetting=general))
    seen = rows(found.path, "eval")
    assert seen[0]["step"] == 0
    change = found.metrics["forgetting"]["general_bits_per_byte"]
    assert change == [seen[0]["general_bits_per_byte"], seen[-1]["general_bits_per_byte"]]
    assert f"general text: {change[0]:.4f} → {change[1]:.4f} bits per byte" in capsys.readouterr().err
    page = write_report(found.path).read_text(encoding="utf-8")
    assert "bits per byte of general text" in page
    assert (found.path / "plots" / "out-general-text.png").is_file()
    shards = run(recipe(made, world, tmp_path / "shards", steps=1, forgetting=made / "tokens"))
    assert shards.metrics["forgetting"]["general_loss"][0] > 0


def test_a_rate_is_found_and_no_model_left(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (made / "pretrain" / "model.safetensors").read_bytes()
    ready = recipe(made, world, tmp_path / "out", find_lr=True, optimizer=OptimizerSettings(), batch_tokens=256)
    found = run(ready)
    assert found.path == tmp_path / "out-lr"
    assert not (tmp_path / "out").exists()
    assert not list(found.path.glob("*.safetensors"))
    assert (made / "pretrain" / "model.safetensors").read_bytes() == before
    seen = rows(found.path, "range")
    assert seen[0]["lr"] == pytest.approx(1e-6)
    assert found.metrics["suggested_lr"] < seen[-1]["lr"]
    assert f"suggested: --optimizer.lr {found.metrics['suggested_lr']:g}" in capsys.readouterr().err
    page = write_report(found.path).read_text(encoding="utf-8")
    assert "learning rate suggested by the range test" in page
    assert (found.path / "plots" / "out-lr-learning-rates.png").is_file()
    higher = recipe(made, world, tmp_path / "out", find_lr=True).settings(5)
    assert (higher.optimizer.lr, higher.steps) == (1e-2, 100)


def test_auto_derives_what_is_not_given(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_: dict[str, Any] = {"length": 0, "batch_tokens": 0, "optimizer": OptimizerSettings()}
    found = run(recipe(made, world, tmp_path / "out", auto=True, epochs=1.0, **open_))
    derived = found.metrics["derived"]
    assert set(derived) == {"length", "batch_tokens", "warmup", "lr"}
    assert derived["length"] == 64
    said = capsys.readouterr().err
    for name in ("length", "batch tokens", "warmup", "lr"):
        assert f"\n  {name}  " in said
    assert "epochs" not in derived
    assert found.metrics["learning_rate"] == derived["lr"] != RATES["full"]
    config, bare = load_model(made / "pretrain").config, recipe(made, world, tmp_path, epochs=0.0, **open_)
    usual = auto.settled(bare, None, config)  # type: ignore[arg-type]
    assert (usual[0].length, usual[0].batch_tokens, usual[0].epochs) == (512, 4096, 3.0)
    assert set(usual[1]) == {"lr"}


def test_the_rate_follows_method_and_size(made: Path, world: Path, tmp_path: Path) -> None:
    config = load_model(made / "pretrain").config
    for method in ("full", "lora"):
        given = recipe(made, world, tmp_path, method=method, optimizer=OptimizerSettings())
        settled, derived = auto.settled(given, None, config)  # type: ignore[arg-type]
        expected = learning_rate(RATES[method], config.matrix_parameters(), method)  # type: ignore[index]
        assert settled.optimizer.lr == derived["lr"].value == expected.value > RATES[method]  # type: ignore[index]
    own = auto.settled(replace(given, method="ia3"), None, config)[1]["lr"]  # type: ignore[arg-type]
    assert (own.value, own.source) == (RATES["ia3"], "--method ia3")
    told = recipe(made, world, tmp_path)
    assert auto.settled(told, None, config)[0].optimizer.lr == 1e-2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rdrop": 1.0}, "recipe: rdrop: without dropout both passes are the same"),
        ({"neftune": -1.0}, "recipe: neftune: must not be negative"),
        ({"dropout": 1.0}, "recipe: dropout: must be at least 0 and below 1"),
        ({"label_smoothing": 1.0}, "recipe: label_smoothing"),
        ({"ema": 1.0}, "recipe: ema"),
        ({"patience": 2}, "recipe: patience: of 2 measurements a patience of 2 is never used up"),
        ({"patience": 1, "held_out_share": 0.0}, "recipe: patience, keep: nothing was held out"),
        ({"replay_share": 0.3}, "recipe: replay_share: there is nothing to replay"),
        ({"replay": Path("x"), "forgetting": Path("x")}, "recipe: forgetting"),
        ({"replay": Path("nowhere.jsonl")}, "nowhere.jsonl"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(made: Path, world: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(recipe(made, world, tmp_path / "out", **changes))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_second_pass_does_not_go_with_updates_in_the_backward_pass(made: Path, world: Path, tmp_path: Path) -> None:
    from tests.recipes.test_training_keys import UPDATING

    with pytest.raises(UserError, match="recipe: adversarial: a second pass"):
        recipe(made, world, tmp_path, **UPDATING, adversarial=Adversarial(name="fgm"))


def test_the_command_line_spells_them(made: Path, world: Path) -> None:
    words = ["--model", str(made), "--chats", str(world), "--neftune", "5", "--adversarial.name", "freelb"]
    words += ["--keep", "best", "--patience", "2", "--ema", "0.999", "--replay", "a.jsonl", "--forgetting", "b.txt"]
    found = read(Sft, "sft", [*words, "--auto", "--find-lr", "--dropout", "0.1", "--rdrop", "1"])
    assert (found.neftune, found.adversarial, found.keep) == (5.0, Adversarial(name="freelb"), "best")
    assert (found.patience, found.ema, found.replay, found.forgetting) == (2, 0.999, Path("a.jsonl"), Path("b.txt"))
    assert (found.auto, found.find_lr, found.dropout, found.rdrop) == (True, True, 0.1, 1.0)
