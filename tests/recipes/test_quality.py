"""`danlu quality`: two folders of examples become an artifact that the steps of 'danlu clean' can use."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base import recipe as recipes
from danlu.base.errors import UserError
from danlu.recipes.quality import TrainQuality, run, sources
from danlu.text.document import Document, Dropped
from danlu.text.filters import linear, ngram
from danlu.text.filters.quality import Quality
from danlu.text.write import Shards

GOOD = ("the river runs past old houses", "she read a long and quiet book", "河水慢慢地流过山谷", "他写了一封长信")
BAD = ("BUY cheap pills now!!!", "win a cash prize $$$ click", "免费领取！！！点击", "加微信送豪礼！！！")


def texts(lines: tuple[str, ...], number: int) -> list[str]:
    draw = random.Random(lines[0])
    return [" ".join(draw.sample(lines, 2)) + f" {n}" for n in range(number)]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Good texts as shards that 'danlu clean' wrote, bad ones as JSON lines."""
    with Shards(tmp_path / "good" / "train") as shards:
        for number, text in enumerate(texts(GOOD, 60)):
            shards.add(Document(text, f"g:{number}", "g"))
    bad = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts(BAD, 60))
    (tmp_path / "bad.jsonl").write_text(bad, encoding="utf-8")
    return tmp_path


def recipe(world: Path, **changes: Any) -> TrainQuality:
    values = {"good": (str(world / "good"),), "bad": (str(world / "bad.jsonl"),), "out": world / "quality", "bits": 12}
    return TrainQuality(**values | changes)  # type: ignore[arg-type]


def test_examples_become_a_filter(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(recipe(world))
    made.verify()
    assert made.metrics["kind"] == "linear"
    assert made.metrics["auc"] > 0.95
    assert made.metrics["texts"] == {"good": 60, "bad": 60}
    assert {"model.json", "weights.safetensors"} <= set(made.manifest["outputs"])
    assert sorted(made.manifest["inputs"]) == sorted(sources(recipe(world)))
    step = Quality(made.path)
    assert isinstance(step(Document(texts(GOOD, 70)[65], "d", "d")), Document)
    assert isinstance(step(Document(texts(BAD, 70)[65], "d", "d")), Dropped)
    said = capsys.readouterr().err
    assert "AUC" in said
    assert "bad: ！" in said


def test_an_ngram_model_of_the_good(world: Path) -> None:
    made = run(recipe(world, kind="ngram", bad=()))
    model = ngram.load(made.path)
    assert made.metrics["kind"] == "ngram"
    assert model.bits_per_byte("the river runs past") < model.bits_per_byte("xqj zzv wkp qqd")
    with pytest.raises(UserError, match="is needed"):
        linear.load(made.path)


def test_the_same_recipe_gives_the_same_files(world: Path) -> None:
    first, second = (run(recipe(world, out=world / name)) for name in "ab")
    apart = {"recipe.yaml": ""}  # names the directory
    assert first.manifest["outputs"] | apart == second.manifest["outputs"] | apart
    assert first.manifest["identity"] == second.manifest["identity"]
    loaded = recipes.load(TrainQuality, world / "a" / "recipe.yaml")
    assert loaded == recipe(world, out=world / "a")


@pytest.mark.parametrize(
    "changes",
    [{"bits": 10}, {"epochs": 1}, {"rate": 0.1}, {"held_out": 0.5}, {"seed": 1}, {"sample_bytes": 1500}],
    ids=str,
)
def test_every_setting_of_the_classifier_changes_it(changes: dict[str, Any], world: Path) -> None:
    plain, other = run(recipe(world)), run(recipe(world, out=world / "other", **changes))
    assert plain.manifest["outputs"]["weights.safetensors"] != other.manifest["outputs"]["weights.safetensors"]


@pytest.mark.parametrize("changes", [{"bits": 8}, {"order": 2}, {"least": 9}, {"sample_bytes": 8000}], ids=str)
def test_every_setting_of_the_ngram_model_changes_it(changes: dict[str, Any], world: Path) -> None:
    plain, other = (
        run(recipe(world, kind="ngram", bad=(), out=world / n, **c)) for n, c in (("a", {}), ("b", changes))
    )
    assert plain.manifest["outputs"]["weights.safetensors"] != other.manifest["outputs"]["weights.safetensors"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"kind": "forest"}, "kind"),
        ({"good": ()}, "good"),
        ({"bad": ()}, "bad"),
        ({"kind": "ngram"}, "bad"),
        ({"sample_bytes": 0}, "sample_bytes"),
        ({"bits": 7}, "bits"),
        ({"epochs": 0}, "epochs"),
        ({"rate": 0.0}, "rate"),
        ({"held_out": 1.0}, "held_out"),
        ({"order": 0}, "order"),
        ({"least": 0}, "least"),
    ],
)
def test_senseless_settings_are_named(changes: dict[str, Any], key: str, world: Path) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}:"):
        recipe(world, **changes)


def test_bad_input_leaves_no_directory(world: Path) -> None:
    few = world / "few.jsonl"
    few.write_text('{"text": "one"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="1 different 'bad' texts are too few"):
        run(recipe(world, bad=(str(few),)))
    assert not (world / "quality").exists()
    page = world / "page.html"
    page.write_text("<html><body><p>text</p></body></html>", encoding="utf-8")
    with pytest.raises(UserError, match="is HTML, and text is needed"):
        run(recipe(world, bad=(str(page),)))
    with pytest.raises(UserError, match="overlaps the input"):
        run(recipe(world, out=world / "good" / "model"))
    assert artifact.find(world / "quality") is None
