"""`danlu sft --method qlora`: an adapter trained beside four bits, which runs, resumes and merges exactly as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, load, to_dict
from danlu.cli import read
from danlu.generate.engine import Engine
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.merging import logits_on_samples
from danlu.model.adapters.quantization import Quantization, Quantize
from danlu.model.adapters.quantized_base import NOTE
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model
from danlu.model.quantized import Nf4Linear
from danlu.recipes import chat, evaluation
from danlu.recipes.chat import Chat
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.merge import Merge
from danlu.recipes.merge import run as merge
from danlu.recipes.sft import RATES, Sft, run
from danlu.recipes.training import Machine, open_model
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.train.conftest import loop, model
from tests.train.test_loop import Stop

FEW: dict[str, Any] = {"length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 1}


def recipe(made: Path, world: Path, out: Path, **changes: Any) -> Sft:
    given: dict[str, Any] = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "out": out}
    given |= {"method": "qlora", "epochs": 6, "lora": Lora(rank=4, alpha=8)}
    return Sft(**given | FEW | changes)


@pytest.fixture(scope="module")
def adapter(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """PiSSA, which needs all that is written, trained far enough to tell from the base."""
    lora = Lora(rank=4, alpha=8, init="pissa", b_rate_ratio=2.0)
    rate = OptimizerSettings(lr=1e-2)
    return run(recipe(made, world, tmp_path_factory.mktemp("qlora") / "out", lora=lora, optimizer=rate))


def losses(path: Path, kind: str = "train") -> list[float]:
    rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["kind"] == kind]


def test_it_learns_and_leaves_an_adapter(made: Path, adapter: Artifact) -> None:
    adapter.verify()
    assert set(adapter.manifest["outputs"]) >= {CONFIG, WEIGHTS, NOTE, "tokenizer.json", "recipe.yaml"}
    assert load(Sft, adapter.path / "recipe.yaml").lora.init == "pissa"
    found = losses(adapter.path)
    assert found[-1] < 0.7 * found[0]
    assert adapter.metrics["trained_parameters"] < adapter.metrics["parameters"] / 4


def test_what_is_measured_is_what_is_opened(adapter: Artifact, made: Path, world: Path, tmp_path: Path) -> None:
    """The held-out loss at the end of training, again from the directory on the rounded base, and no other base."""
    from danlu.base.artifact import Draft
    from danlu.recipes.chats import HELD_OUT, chats_from
    from danlu.recipes.training import held_out_loss
    from danlu.tokens.chat import render

    machine = Machine(torch.device("cpu"), "fp32")
    found = []
    ways: tuple[Quantize, ...] = ("nf4", "none")
    for quantize in ways:
        opened, tokenizer = open_model(adapter.path, machine, quantize)
        assert any(isinstance(module, Nf4Linear) for module in opened.modules()) == (quantize == "nf4")
        items = [render(tokenizer, chat) for chat in chats_from([str(adapter.path / HELD_OUT)], 0.0)]
        draft = Draft.__new__(Draft)
        draft.metrics = {}
        held_out_loss(draft, items, tokenizer, 64)(opened.eval())
        found.append(draft.metrics["held_out_loss"])
    assert found[0] == pytest.approx(losses(adapter.path, "eval")[-1], abs=1e-6)
    assert abs(found[1] - found[0]) > 1e-4


def test_the_commands_that_use_a_model_take_it(
    adapter: Artifact, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io
    import sys

    seen, answer = [], Engine.generate

    def generate(self: Engine, *rest: Any) -> Any:
        seen.append(self.model)
        return answer(self, *rest)

    monkeypatch.setattr(Engine, "generate", generate)
    given: dict[str, Any] = {"chats": world / "chats.jsonl", "answers": 4, "max_new_tokens": 8, "precision": "fp32"}
    evaluation.run(Evaluate(model=adapter.path, out=tmp_path / "out", quantize="nf4", **given))
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who likes tea, Anna?\n"))
    chat.run(Chat(adapter.path, temperature=0.0, max_new_tokens=8, quantize="nf4"))
    assert capsys.readouterr().out.strip()
    assert len(seen) >= 2
    assert all(any(isinstance(m, Nf4Linear) for m in one.modules()) for one in seen)


def test_every_key_arrives(made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for double in (True, False):
        rounding = Quantization(double)
        out = run(recipe(made, world, tmp_path / str(double), quantization=rounding, epochs=0.2)).path
        said[double] = capsys.readouterr().err
        assert json.loads((out / NOTE).read_text())["double"] is double
    sizes = [float(said[double].partition("in NF4, ")[2].split()[0]) for double in (True, False)]
    assert sizes[0] < 0.54 < 0.56 < sizes[1]
    one, other = (load_file(tmp_path / str(double) / WEIGHTS) for double in (True, False))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    words = [
        "--model",
        str(made),
        "--chats",
        "x",
        "--method",
        "qlora",
        "--quantization.no-double",
        "--lora.init",
        "loftq",
    ]
    found = read(Sft, "sft", [*words, "--lora.loftq-iterations", "3", "--lora.rank-pattern", "k_proj", "2"])
    assert found.quantization == Quantization(double=False)
    assert found.lora == Lora(init="loftq", loftq_iterations=3, rank_pattern={"k_proj": 2})
    assert from_dict(Sft, to_dict(found)) == found
    assert found.settings(1).optimizer.lr == RATES["qlora"]


def test_the_keys_of_lora_reach_a_run(made: Path, world: Path, tmp_path: Path) -> None:
    """Each gives other weights than the plain run's, or other tensors."""
    plain = load_file(run(recipe(made, world, tmp_path / "plain", method="lora", epochs=0.1)).path / WEIGHTS)
    keys: dict[str, Any] = {
        "init": "gaussian", "b_rate_ratio": 4.0, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"k_proj": 2.0},
    }  # fmt: skip
    for key, value in keys.items():
        lora = Lora(rank=4, alpha=8, **{key: value})
        found = load_file(run(recipe(made, world, tmp_path / key, method="lora", lora=lora, epochs=0.1)).path / WEIGHTS)
        assert found.keys() == plain.keys()
        assert any(found[name].shape != v.shape or not torch.equal(found[name], v) for name, v in plain.items()), key
    exact, near = (
        run(
            recipe(made, world, tmp_path / f"niter{n}", epochs=0.1, lora=Lora(rank=4, init="pissa", pissa_iterations=n))
        )
        for n in (0, 1)
    )
    assert not all(torch.equal(a, b) for a, b in zip(*(load_file(p.path / WEIGHTS).values() for p in (exact, near)), strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "lora", "lora": Lora(init="loftq")}, "lora.init: loftq begins with what rounding the model loses"),
        ({"method": "lora", "quantization": Quantization(False)}, "quantization: only --method qlora has such keys"),
        ({"method": "full"}, "lora: only --method lora or qlora has such keys"),
        ({"lora": Lora(rank=4, layers=(9,))}, "block 9 has no layer"),
    ],
    ids=str,
)
def test_what_cannot_be_leaves_nothing(made: Path, world: Path, tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(recipe(made, world, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def prepared(folder: Path, hooks: Any = (), precision: str = "fp32", init: Any = "kaiming", **changes: Any) -> Loop:
    """A run of the loop beside a rounded model."""
    net = model(tied=False)
    torch.manual_seed(5)  # of dropout, as every stage does before its loop
    dropout = changes.pop("dropout", 0.2)
    attach(net, Lora(rank=4, dropout=dropout, init=init, b_rate_ratio=2.0), folder, 0, (), Quantization())
    values: dict[str, Any] = {"optimizer": OptimizerSettings(lr=1e-2), "steps": 6, "checkpoint_every": 2}
    return loop(folder / "checkpoints", TrainSettings(**values | changes), precision, model=net, hooks=hooks)


def weights(found: Loop) -> dict[str, Tensor]:
    whole = {n: m.codes.clone() for n, m in found.model.named_modules() if isinstance(m, Nf4Linear)}
    return whole | {name: value.detach().clone() for name, value in found.model.named_parameters()}


@pytest.mark.parametrize(("init", "precision"), [("kaiming", "bf16"), ("pissa", "fp32"), ("loftq", "fp32")])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, init: str, precision: str) -> None:
    """The checkpoint holds what trains; the base is rounded again from the model, to the same bits."""
    whole = prepared(tmp_path / "whole", [Hook()], precision, init)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "parts", [Stop(3)], precision, init).run()
    (file, *_) = sorted((tmp_path / "parts" / "checkpoints").glob("step-*/tensors.safetensors"))
    kept = {name.removeprefix("model.") for name in load_file(file) if name.startswith("model.")}
    assert {name.rpartition(".")[2] for name in kept} == {"lora_A", "lora_B"}
    resumed = prepared(tmp_path / "parts", [Hook()], precision, init)
    resumed.run()
    wanted, found = weights(whole), weights(resumed)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_micro_batches_give_the_same_update(tmp_path: Path) -> None:
    ends = []
    for pieces in (1, 8):
        run_ = prepared(tmp_path / str(pieces), steps=3, micro_batches=pieces, dropout=0.0)
        run_.run()
        ends.append({name: p.detach() for name, p in run_.model.named_parameters() if p.requires_grad})
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)


def test_recomputing_blocks_changes_nothing(tmp_path: Path) -> None:
    ends = []
    for kind in ("none", "selective", "full"):
        run_ = prepared(tmp_path / kind, steps=2, checkpointing=kind)
        run_.run()
        ends.append(weights(run_))
    assert all(torch.equal(ends[0][name], other[name]) for other in ends[1:] for name in ends[0])


def test_merged_into_the_numbers_it_was_trained_beside(adapter: Artifact, made: Path, tmp_path: Path) -> None:
    wanted = logits_on_samples(open_adapter(adapter.path, quantize="nf4"))
    done = merge(Merge(adapter.path, out=tmp_path / "exact", quantize="nf4"))
    assert done.metrics["largest_difference"] < 1e-4
    torch.testing.assert_close(logits_on_samples(load_model(tmp_path / "exact")), wanted, rtol=0, atol=1e-4)
    merge(Merge(adapter.path, out=tmp_path / "whole"))
    assert float((logits_on_samples(load_model(tmp_path / "whole")) - wanted).abs().max()) > 1e-2


def test_what_rounding_again_costs_is_told_and_refused(
    adapter: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"out": tmp_path / "out", "quantize": "nf4", "requantize": True}
    with pytest.raises(UserError, match="merging moves a logit by"):
        merge(Merge(adapter.path, **given))
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    done = merge(Merge(adapter.path, **given, tolerance=10.0))
    said = " ".join(capsys.readouterr().err.split())
    assert "rounded to NF4 again; the mean difference is" in said
    assert done.metrics["largest_difference"] > 10 * done.metrics["mean_difference"] / 10 > 0
    assert 0 < done.metrics["divergence"] < 1
    rounded_ = load_model(tmp_path / "out")
    before = logits_on_samples(rounded_)
    opened, _ = open_model(tmp_path / "out", Machine(torch.device("cpu"), "fp32"))
    assert torch.equal(logits_on_samples(opened), before)
    from danlu.model.adapters.lora import quantise

    quantise(rounded_.requires_grad_(False), Quantization(double=False))
    assert torch.equal(logits_on_samples(rounded_), before)  # what is written is in four bits already


def test_the_command_line_of_merge() -> None:
    found = read(Merge, "merge", ["a", "--quantize", "nf4", "--requantize", "--tolerance", "2"])
    assert found == Merge(Path("a"), quantize="nf4", requantize=True, tolerance=2.0)
