"""The keys that every training stage has: each changes what the loop is told or does, or is refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, load, save, to_dict
from danlu.cli import read
from danlu.recipes import pretrain
from danlu.recipes.common import Training
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.sft import Sft
from danlu.train.settings import GuardSettings, OptimizerSettings, ScheduleSettings

UPDATING: dict[str, Any] = {
    "update_in_backward": True,
    "optimizer": OptimizerSettings(lr=8e-3, embedding_scale=8.0, clip=0.0),
    "guard": GuardSettings(norm=False),
}


def made_from(made: Path, out: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A model pretrained for a few steps: its manifest's metrics, and the rows of metrics.jsonl."""
    few: Any = {"size": "100K", "length": 64, "batch_tokens": 512, "tokens": "2K", "precision": "fp32"}
    done = pretrain.run(Pretrain(data=made / "tokens", out=out, **few | changes))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return done.metrics, rows


def test_a_length_is_named_once() -> None:
    assert Training().settings(70).steps == 70
    assert Training(steps=9).settings(70).steps == 9
    by_clock = Training(seconds=30, evaluations=4).settings(70)
    assert (by_clock.steps, by_clock.seconds, by_clock.evaluate_every, by_clock.evaluate_seconds) == (0, 30, 0, 7.5)
    assert by_clock.length == "30 seconds"
    for given in ({"steps": 5, "seconds": 5.0}, {"tokens": "1M", "steps": 5}, {"tokens": "1M", "seconds": 5.0}):
        names = " and ".join(sorted(given, key=lambda key: ("steps", "seconds", "tokens").index(key)))
        with pytest.raises(UserError, match=f"recipe: {names} both say how long the run is. Give one"):
            Pretrain(data=Path("tokens"), **given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="steps and epochs both say"):
        Sft(model=Path("model"), chats=("x",), epochs=2.0, steps=5)
    with pytest.raises(UserError, match="steps: must not be negative"):
        Training(steps=-1)


def test_recipes_from_before_there_was_a_third_way_still_read(tmp_path: Path) -> None:
    for old, new in ((True, "full"), (False, "none")):
        values = to_dict(Pretrain(data=Path("tokens"))) | {"checkpointing": old}
        recipe = from_dict(Pretrain, values)
        assert recipe.checkpointing == new
        save(recipe, tmp_path / "recipe.yaml")
        assert load(Pretrain, tmp_path / "recipe.yaml") == recipe
    with pytest.raises(UserError, match="checkpointing"):
        from_dict(Pretrain, to_dict(Pretrain(data=Path("tokens"))) | {"checkpointing": "some"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"update_in_backward": True}, "recipe: optimizer.clip"),
        ({**UPDATING, "micro_batches": 2}, "recipe: micro_batches"),
        ({"offload": "activations", "checkpointing": "full"}, "recipe: offload"),
        ({"track": ("wandb", "wandb")}, "recipe: track: names one twice"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_read(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Training(**given)


def test_the_command_line_spells_them() -> None:
    words = [
        "--data",
        "tokens",
        "--steps",
        "9",
        "--checkpointing",
        "selective",
        "--offload",
        "optimizer",
        "--track",
        "tensorboard",
        "wandb",
    ]
    recipe = read(Pretrain, "pretrain", [*words, "--optimizer.name", "lion", "--schedule.name", "linear"])
    assert (recipe.steps, recipe.checkpointing, recipe.offload) == (9, "selective", "optimizer")
    assert (recipe.track, recipe.optimizer.name, recipe.schedule.name) == (("tensorboard", "wandb"), "lion", "linear")
    assert read(Pretrain, "pretrain", ["--data", "tokens", "--seconds", "1.5"]).seconds == 1.5


def test_the_loop_is_told() -> None:
    told = Training(checkpointing="selective", offload="optimizer", compile=True).settings(3)
    assert (told.checkpointing, told.offload, told.update_in_backward) == ("selective", "optimizer", False)
    assert told.compile
    assert not Training().settings(3).compile
    assert Training(**UPDATING).settings(3).update_in_backward


def test_the_keys_reach_a_run(made: Path, tmp_path: Path) -> None:
    """One run for many keys: a linear schedule, Adafactor in the backward pass, blocks recomputed, TensorBoard."""
    optimizer = OptimizerSettings(name="adafactor", lr=8e-3, embedding_scale=8.0, clip=0.0)
    given: dict[str, Any] = UPDATING | {"optimizer": optimizer, "schedule": ScheduleSettings(name="linear", warmup=0.0)}
    metrics, rows = made_from(made, tmp_path / "run", checkpointing="selective", **given)
    train = [row for row in rows if row["kind"] == "train"]
    steps = metrics["steps"]
    assert [row["lr"] for row in train] == pytest.approx([8e-3 * (1 - i / steps) for i in range(steps)])
    assert all(row["memory_bytes"] > 0 and row["peak_share"] > 0 for row in train)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert float(manifest["decisions"]["peak_flops"]) > 1e8
    assert train[-1]["loss"] < train[0]["loss"]


def test_on_a_cpu_offload_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: offload: moves what a GPU holds"):
        made_from(made, tmp_path / "run", device="cpu", offload="optimizer")


def test_track_writes_event_files_and_is_not_part_of_the_identity(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'danlu[track]'")
    from danlu.base import artifact

    made_from(made, tmp_path / "run", track=("tensorboard",))
    assert [path.name[:10] for path in (tmp_path / "run" / "tensorboard").iterdir()] == ["events.out"]
    few: Any = {"size": "100K", "length": 64, "batch_tokens": 512, "tokens": "2K", "precision": "fp32"}
    again = Pretrain(data=made / "tokens", out=tmp_path / "run", **few)
    assert artifact.changes(tmp_path / "run", "pretrain", again, pretrain.sources(again)) is None
