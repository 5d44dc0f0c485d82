"""`danlu ladder`: models of a few thousand weights, a law through their losses, and a prediction that is checked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.recipe import load
from danlu.plan.scaling import derive
from danlu.recipes import clean, ladder, tokenize, tokenizer
from danlu.recipes.clean import Clean
from danlu.recipes.ladder import Ladder, Rung, plan, run, rung
from danlu.recipes.mix import open_training
from danlu.recipes.tokenize import Tokenize
from danlu.recipes.tokenizer import TrainTokenizer
from tests.killing import DANLU, write_material

SIZES, AHEAD, IDS = ("14K", "18K", "26K"), "34K", 300
# The width is held at 16, so that a model of one, two, four and six layers has a few thousand weights.
NARROW = ("shape.width=16", "shape.head_width=16", "optimizer.lr=0.01", "batch_tokens=256", "checkpoint_every=2")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of invented sentences."""
    folder = tmp_path_factory.mktemp("tokens")
    write_material(folder)
    cleaned = clean.run(Clean((str(folder / "text"),), out=folder / "clean", validation_share=0.1)).path
    words = tokenizer.run(TrainTokenizer((str(cleaned),), out=folder / "words", vocab_size=IDS)).path
    return tokenize.run(Tokenize(data=cleaned, tokenizer=words, out=folder / "tokens")).path


def recipe(data: Path, out: Path, **more: Any) -> Ladder:
    values: dict[str, Any] = {"sizes": SIZES, "predict": AHEAD, "length": 32, "precision": "fp32", "set": NARROW}
    few: dict[str, Any] = {"tokens_per_parameter": (0.25,), "evaluation_bytes": 2000, "check": True}
    return Ladder(data=data, out=out, **{**values, **few, **more})


@pytest.fixture(scope="module")
def climbed(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder that was climbed to its end; tests must not change it."""
    out = tmp_path_factory.mktemp("climbed") / "ladder"
    run(recipe(tokens, out))
    return out


def weights(out: Path) -> dict[str, str]:
    return {s: artifact.load(out / s).manifest["outputs"]["model.safetensors"] for s in (*SIZES, AHEAD)}


def planned(data: Path, **more: Any) -> Rung:
    """The second model of a ladder, nothing trained."""
    return rung(recipe(data, Path("nowhere"), **more), IDS, SIZES[1], *more.get("tokens_per_parameter", (0.25,))[:1])


def test_a_law_is_left_behind(climbed: Path, tokens: Path) -> None:
    made = artifact.load(climbed / "law", "ladder")
    found = json.loads((climbed / "law" / "ladder.json").read_text())
    assert [run["name"] for run in found["runs"]] == list(SIZES)
    for trained in found["runs"]:
        rows = [json.loads(line) for line in (climbed / trained["name"] / "metrics.jsonl").read_text().splitlines()]
        assert trained["loss"] == [row["loss"] for row in rows if row["kind"] == "eval"][-1]
        assert trained["parameters"] == artifact.load(climbed / trained["name"]).metrics["parameters"]
        assert trained["tokens"] == artifact.load(climbed / trained["name"]).metrics["tokens"]
    assert [run["flops"] for run in found["runs"]] == sorted(run["flops"] for run in found["runs"])
    assert found["check"]["error"] == pytest.approx(found["prediction"]["loss"] / found["check"]["loss"] - 1)
    assert set(made.manifest["inputs"]) == {"data", *SIZES, AHEAD}
    assert {"ladder.json", "ladder.html", "recipe.yaml"} == set(made.manifest["outputs"])
    assert made.metrics["prediction"] == found["prediction"]
    assert artifact.lineage(climbed / "law")[1][1] == "tokens"
    assert load(Ladder, climbed / "law" / "recipe.yaml") == recipe(tokens, climbed)


def test_what_is_up_to_date_is_left_alone(climbed: Path, tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in climbed.rglob("manifest.json")}
    run(recipe(tokens, climbed))
    said = capsys.readouterr()
    assert [f"{name}: up to date" in said.err for name in (*SIZES, AHEAD)] == [True] * 4
    assert "inside the interval" in said.out or "outside the interval" in said.out
    assert {path: path.stat().st_mtime_ns for path in climbed.rglob("manifest.json")} == before
    # Without --check only the law is made again, over the same models.
    run(recipe(tokens, climbed, check=False))
    after = {path: path.stat().st_mtime_ns for path in climbed.rglob("manifest.json")}
    assert [path.parent.name for path in after if after[path] != before[path]] == ["law"]
    assert json.loads((climbed / "law" / "ladder.json").read_text())["check"] is None
    run(recipe(tokens, climbed))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_ladder_goes_on_where_it_was(
    climbed: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ladder"
    ladder_of = recipe(tokens, out)
    flags = ["--sizes", *SIZES, "--predict", AHEAD, "--length", "32", "--precision", "fp32", "--check"]
    few = ["--tokens-per-parameter", "0.25", "--evaluation-bytes", "2000", "--set", *ladder_of.set]
    command = [*DANLU, "ladder", "--data", str(tokens), "--out", str(out), *flags, *few]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 600
        while not list((out / SIZES[1]).glob(".checkpoints/*/")) and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert artifact.find(out / SIZES[0]) is not None
    assert artifact.find(out / SIZES[1]) is None
    run(ladder_of)
    said = capsys.readouterr().err
    assert f"{SIZES[0]}: up to date" in said
    assert f"{SIZES[1]}: taken up again" in said
    assert weights(out) == weights(climbed)
    one, other = (json.loads((folder / "law" / "ladder.json").read_text()) for folder in (out, climbed))
    assert one == other


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sizes": ("1M", "2M")}, "a law needs at least 3 sizes"),
        ({"sizes": ("1M", "4M", "2M"), "predict": "8M"}, "each must be larger than the one before"),
        ({"sizes": ("1M", "2M", "2M"), "predict": "8M"}, "each must be larger than the one before"),
        ({"predict": "20K"}, "must be larger than the sizes to train"),
        ({"predict": "big"}, "predict 'big' is not a number"),
        ({"tokens_per_parameter": ()}, "needs numbers above 0"),
        ({"tokens_per_parameter": (0.0,)}, "needs numbers above 0"),
        ({"tokens_per_parameter": (2.0, 2.0)}, "must differ"),
        ({"seeds": 0}, "must be at least 1"),
        ({"max_epochs": 0.0}, "must be above 0"),
        ({"evaluation_bytes": -1}, "must not be negative"),
        ({"set": ("tokens=3M",)}, "'tokens' is the ladder's to set"),
        ({"set": ("optimizer.lr",)}, "is not a change"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_recipe_is_read(more: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        recipe(Path("nowhere"), Path("nowhere"), **more)


def test_what_cannot_be_done_is_refused_before_anything_is_trained(tokens: Path, tmp_path: Path) -> None:
    data, out = open_training(tokens), tmp_path / "out"
    with pytest.raises(UserError, match="the data hold"):
        plan(recipe(tokens, out, max_epochs=0.01), IDS, data)
    with pytest.raises(UserError, match="14K and 15K come to the same shape"):
        plan(recipe(tokens, out, sizes=("14K", "15K", "26K")), IDS, data)
    with pytest.raises(UserError, match="Did you mean 'optimizer'"):
        plan(recipe(tokens, out, set=("optimiser.lr=1",)), IDS, data)
    assert not out.exists()


def test_a_model_that_is_not_trained_may_want_more_than_the_data_hold(tokens: Path, tmp_path: Path) -> None:
    data = open_training(tokens)
    most = plan(recipe(tokens, tmp_path), IDS, data)[1].planned().tokens / data.tokens
    plan(recipe(tokens, tmp_path, max_epochs=most * 0.99, check=False), IDS, data)
    with pytest.raises(UserError, match=f"{AHEAD} would read"):
        plan(recipe(tokens, tmp_path, max_epochs=most * 0.99), IDS, data)


def test_every_model_is_told_what_the_laws_derive(tokens: Path) -> None:
    found = planned(tokens, set=("shape.width=16", "shape.head_width=16"))
    wanted = derive(found.config.matrix_parameters(), length=32, per_parameter=0.25)
    told = found.recipe
    assert told.tokens == str(wanted["tokens"].value)
    assert (told.batch_tokens, told.optimizer.lr) == (wanted["batch_tokens"].value, wanted["lr"].value)
    assert (told.optimizer.weight_decay, told.optimizer.beta2) == (wanted["weight_decay"].value, wanted["beta2"].value)
    assert told.schedule.warmup == wanted["warmup"].value
    changed = ("optimizer.name=adamw", "optimizer.beta2=0.9", "schedule.warmup=0.2", "schedule.decay=0.1")
    given = planned(tokens, set=("shape.width=16", "shape.head_width=16", "batch_tokens=640", *changed))
    assert (given.recipe.batch_tokens, given.recipe.optimizer.beta2, given.recipe.schedule.warmup) == (640, 0.9, 0.2)
    assert (given.recipe.schedule.decay, given.config.width) == (0.1, 16)
    assert given.derived["batch_tokens"].source == given.derived["beta2"].source == "given"
    assert "OLMo" in given.derived["lr"].source
    assert given.recipe.optimizer.embedding_scale == found.recipe.optimizer.embedding_scale


@pytest.mark.parametrize(
    ("more", "field", "value"),
    [
        ({"length": 64}, "length", 64),
        ({"seed": 5}, "seed", 5),
        ({"evaluation_bytes": 0}, "evaluation_bytes", 0),
        ({"precision": "bf16"}, "precision", "bf16"),
        ({"device": "cpu"}, "device", "cpu"),
        ({"set": (*NARROW, "guard.limit=3")}, "guard", None),
        ({"tokens_per_parameter": (1.0,)}, "tokens", None),
    ],
    ids=str,
)
def test_each_key_reaches_the_models(tokens: Path, more: dict[str, Any], field: str, value: Any) -> None:
    before, after = (getattr(planned(tokens, **change).recipe, field) for change in ({}, more))
    assert before != after
    assert value is None or after == value


def test_seeds_and_token_counts_multiply_the_models(tokens: Path) -> None:
    many = recipe(tokens, Path("out"), seeds=2, tokens_per_parameter=(1.0, 0.5))
    found, ahead = plan(many, IDS, open_training(tokens))
    names = [f"{size}-x{ratio}-seed{seed}" for size in SIZES for ratio in ("1", "0.5") for seed in (0, 1)]
    assert [item.name for item in found] == [str(item.recipe.out.name) for item in found] == names
    assert [item.recipe.seed for item in found[:4]] == [0, 1, 0, 1]
    runs = [item.planned() for item in found]
    assert runs[0].tokens == pytest.approx(2 * runs[2].tokens, rel=0.1)
    assert (ahead.name, ahead.recipe.out, ahead.recipe.seed) == (AHEAD, Path("out") / AHEAD, 0)


def test_the_command_says_where_its_numbers_come_from(climbed: Path, tokens: Path) -> None:
    found, ahead = plan(recipe(tokens, climbed), IDS, open_training(tokens))
    said = "\n".join(ladder.told(found, ahead))
    assert "Hoffmann et al. 2022" not in said
    assert "the depth whose parameters come nearest" in said
    assert "OLMo-core" in said
    assert [line.split()[0] for line in said.splitlines()[1:4]] == list(SIZES)
    assert len([line for line in said.splitlines() if "(given)" in line]) == 7


def test_data_without_documents_apart_are_refused(tokens: Path, tmp_path: Path) -> None:
    shutil.copytree(tokens, tmp_path / "tokens", ignore=shutil.ignore_patterns("validation"))
    with pytest.raises(UserError, match="validation: no such"):
        run(recipe(tmp_path / "tokens", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
