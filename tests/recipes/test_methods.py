"""`danlu sft` with the methods beside LoRA: each learns, stops and goes on exactly, and is used wherever a model is."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.cli import read
from danlu.model.adapters import kinds
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.method_settings import Bottleneck, Ia3, Other, Prefix, Prompt, Ptuning
from danlu.model.adapters.settings import Freeze, Lora
from danlu.model.config import ModelConfig
from danlu.model.hub import load_model, read_config
from danlu.model.transformer import Transformer
from danlu.recipes import chat, dpo, evaluation, preferences
from danlu.recipes.chat import Chat
from danlu.recipes.dpo import Dpo
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.merge import Merge
from danlu.recipes.merge import run as merge
from danlu.recipes.methods import RATES, method_settings
from danlu.recipes.methods import words as text_ids
from danlu.recipes.preferences import SamplePreferences
from danlu.recipes.sft import Sft, run
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.hooks import Hook
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.train.conftest import loop
from tests.train.test_loop import Losses, Stop

METHODS: dict[str, Other] = {
    "adapter": Bottleneck(width=8),
    "prefix": Prefix(tokens=6),
    "prompt": Prompt(tokens=6),
    "ptuning": Ptuning(tokens=6, hidden=12),
    "ia3": Ia3(),
}
FASTER = {"adapter": 1e-2, "prefix": 5e-2, "prompt": 5e-2, "ptuning": 1e-2, "ia3": 1e-1}
VIRTUAL = ("prefix", "prompt", "ptuning")


def recipe(made: Path, world: Path, out: Path, method: str, **changes: Any) -> Sft:
    values: dict[str, Any] = {"epochs": 3, "length": 48, "batch_tokens": 384, "precision": "fp32", "evaluations": 2}
    values |= {"optimizer": OptimizerSettings(lr=FASTER[method]), "prompts": ("Who likes tea, Anna?",)}
    given = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "out": out, "method": method}
    return Sft(**given | {method: METHODS[method]} | values | changes)


@pytest.fixture(scope="module")
def trained(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """An adapter of each method."""
    folder = tmp_path_factory.mktemp("methods")
    return {method: run(recipe(made, world, folder / method, method)) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_and_leaves_an_adapter(made: Path, trained: dict[str, Artifact], method: str) -> None:
    found = trained[method]
    found.verify()
    outputs = set(found.manifest["outputs"])
    assert outputs >= {CONFIG, WEIGHTS, "tokenizer.json", "recipe.yaml"}
    assert "model.safetensors" not in outputs
    rows = [json.loads(line) for line in (found.path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    held_out = [row["loss"] for row in rows if row["kind"] == "eval"]
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])
    assert held_out[-1] < held_out[0]
    held = sum(value.numel() for value in load_file(found.path / WEIGHTS).values())
    learned = found.metrics["trained_parameters"]
    assert held == learned or method == "ptuning"  # whose network is left out
    assert learned < found.metrics["parameters"] / 2
    assert open_adapter(found.path).config == read_config(found.path)
    taken = 6 if method in VIRTUAL else 0
    assert read_config(found.path).max_length == read_config(made / "pretrain").max_length - taken


@pytest.mark.parametrize("method", METHODS)
def test_wherever_a_model_is_used(
    world: Path, trained: dict[str, Artifact], tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = trained[method].path
    few: dict[str, Any] = {"max_new_tokens": 6, "precision": "fp32"}
    found = evaluation.run(Evaluate(path, out=tmp_path / "eval", chats=world / "chats.jsonl", answers=3, **few))
    assert "stop_rate" in found.metrics
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who likes tea, Anna?\n"))
    chat.run(Chat(path, temperature=0.0, max_new_tokens=6))
    assert capsys.readouterr().out.strip()
    given: dict[str, Any] = {"model": path, "chats": (str(world / "chats.jsonl"),), "out": tmp_path / "pairs"}
    sampled = SamplePreferences(**given, prompts=4, answers=2, temperature=1.5, least_difference=0.0, **few)
    assert preferences.run(sampled).path.is_dir()


@pytest.mark.parametrize("method", METHODS)
def test_merged_or_refused_with_the_reason(
    made: Path, world: Path, trained: dict[str, Artifact], tmp_path: Path, method: str
) -> None:
    """What cannot be merged cannot be trained on, either; it is said before anything is written."""
    path, few = trained[method].path, {"length": 48, "precision": "fp32"}
    pairs: dict[str, Any] = {"preferences": (str(world / "pairs.jsonl"),), "out": tmp_path / "dpo", "steps": 1, **few}
    again: dict[str, Any] = {"chats": (str(world / "chats.jsonl"),), "out": tmp_path / "sft", "steps": 1, **few}
    stages: list[Any] = [
        lambda: merge(Merge(path, out=tmp_path / "merged")),
        lambda: dpo.run(Dpo(model=path, **pairs)),
        lambda: run(Sft(model=path, batch_tokens=96, **again)),
    ]
    if method != "ia3":
        for stage in stages:
            with pytest.raises(UserError, match=rf"{method}: cannot be merged: .*Use it as it is: 'danlu chat'"):
                stage()
        assert list(tmp_path.iterdir()) == []
        return
    for stage in stages:
        assert "model.safetensors" in stage().manifest["outputs"]
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        wanted, found = open_adapter(path)(ids), load_model(tmp_path / "merged")(ids)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_sum_is_merged(made: Path, world: Path, tmp_path: Path) -> None:
    """0.5 of an adapter twice is the adapter once; --weights alone makes one weaker."""
    few: dict[str, Any] = {"epochs": 0.5, "length": 48, "batch_tokens": 384, "precision": "fp32", "evaluations": 1}
    given: dict[str, Any] = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "method": "lora"}
    one = run(Sft(out=tmp_path / "one", optimizer=OptimizerSettings(lr=2e-2), **given, **few)).path
    words = [str(one), "--add", str(one), "--weights", "0.25", "0.75", "--out", str(tmp_path / "sum")]
    summed = merge(read(Merge, "merge", words))
    assert set(summed.manifest["inputs"]) == {"adapter", "adapter 2", "base"}
    whole, base = merge(Merge(one, out=tmp_path / "whole")), load_model(made / "pretrain").state_dict()
    half = merge(Merge(one, out=tmp_path / "half", weights=(0.5,)))
    twice = merge(Merge(one, out=tmp_path / "twice", add=(one,)))
    states = [load_model(found.path).state_dict() for found in (whole, summed, half, twice)]
    for name, value in base.items():
        changes = [state[name] - value for state in states]
        for change, share in zip(changes, (1.0, 1.0, 0.5, 2.0), strict=True):
            torch.testing.assert_close(change, changes[0] * share, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="recipe: weights: 2 adapters need as many weights, found 1"):
        Merge(one, add=(one,), weights=(1.0,))


def test_adapters_of_two_bases_do_not_add_up(made: Path, world: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"steps": 1, "length": 48, "batch_tokens": 96, "precision": "fp32", "evaluations": 1}
    given: dict[str, Any] = {"chats": (str(world / "chats.jsonl"),), "method": "lora"}
    paths = [run(Sft(model=made / base, out=tmp_path / base, **given, **few)).path for base in ("pretrain", "sft")]
    with pytest.raises(UserError, match=r"sft: its base is .*/sft, and the first one's .*/pretrain"):
        merge(Merge(paths[0], out=tmp_path / "sum", add=(paths[1],)))
    assert not (tmp_path / "sum").exists()


def test_one_switches_while_talking(
    made: Path, trained: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "Who likes tea, Anna?"

    def said(model: Path, *lines: str, adapters: tuple[Path, ...] = ()) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
        chat.run(Chat(model, adapters=adapters, temperature=0.0, max_new_tokens=12))
        found = capsys.readouterr()
        return found.out, found.err

    base, paths = made / "pretrain", tuple(trained[method].path for method in ("prefix", "ia3"))
    alone = [said(path, question)[0] for path in (base, *paths)]
    lines = [question, "/adapter prefix", question, "/adapter ia3", question, "/adapter none", question]
    found, told = said(base, *lines, adapters=paths)
    assert found == "".join([*alone, alone[0]])
    assert len(set(alone)) > 1
    assert "adapters: prefix, ia3; now ia3" in told
    assert "there is no adapter 'x'" in said(base, "/adapter x", "/adapter", adapters=paths)[1]
    assert "there are no adapters to switch to. Give some with --adapters" in said(base, "/adapter prefix")[1]
    with pytest.raises(UserError, match="recipe: adapters: the folders' names must differ"):
        said(base, question, adapters=(paths[0], paths[0]))
    with pytest.raises(UserError, match="an adapter is on the model already"):
        said(paths[0], question, adapters=paths)


KEYS: list[tuple[list[str], dict[str, Any]]] = [
    (["adapter", "--adapter.kind", "houlsby"], {"kind": "houlsby"}),
    (["adapter", "--adapter.width", "5"], {"width": 5}),
    (["adapter", "--adapter.activation", "silu"], {"activation": "silu"}),
    (["adapter", "--adapter.scale", "4"], {"scale": 4.0}),
    (["prefix", "--prefix.tokens", "3"], {"num_virtual_tokens": 3}),
    (["prefix", "--prefix.init", "random"], {}),
    (["prefix", "--prefix.init", "text", "--prefix.text", "Anna likes"], {}),
    (["prefix", "--prefix.projection"], {"prefix_projection": True}),
    (["prefix", "--prefix.projection", "--prefix.hidden", "7"], {"encoder_hidden_size": 7}),
    (["prompt", "--prompt.tokens", "3"], {"num_virtual_tokens": 3}),
    (["prompt", "--prompt.init", "random"], {}),
    (["prompt", "--prompt.init", "text", "--prompt.text", "Anna likes"], {}),
    (["ptuning", "--ptuning.tokens", "3"], {"num_virtual_tokens": 3}),
    (["ptuning", "--ptuning.encoder", "lstm"], {"encoder_reparameterization_type": "LSTM"}),
    (["ptuning", "--ptuning.hidden", "9"], {"encoder_hidden_size": 9}),
    (["ptuning", "--ptuning.encoder", "lstm", "--ptuning.layers", "1"], {"encoder_num_layers": 1}),
    (["ia3", "--ia3.targets", "q_proj"], {"target_modules": ["q_proj"]}),
    (["ia3", "--ia3.targets", "q_proj", "--ia3.inputs", "q_proj"], {"feedforward_modules": ["q_proj"]}),
]


def attached(made: Path, words: list[str]) -> tuple[Transformer, dict[str, Any]]:
    """The model that the command line's words make before the first step, all of it moved a little; its files' words."""
    model = load_model(made / "pretrain")
    recipe = read(Sft, "sft", ["--model", str(made / "pretrain"), "--chats", "x", "--method", *words])
    tokenizer = Tokenizer.load(made / "pretrain")
    adapter = attach(model, method_settings(recipe), recipe.model, 0, text_ids(recipe, tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert not isinstance(adapter.settings, Lora)
    return model, kinds.config(model, adapter.settings, adapter.layers, adapter.base)


@pytest.mark.parametrize(
    ("words", "wanted"), KEYS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_every_key_arrives(made: Path, words: list[str], wanted: dict[str, Any]) -> None:
    """What it says is in the files, and it changes what the model says."""
    ids = torch.arange(20).unsqueeze(0)
    model, config = attached(made, words)
    without = words[:-2] if words[0] in ("ia3", "ptuning") and len(words) > 3 else words[:1]
    with torch.no_grad():
        found, plain = model(ids), attached(made, without)[0](ids)
    assert config | wanted == config
    assert not torch.equal(found, plain)


def test_what_a_text_says_is_where_it_begins(made: Path, world: Path, tmp_path: Path) -> None:
    """At a rate that moves nothing."""
    words = ["prompt", "--prompt.tokens", "4", "--prompt.init", "text", "--prompt.text", "Anna likes tea"]
    given = ["--model", str(made / "pretrain"), "--chats", str(world / "chats.jsonl"), "--out", str(tmp_path / "out")]
    few = ["--steps", "1", "--length", "40", "--batch-tokens", "80", "--prompts", "Hello", "--evaluations", "1"]
    few += ["--precision", "fp32", "--optimizer.lr", "1e-30"]
    found = load_file(run(read(Sft, "sft", [*given, *few, "--method", *words])).path / WEIGHTS)["prompt_embeddings"]
    ids = Tokenizer.load(made / "pretrain").encode("Anna likes tea")
    wanted = load_model(made / "pretrain").embed.weight[[ids[i % len(ids)] for i in range(4)]]
    torch.testing.assert_close(found, wanted.detach(), rtol=0, atol=1e-9)


def test_each_method_has_a_learning_rate_of_its_own(made: Path) -> None:
    for method in METHODS:
        found: Sft = read(Sft, "sft", ["--model", str(made), "--chats", "x", "--method", method])
        assert found.settings(1).optimizer.lr == RATES[method]  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("prefix", {"prompt": Prompt(tokens=3)}, "recipe: prompt: only --method prompt has such keys"),
        ("prefix", {"length": 60}, "length 60 and 6 virtual tokens .* more than the 64 tokens .* Use --length 58"),
        ("prompt", {"prompt": Prompt(tokens=63)}, "63 virtual tokens .* Use fewer of them"),
        ("ia3", {"ia3": Ia3(targets=("query",))}, "recipe: ia3.targets: no layer is called 'query'"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    made: Path, world: Path, tmp_path: Path, method: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(recipe(made, world, tmp_path / "out", method, **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        (Prefix, {"tokens": 0}, "prefix.tokens: must be at least 1, found 0"),
        (Prefix, {"hidden": 8}, "prefix.hidden: is a projection's, and there is none"),
        (Prefix, {"projection": True, "hidden": -1}, "prefix.hidden: must not be negative"),
        (Prefix, {"projection": True, "init": "text", "text": "a"}, "prefix.init: a projection begins at random"),
        (Prefix, {"text": "Anna"}, "recipe: prefix.text: is what the virtual tokens begin as"),
        (Prompt, {"init": "text"}, "recipe: prompt.text"),
        (Prompt, {"tokens": 0}, "prompt.tokens"),
        (Ptuning, {"layers": 3}, "ptuning.layers: is for encoder lstm"),
        (Ptuning, {"encoder": "lstm", "layers": 0}, "ptuning.layers: must be at least 1"),
        (Ptuning, {"hidden": -1}, "ptuning.hidden"),
        (Ptuning, {"tokens": 0}, "ptuning.tokens"),
    ],
)
def test_settings_that_make_no_sense(kind: Any, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        kind(**keys)


def prepared(folder: Path, settings: Other, hooks: Any = (), precision: str = "fp32", **changes: Any) -> Loop:
    """A run of the loop on a model that is frozen but for its adapter."""
    shape = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 1, "head_width": 16, "feedforward": 64}
    net = Transformer(ModelConfig(vocab_size=32, max_length=64, **shape), 0)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a new model's last matrices are zero, and let no gradient through
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    attach(net, settings, folder, 0)
    values: dict[str, Any] = {"optimizer": OptimizerSettings(lr=1e-2, epsilon=1e-3), "steps": 6, "checkpoint_every": 2}
    return loop(folder / "checkpoints", TrainSettings(**values | changes), precision, model=net, hooks=hooks)


def weights(found: Loop) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in found.model.named_parameters()}


LOOPS: list[Other] = [*METHODS.values(), Ptuning(tokens=3, encoder="lstm", layers=1), Prefix(tokens=3, projection=True)]


@pytest.mark.parametrize("settings", LOOPS, ids=lambda s: type(s).__name__.lower())
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, settings: Other) -> None:
    for precision in ("fp32", "bf16"):
        whole = prepared(tmp_path / f"whole-{precision}", settings, [Hook()], precision)
        before = weights(whole)
        whole.run()
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path / precision, settings, [Stop(3)], precision).run()
        resumed = prepared(tmp_path / precision, settings, [Hook()], precision)
        resumed.run()
        wanted, found = weights(whole), weights(resumed)
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
        learning = {name for name, p in whole.model.named_parameters() if p.requires_grad}
        assert {name for name in wanted if not torch.equal(before[name], wanted[name])} == learning
    (file, *_) = (tmp_path / "fp32" / "checkpoints").glob("step-*/tensors.safetensors")
    assert {n.removeprefix("model.") for n in load_file(file) if n.startswith("model.")} == learning


@pytest.mark.parametrize("settings", LOOPS, ids=lambda s: type(s).__name__.lower())
def test_micro_batches_give_the_same_update(tmp_path: Path, settings: Other) -> None:
    ends, losses = [], Losses()
    for parts in (1, 4):
        found = prepared(tmp_path / str(parts), settings, [losses], steps=3, micro_batches=parts)
        found.run()
        ends.append(weights(found))
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=0, atol=2e-6, msg=name)
    assert losses.seen[:3] == pytest.approx(losses.seen[3:], abs=1e-5)


class Begun(Exception):
    """Training would start now."""


def test_the_base_is_kept_in_the_format_of_computation(
    made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under an adapter alone: a model that is written whole must not be rounded."""

    def kept(method: Any, **own: Any) -> set[torch.dtype]:
        def look(self: Loop) -> Any:
            found.extend(p.dtype for p in self.model.parameters() if p.dim() == 2 and not p.requires_grad)
            raise Begun

        found = list[torch.dtype]()
        monkeypatch.setattr(Loop, "run", look)
        told = replace(recipe(made, world, tmp_path / method, "ia3", precision="bf16"), ia3=Ia3(), method=method, **own)
        with pytest.raises(Begun):
            run(told)
        return set(found)

    assert kept("lora") == {torch.bfloat16}
    assert kept("freeze", freeze=Freeze(last_layers=0, names=("norm",))) == {torch.float32}
