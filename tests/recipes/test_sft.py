"""`danlu sft --method lora`: only the adapter learns, and what is left is an adapter; stopped, it ends in the same bits."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.recipe import load
from danlu.cli import read
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.settings import Freeze, Lora
from danlu.model.hub import load_model, read_config
from danlu.model.transformer import Transformer
from danlu.plan.tuning import learning_rate
from danlu.recipes import evaluation, training
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.methods import RATES
from danlu.recipes.sft import Sft, run
from danlu.tokens.extending.note import EXTENSION
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.train.conftest import loop, model
from tests.train.test_loop import Losses, Stop

SMALL = Lora(rank=4, alpha=8)


def recipe(made: Path, world: Path, out: Path, **changes: Any) -> Sft:
    values: dict[str, Any] = {"epochs": 6, "length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 2}
    given = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "out": out, "lora": SMALL}
    return Sft(**{"method": "lora"} | given | values | changes)


@pytest.fixture(scope="module")
def adapter(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(recipe(made, world, tmp_path_factory.mktemp("lora") / "out", optimizer=OptimizerSettings(lr=2e-2)))


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if row["kind"] == kind]


def test_what_is_left_is_an_adapter(made: Path, adapter: Artifact) -> None:
    adapter.verify()
    names = {"recipe.yaml", CONFIG, WEIGHTS, "tokenizer.json", "tokenizer_config.json"}
    assert set(adapter.manifest["outputs"]) >= names
    assert not {"config.json", "model.safetensors", EXTENSION} & set(adapter.manifest["outputs"])
    assert load(Sft, adapter.path / "recipe.yaml").lora == SMALL
    assert "model" in adapter.manifest["inputs"]
    base, tuned = Tokenizer.load(made / "pretrain"), Tokenizer.load(adapter.path)
    assert tuned.chat_template == base.chat_template is not None
    held = sum(value.numel() for value in load_file(adapter.path / WEIGHTS).values())
    assert adapter.metrics["trained_parameters"] == held < adapter.metrics["parameters"] / 4


def test_it_learns(adapter: Artifact) -> None:
    train, held_out = rows(adapter.path, "train"), rows(adapter.path, "eval")
    assert train[-1]["loss"] < 0.6 * train[0]["loss"]
    assert held_out[-1]["loss"] < held_out[0]["loss"]


def test_the_base_keeps_every_bit(made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Transformer] = []
    save = training.save_adapter
    monkeypatch.setattr(training, "save_adapter", lambda model, *rest: (seen.append(model), save(model, *rest)))
    run(recipe(made, world, tmp_path / "out", epochs=0.5))
    before = dict(load_model(made / "pretrain").named_parameters())
    after = {n.replace(".base.", "."): p for n, p in seen[0].named_parameters() if not p.requires_grad}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    trained = {n.rpartition(".")[2] for n, p in seen[0].named_parameters() if p.requires_grad}
    assert trained == {"lora_A", "lora_B"}


def test_wherever_a_model_is_expected(made: Path, world: Path, adapter: Artifact, tmp_path: Path) -> None:
    given: dict[str, Any] = {"chats": world / "chats.jsonl", "answers": 4, "max_new_tokens": 8, "precision": "fp32"}
    found = evaluation.run(Evaluate(model=adapter.path, out=tmp_path / "evaluation", **given))
    assert "stop_rate" in found.metrics
    full = run(recipe(made, world, tmp_path / "full", model=adapter.path, method="full", lora=Lora(), epochs=0.5))
    names = set(load_file(full.path / "model.safetensors"))
    assert names == set(load_file(made / "pretrain" / "model.safetensors"))
    assert full.metrics["trained_parameters"] == full.metrics["parameters"]


def test_every_key_arrives(made: Path, world: Path, tmp_path: Path) -> None:
    wanted = Lora(rank=3, alpha=7.5, targets=("up_proj", "0.self_attn.q_proj"), dropout=0.25, rslora=True)
    made_ = run(recipe(made, world, tmp_path / "out", lora=wanted, epochs=0.2))
    found = json.loads((made_.path / CONFIG).read_text())
    assert (found["r"], found["lora_alpha"], found["lora_dropout"], found["use_rslora"]) == (3, 7.5, 0.25, True)
    assert found["target_modules"] == ["0.self_attn.q_proj", "up_proj"]
    layers = {name.rpartition(".lora_")[0] for name in load_file(made_.path / WEIGHTS)}
    assert sum(name.endswith("q_proj") for name in layers) == 1
    assert {value.shape[0] for name, value in load_file(made_.path / WEIGHTS).items() if "lora_A" in name} == {3}


def test_the_command_line_says_it_too(made: Path, world: Path) -> None:
    words = ["--model", str(made), "--chats", str(world), "--method", "lora", "--lora.rank", "2"]
    found = read(Sft, "sft", [*words, "--lora.targets", "q_proj", "v_proj", "--lora.rslora", "--lora.no-new-rows"])
    assert found.lora == Lora(rank=2, targets=("q_proj", "v_proj"), rslora=True, new_rows=False)


def test_each_method_has_a_learning_rate_of_its_own(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rate(*words: str) -> float:
        found: Sft = read(Sft, "sft", ["--model", str(made), "--chats", str(world), *words])
        return found.settings(1).optimizer.lr

    assert (rate(), rate("--method", "lora")) == (RATES["full"], RATES["lora"]) == (3e-4, 2e-3)
    assert rate("--method", "freeze", "--freeze.last-layers", "1", "--freeze.names", "norm", "bias") == 3e-4
    assert rate("--method", "lora", "--optimizer.lr", "1e-3") == rate("--optimizer.lr", "1e-3") == 1e-3
    assert Sft(model=made, chats=("x",)).settings(1).optimizer == OptimizerSettings(lr=3e-4, weight_decay=0.0)
    found = run(recipe(made, world, tmp_path / "out", epochs=0.2))
    size = read_config(made / "pretrain").matrix_parameters()
    wanted = learning_rate(RATES["lora"], size, "lora")
    assert f"  lr  {wanted.value:g}  (--method lora: {RATES['lora']:g} tuned at 135M" in capsys.readouterr().err
    assert found.metrics["learning_rate"] == wanted.value
    assert max(row["lr"] for row in rows(found.path, "train")) <= wanted.value
    for wrong in ({"lr": -1.0}, {"beta1": 2.0}):
        with pytest.raises(UserError):
            OptimizerSettings(**wrong)


def test_a_part_of_the_weights_learns(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The feed-forward layers and the final norm, in a whole model; all else keeps every bit, and the loss falls."""
    changes = {"method": "freeze", "lora": Lora(), "freeze": Freeze(last_layers=0, names=("mlp", "model.norm"))}
    found = run(recipe(made, world, tmp_path / "out", optimizer=OptimizerSettings(lr=1e-2), **changes))
    before, after = (dict(load_model(path).named_parameters()) for path in (made / "pretrain", found.path))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {name for name in before if name.startswith(("blocks.0.feedforward.", "norm."))}
    losses = [row["loss"] for row in rows(found.path, "train")]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert "numbers learn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": Lora(rank=4096)}, "rank 4096 is more than model.layers.0"),
        ({"lora": Lora(targets=("query",))}, "no layer is called 'query'"),
        ({"method": "full"}, "only --method lora or qlora has such keys"),
        ({"lora": Lora(), "freeze": Freeze(names=("norm",))}, "only --method freeze has such keys"),
        ({"method": "freeze", "lora": Lora(), "freeze": Freeze(last_layers=9)}, "at most the model's 1, found 9"),
    ],
    ids=str,
)
def test_what_cannot_be_leaves_nothing(
    made: Path, world: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(recipe(made, world, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def prepared(folder: Path, hooks: Any = (), precision: str = "fp32", **changes: Any) -> Loop:
    """A run of the loop on a model with LoRA and new rows; items count modulo 24, so some of the rows are new."""
    net, place = model(tied=False), folder / "base"
    place.mkdir(parents=True, exist_ok=True)
    (place / EXTENSION).write_text(json.dumps({"old_vocab": 20}))
    torch.manual_seed(5)  # of dropout, as every stage does before its loop
    attach(net, Lora(rank=4, dropout=0.2), place, 0)
    values: dict[str, Any] = {"optimizer": OptimizerSettings(lr=1e-2), "steps": 8, "checkpoint_every": 2}
    return loop(folder / "checkpoints", TrainSettings(**values | changes), precision, model=net, hooks=hooks)


def weights(found: Loop) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in found.model.named_parameters()}


@pytest.mark.parametrize(("stopped_after", "precision"), [(1, "fp32"), (3, "fp32"), (4, "fp32"), (5, "bf16")])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, stopped_after: int, precision: str) -> None:
    whole = prepared(tmp_path / "whole", [Hook()], precision)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "parts", [Stop(stopped_after)], precision).run()
    resumed = prepared(tmp_path / "parts", [Hook()], precision)
    resumed.run()
    wanted, found = weights(whole), weights(resumed)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_recomputing_blocks_draws_the_same_dropout(tmp_path: Path) -> None:
    ends = []
    for checkpointing in (False, True):
        found = prepared(tmp_path / str(checkpointing), checkpointing=checkpointing, steps=3)
        found.run()
        ends.append(weights(found))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_checkpoint_holds_what_trains(tmp_path: Path) -> None:
    found, losses = prepared(tmp_path, steps=20, checkpoint_every=10), Losses()
    found.hooks = [losses]
    before = weights(found)
    found.run()
    assert losses.seen[-1] < losses.seen[0]
    (file,) = (tmp_path / "checkpoints").glob("step-*/tensors.safetensors")
    kept = {name.removeprefix("model."): v.shape for name, v in load_file(file).items() if name.startswith("model.")}
    assert kept == {name: p.shape for name, p in found.model.named_parameters() if p.requires_grad}
    assert {name for name in kept if "lora" not in name} == {"embed.rows", "head.rows"}
    assert kept["embed.rows"][0] == 12  # of 32
    for name, value in weights(found).items():
        moved = not torch.equal(before[name], value)
        assert moved == (name in kept or name in ("embed.table.weight", "head.table.weight")), name
    for name in ("embed.table.weight", "head.table.weight"):
        assert torch.equal(before[name][:20], weights(found)[name][:20])


def test_rows_learn_only_if_asked(made: Path, world: Path, tmp_path: Path) -> None:
    extended = tmp_path / "extended"
    shutil.copytree(made / "pretrain", extended)
    (extended / "manifest.json").unlink()
    (extended / EXTENSION).write_text(json.dumps({"old_vocab": 100}))
    old = load_model(extended).embed.weight
    for new_rows in (True, False):
        lora = Lora(rank=2, new_rows=new_rows)
        found = run(recipe(made, world, tmp_path / str(new_rows), model=extended, lora=lora, epochs=0.3))
        rows_ = open_adapter(found.path).embed.weight
        assert torch.equal(rows_[:100], old[:100])
        assert torch.equal(rows_[100:], old[100:]) != new_rows
        assert artifact.load(found.path, "sft").metrics["trained_parameters"] > 0
