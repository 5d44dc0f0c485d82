"""What a recipe leaves open follows from the model, the data and what it does say; what it says stands."""

from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.cli import read
from danlu.model.config import ModelConfig
from danlu.model.hub import read_config
from danlu.plan.scaling import derive, tokens
from danlu.recipes import pretrain
from danlu.recipes.chain import Chain, nodes
from danlu.recipes.deriving import run_tokens, settle, shaped
from danlu.recipes.dpo import Dpo
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.shape import Shape
from danlu.recipes.shapes import preset
from danlu.recipes.sizes import sized
from danlu.train.settings import OptimizerSettings, ScheduleSettings


def recipe(**given: Any) -> Pretrain:
    return Pretrain(data=Path("tokens"), **given)


def settled(given: Pretrain, config: ModelConfig, run: int = 2_000_000) -> Pretrain:
    return settle(given, config, tokens(config.matrix_parameters(), run // 4))[0]


def test_all_that_is_open_is_what_the_laws_say() -> None:
    config = sized("10M", 8192, 512)
    found, sources = settle(recipe(), config, tokens(config.matrix_parameters(), 500_000))
    law = {k: item.value for k, item in derive(config.matrix_parameters(), length=512, epoch=500_000).items()}
    assert {name: item.value for name, item in sources.items()} == law
    assert (found.tokens, found.batch_tokens, found.schedule.warmup) == ("2000000", law["batch_tokens"], law["warmup"])
    optimizer = found.optimizer
    assert (optimizer.lr, optimizer.weight_decay, optimizer.beta2) == (law["lr"], law["weight_decay"], law["beta2"])
    assert "Muennighoff" in sources["tokens"].source


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ({"batch_tokens": 1024}, "batch_tokens", 1024),
        ({"optimizer": OptimizerSettings(lr=0.01)}, "optimizer.lr", 0.01),
        ({"optimizer": OptimizerSettings(weight_decay=0.0)}, "optimizer.weight_decay", 0.0),
        ({"optimizer": OptimizerSettings(beta2=0.9)}, "optimizer.beta2", 0.9),
        ({"schedule": ScheduleSettings(warmup=0.0)}, "schedule.warmup", 0.0),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_given_stands(given: dict[str, Any], path: str, value: float) -> None:
    found: Any = settled(recipe(**given), sized("10M", 8192, 512))
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_each_optimizer_is_told_only_what_it_reads() -> None:
    config = sized("10M", 8192, 512)
    rates = {}
    for name in ("adamw", "muon", "lion", "adafactor", "adamw8bit"):
        found = settled(recipe(optimizer=OptimizerSettings(name=name)), config).optimizer
        rates[name] = found.value("lr")
        assert (found.beta2 is None) == (name == "adafactor")
    assert rates["lion"] == pytest.approx(rates["adamw"] / 5, rel=0.03)
    assert rates["adamw"] == rates["adafactor"] == rates["adamw8bit"] < rates["muon"]


def test_the_tokens_of_a_run() -> None:
    large, small = sized("10M", 400, 64), sized("100K", 400, 64)
    assert run_tokens(recipe(), large, 10_000).value == 40_000
    assert run_tokens(recipe(), small, 10**9).value == 20 * small.matrix_parameters()
    assert run_tokens(recipe(tokens="0"), large, 10_000).value == 10_000
    assert run_tokens(recipe(tokens="3K"), large, 10_000).value == 3000
    assert run_tokens(recipe(), large, 2000, mixed=True).value == 2000
    assert "ends by steps" in run_tokens(recipe(steps=3), large, 10_000).source
    assert settle(recipe(seconds=3), large, run_tokens(recipe(seconds=3), large, 10_000))[0].tokens is None


def test_steps_end_the_run_of_a_chain_or_an_older_recipe() -> None:
    """Both write ``tokens: '0'``, an epoch."""
    assert recipe(tokens="0", steps=5).steps_of(10_000) == 5
    with pytest.raises(UserError, match="steps and tokens both say"):
        recipe(tokens="3K", steps=5)
    told = {node.name: node.recipe for node in nodes(Chain(text=("x",), set=("pretrain.steps=5",)))}
    assert told["pretrain"].steps == 5


def test_a_stage_fills_in_what_its_optimizer_leaves_open() -> None:
    open_ = OptimizerSettings(name="adamw")
    found = Dpo(model=Path("m"), preferences=("x",), optimizer=open_).settings(1).optimizer
    assert (found.lr, found.weight_decay) == (1e-4, 0.0)
    given = OptimizerSettings(lr=0.5, weight_decay=0.2)
    assert Dpo(model=Path("m"), preferences=("x",), optimizer=given).settings(1).optimizer == given


def test_a_large_batch_is_cut_and_the_recipe_may_say_how() -> None:
    assert recipe(batch_tokens=8192).settings(1).micro_batches == 1
    assert recipe(batch_tokens=65_536).settings(1).micro_batches == 4
    assert recipe(batch_tokens=65_536, micro_batches=2).settings(1).micro_batches == 2


def test_a_preset_is_the_shape_that_it_names_and_can_be_changed(made: Path, tmp_path: Path) -> None:
    config, sources = shaped(recipe(preset="pythia-14m", length=64), 400)
    assert config == preset("pythia-14m", 400, 64)
    assert "Biderman" in sources["width"].source
    changed, sources = shaped(recipe(preset="pythia-14m", length=64, shape=Shape(layers=2)), 400)
    assert (changed.layers, sources["layers"].source) == (2, "given")
    few: Any = {"batch_tokens": 512, "tokens": "1K", "precision": "fp32", "length": 64}
    path = pretrain.run(
        Pretrain(
            data=made / "tokens", out=tmp_path / "out", preset="nanochat-d12", shape=Shape(layers=1, width=128), **few
        )
    ).path
    written = read_config(path)
    assert (written.logit_cap, written.norm_weight, written.qk_norm, written.layers) == (15.0, False, True, 1)


def test_the_command_line_takes_a_preset(made: Path) -> None:
    found: Pretrain = read(Pretrain, "pretrain", ["--data", str(made), "--preset", "qwen3-0.6b"])
    assert found == Pretrain(data=made, preset="qwen3-0.6b")


def test_presets_that_make_no_sense_are_refused(made: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'gpt2-124m'"):
        recipe(preset="gpt2-124")
    with pytest.raises(UserError, match="size and preset both"):
        recipe(preset="gpt2-124m", size="10M")
    with pytest.raises(UserError, match="has its own"):
        recipe(preset="gpt2-124m", from_model=made / "pretrain")


def test_the_run_says_where_its_numbers_come_from(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Pretrain(data=made / "tokens", out=tmp_path / "out", size="100K", length=64, steps=2, precision="fp32")
    done = pretrain.run(given)
    said = capsys.readouterr().err
    for word in ("Kaplan et al. 2020", "the run ends by steps", "Bergsma et al. 2025", "OLMo-core's model ladder"):
        assert word in said
    assert set(done.metrics["derived"]) == {"tokens", "batch_tokens", "lr", "weight_decay", "beta2", "warmup"}
    kept = from_dict(Pretrain, to_dict(given), "recipe.yaml")  # what was open stays open on disk
    assert (kept.batch_tokens, kept.optimizer.lr, kept.tokens) == (None, None, None)
