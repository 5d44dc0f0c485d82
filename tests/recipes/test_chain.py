"""The road as a graph: everything runs once, then nothing, then only what has to, and a gate stops it."""

import json
import shutil
from pathlib import Path

import pytest

from danlu.base import artifact, recipe
from danlu.base.errors import UserError
from danlu.recipes import chain
from danlu.recipes.chain import Chain
from tests.recipes.conftest import TUNING, small_chain

STAGES = ["clean", "tokenizer", "tokens", "pretrain", "sft", "dpo", "evaluation", "model"]


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A finished chain that a test may spoil."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def ran(text: str) -> list[str]:
    """The stages that a chain says it ran."""
    said = [line.split(": ", 1) for line in text.splitlines() if line.split(":")[0] in STAGES and ": " in line]
    return [name for name, state in said if state != "up to date"]


def test_the_whole_road(made: Path) -> None:
    for stage in STAGES:
        artifact.load(made / stage, stage).verify()
    results = json.loads((made / "evaluation" / "evaluation.json").read_text())
    assert results["text"]["bits_per_byte"] < 3.0
    assert results["preference"]["accuracy"] == 1.0
    assert results["preference"]["low"] > 0.5
    assert (made / "report.html").exists()
    assert list((made / "plots").glob("*.png"))
    assert (made / "model" / "README.md").read_text().count("pretrain")


def test_the_model_opens_in_transformers(made: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from danlu.model.hub import load_model
    from danlu.tokens.chat import render
    from danlu.tokens.tokenizer import Tokenizer

    ours, theirs = load_model(made / "model"), AutoModelForCausalLM.from_pretrained(made / "model")
    ids = torch.randint(4, 300, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float((ours(ids) - theirs(ids).logits).abs().max()) <= 1e-4
    turns = [{"role": "user", "content": "Who likes tea?"}, {"role": "assistant", "content": "Anna likes 茶."}]
    template = AutoTokenizer.from_pretrained(made / "model").apply_chat_template(turns, return_dict=False)
    assert render(Tokenizer.load(made / "model"), turns).ids == template


def test_a_second_run_does_nothing(world: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    chain.run(small_chain(world, copy))
    assert ran(capsys.readouterr().err) == []
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.parametrize(("gone", "again"), [("sft", ["sft", "dpo", "evaluation", "model"]), ("model", ["model"])])
def test_a_deleted_stage_and_those_after_it_run(
    world: Path, copy: Path, gone: str, again: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (copy / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(copy / gone)
    chain.run(small_chain(world, copy))
    assert ran(capsys.readouterr().err) == again
    assert (copy / "model" / "model.safetensors").read_bytes() == weights


def test_a_changed_recipe_says_what_changed(world: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = small_chain(world, copy)
    changed = Chain(**{**changed.__dict__, "set": (*changed.set, "dpo.beta=0.2")})
    chain.run(changed)
    said = capsys.readouterr().err
    assert ran(said) == ["dpo", "evaluation", "model"]
    assert "recipe changed: beta 0.1 → 0.2" in said


def test_changed_data_says_which(world: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = tmp_path / "chats.jsonl"
    lines = (world / "chats.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    more.write_text("".join(lines[:-5]), encoding="utf-8")
    node = next(n for n in chain.nodes(small_chain(world, copy, chats=(str(more),))) if n.name == "sft")
    assert (node.reason() or "").startswith(("input changed", "recipe changed"))


def test_a_chain_that_ends_in_an_adapter_leaves_a_whole_model(
    world: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from danlu.model.hub import load_model
    from danlu.tokens.tokenizer import Tokenizer

    tuning = [text for text in TUNING if not text.startswith("dpo")]
    given = {"preferences": (), "set": (*tuning, "clean.validation_share=0.1", "sft.method=lora", "sft.epochs=1")}
    chain.run(small_chain(world, copy, **given))
    said = capsys.readouterr().err
    assert ran(said) == ["sft", "evaluation", "model"]
    assert "(--method lora: " in said
    assert (copy / "sft" / "adapter_config.json").is_file()
    made = artifact.load(copy / "model", "model")
    made.verify()
    assert set(made.manifest["inputs"]) == {"model", "base"}
    assert 0 < made.metrics["largest_difference"] < 1e-4
    ids = torch.tensor([Tokenizer.load(made.path).encode("Anna likes tea.")])
    with torch.no_grad():
        wanted, found = (load_model(path)(ids) for path in (copy / "sft", made.path))
        base, theirs = load_model(copy / "pretrain")(ids), AutoModelForCausalLM.from_pretrained(made.path)(ids).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(theirs, wanted, rtol=0, atol=1e-4)
    assert float((wanted - base).abs().max()) > 1e-2
    chain.run(small_chain(world, copy, **given))
    assert ran(capsys.readouterr().err) == []


def test_stages_without_data_are_left_out(world: Path, tmp_path: Path) -> None:
    base = small_chain(world, tmp_path, chats=(), preferences=(), set=())
    assert [node.name for node in chain.nodes(base)] == [
        "clean",
        "tokenizer",
        "tokens",
        "pretrain",
        "evaluation",
        "model",
    ]
    sampled = small_chain(world, tmp_path, preferences=("sampled",), set=())
    assert [node.name for node in chain.nodes(sampled)][5:7] == ["preferences", "dpo"]


def test_a_gate_stops_and_keeps(world: Path, copy: Path) -> None:
    shutil.rmtree(copy / "sft")
    with pytest.raises(UserError, match=r"the gate 'bits_per_byte < 0.01' is not met: bits_per_byte is"):
        chain.run(small_chain(world, copy, gates=("bits_per_byte < 0.01",)))
    assert artifact.find(copy / "pretrain")
    assert not (copy / "sft").exists()
    chain.run(small_chain(world, copy, gates=("bits_per_byte < 8", "preference_accuracy > 0.5")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ()}, "needs at least one file"),
        ({"chats": ()}, "preferences need chats"),
        ({"gates": ("bits_per_bite < 1",)}, "Did you mean 'bits_per_byte'"),
        ({"gates": ("small",)}, "is not a condition"),
    ],
)
def test_chains_that_make_no_sense(world: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_chain(world, tmp_path, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pretrian.lr=1", "there is no stage 'pretrian'. Did you mean 'pretrain'"),
        ("pretrain.optimizer.lrr=1", "unknown key 'lrr'. Did you mean 'lr'"),
        ("pretrain.optimizer.lr=fast", "expected float"),
        ("pretrain", "is not a change"),
    ],
)
def test_changes_that_make_no_sense(world: Path, tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chain.nodes(small_chain(world, tmp_path, set=(change,)))


def test_the_written_recipe_reruns(world: Path, tmp_path: Path) -> None:
    given = small_chain(world, tmp_path)
    recipe.save(given, tmp_path / "chain.yaml")
    assert recipe.load(Chain, tmp_path / "chain.yaml") == given


def test_lineage_reaches_the_sources(made: Path, world: Path) -> None:
    rows = artifact.lineage(made / "model")
    assert [stage for _, stage, _, _ in rows][:5] == ["model", "dpo", "sft", "pretrain", "tokens"]
    sources = {path.name for _, stage, path, _ in rows if stage == "source"}
    assert sources == {"text", "chats.jsonl", "pairs.jsonl"}
