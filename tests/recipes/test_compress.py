"""`danlu compress`: a model that four bits hold exactly, for which less is lost than by rounding it to the nearest."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.artifact import Artifact, changes, load
from danlu.base.errors import UserError
from danlu.cli import main
from danlu.model.adapters.layers import linears
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.merging import round_again
from danlu.model.config import ModelConfig, StateSpace
from danlu.model.hub import load_model
from danlu.model.linear import Linear
from danlu.model.quantized import rounded
from danlu.model.transformer import Transformer
from danlu.recipes import sft
from danlu.recipes.compress import STAGE, Compress, run, sources
from danlu.recipes.merge import Merge
from danlu.recipes.merge import run as merge
from danlu.recipes.sft import Sft
from danlu.recipes.training import save_chat_model
from danlu.tokens.chat import render
from danlu.tokens.tokenizer import Tokenizer

LOSSES = ("whole_loss", "nearest_loss", "chosen_loss")


def recipe(made: Path, world: Path, out: Path, **changes: Any) -> Compress:
    given: dict[str, Any] = {"model": made / "sft", "chats": (str(world / "chats.jsonl"),), "out": out}
    return Compress(**given | {"length": 64, "documents": 24, "held_out_share": 0.2, "precision": "fp32"} | changes)


@pytest.fixture(scope="module")
def small(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(recipe(made, world, tmp_path_factory.mktemp("compress") / "out"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach() for name, layer in linears(load_model(path)) if isinstance(layer, Linear)}


@torch.no_grad()
def moved(one: Transformer, other: Transformer, ids: torch.Tensor) -> float:
    """The mean square of what changes in the logits."""
    return float((one(ids) - other(ids)).square().mean())


def test_answers_change_less_than_by_rounding_to_the_nearest(small: Artifact, made: Path) -> None:
    small.verify()
    assert small.metrics["documents"] == 24
    tokenizer, whole = Tokenizer.load(made / "sft"), load_model(made / "sft")
    nearest = round_again(load_model(made / "sft"))
    chosen = load_model(small.path)
    turns = [
        {"role": "user", "content": "Who likes kites, Hana?"},
        {"role": "assistant", "content": "Hana likes kites."},
    ]
    ids = torch.tensor([render(tokenizer, turns).ids])
    assert moved(chosen, whole, ids) < 0.6 * moved(nearest, whole, ids)


def test_the_three_losses_are_those_of_the_three_models(small: Artifact, made: Path) -> None:
    whole, nearest, chosen = (small.metrics[name] for name in LOSSES)
    assert whole == pytest.approx(load(made / "sft").metrics["held_out_loss"], rel=0.3)
    assert len({whole, nearest, chosen}) == 3
    assert max(nearest, chosen) < whole + 0.2


def test_only_the_layers_of_the_blocks_change_and_four_bits_hold_them(small: Artifact, made: Path) -> None:
    before, after = load_model(made / "sft").state_dict(), load_model(small.path).state_dict()
    changed = weights(small.path)
    assert {name for name in after if not torch.equal(before[name], after[name])} == {f"{n}.weight" for n in changed}
    for weight in changed.values():
        assert torch.equal(rounded(weight, double=False), weight)


def test_qlora_keeps_its_numbers_and_merges_into_the_model_they_are_of(
    small: Artifact, made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step at a rate of next to nothing leaves the loss that was measured."""
    given: Any = {"chats": (str(world / "chats.jsonl"),), "held_out_share": 0.2, "method": "qlora", "steps": 1}
    given |= {"length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 1}
    rate = sft.OptimizerSettings(lr=1e-12)
    plain = sft.run(Sft(model=small.path, out=tmp_path / "out", optimizer=rate, **given)).metrics["held_out_loss"]
    assert plain == pytest.approx(small.metrics["chosen_loss"], abs=2e-3)
    assert abs(small.metrics["nearest_loss"] - small.metrics["chosen_loss"]) > 4e-3
    capsys.readouterr()
    whole = merge(Merge(tmp_path / "out", base=made / "sft", out=tmp_path / "whole"))
    assert "is not what" not in capsys.readouterr().err
    for name, weight in weights(whole.path).items():  # but for the one step
        torch.testing.assert_close(weight, weights(made / "sft")[name], rtol=0, atol=1e-6)
    open_adapter(tmp_path / "out", made / "pretrain")
    assert "is not what" in capsys.readouterr().err
    moved = tmp_path / "another" / "place" / "out"
    shutil.copytree(tmp_path / "out", moved)
    config = moved / "adapter_config.json"
    config.write_text(config.read_text().replace(str(small.path), "gone"))
    with pytest.raises(UserError, match="'gone' is not there"):
        open_adapter(moved)
    open_adapter(moved, made / "sft")


@pytest.mark.parametrize(
    "change", [{"documents": 2}, {"length": 32}, {"held_out_share": 0.4}, {"seed": 1}, {"precision": "bf16"}]
)
def test_each_key_changes_the_codes(small: Artifact, made: Path, world: Path, tmp_path: Path, change: Any) -> None:
    other = run(recipe(made, world, tmp_path / "out", **change))
    one, two = weights(small.path), weights(other.path)
    assert any(not torch.equal(one[name], two[name]) for name in one)


def test_the_same_again_is_the_same(small: Artifact, made: Path, world: Path, tmp_path: Path) -> None:
    again = run(recipe(made, world, tmp_path / "out"))
    assert all(torch.equal(value, weights(again.path)[name]) for name, value in weights(small.path).items())


def test_bad_records_are_let_pass_up_to_their_share(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (world / "chats.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "chats.jsonl").write_text("\n".join(["{broken"] * 9 + lines[:12]), encoding="utf-8")
    given: Any = {"chats": (str(tmp_path / "chats.jsonl"),), "documents": 4}
    with pytest.raises(UserError, match=r"chats\.jsonl"):
        run(recipe(made, world, tmp_path / "out", **given))
    found = run(recipe(made, world, tmp_path / "out", bad_share=0.6, **given)).metrics
    assert found["documents"] == 4
    # Four documents teach the codes little but themselves, and it is said.
    assert found["chosen_loss"] > found["nearest_loss"]
    assert "rounding to the nearest loses less on these" in capsys.readouterr().err


def test_other_conversations_are_another_run(small: Artifact, made: Path, world: Path) -> None:
    same = recipe(made, world, small.path)
    assert changes(small.path, STAGE, same, sources(same)) is None
    other = recipe(made, world, small.path, chats=("package:chatterbot-corpus",))
    assert "chats" in (changes(small.path, STAGE, other, sources(other)) or "")


def test_texts_without_turns_will_do_and_from_the_command_line(made: Path, world: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"Anna likes tea and number {n}. {n} is liked by Ben."}) for n in range(30)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    told = ["compress", str(made / "pretrain"), "--chats", str(tmp_path / "texts.jsonl"), "--length", "64"]
    assert main([*told, "--precision", "fp32", "--out", str(tmp_path / "out")]) == 0
    assert "chosen_loss" in load(tmp_path / "out").metrics


def test_bad_input_is_named(made: Path, world: Path, tmp_path: Path) -> None:
    for change, words in (
        ({"chats": ()}, "chats: needs at least one"),
        ({"documents": 0}, "documents: must be at least 1"),
        ({"length": 1}, "length: must be at least 2"),
        ({"held_out_share": 1.0}, "held_out_share"),
    ):
        with pytest.raises(UserError, match=words):
            recipe(made, world, tmp_path / "out", **change)
    with pytest.raises(UserError, match="also read from"):
        run(recipe(made, world, made / "sft"))
    with pytest.raises(UserError, match="nothing of it fits in 3 tokens"):
        run(recipe(made, world, tmp_path / "out", length=3))
    with pytest.raises(UserError, match="length 4096 is longer"):
        run(recipe(made, world, tmp_path / "out", length=4096))
    given: Any = {"model": made / "pretrain", "chats": (str(world / "chats.jsonl"),), "method": "lora", "steps": 1}
    sft.run(Sft(out=tmp_path / "lora", length=64, batch_tokens=512, precision="fp32", **given))
    with pytest.raises(UserError, match=r"holds an adapter.*danlu merge"):
        run(recipe(made, world, tmp_path / "out", model=tmp_path / "lora"))
    shape = ModelConfig(vocab_size=400, layers=2, width=32, heads=2, kv_heads=2, head_width=16, max_length=64,
                        state_space=StateSpace(state=8, head_width=16, attention_every=2))  # fmt: skip
    save_chat_model(Transformer(shape), Tokenizer.load(made / "sft"), tmp_path / "states")
    with pytest.raises(UserError, match="only blocks of attention"):
        run(recipe(made, world, tmp_path / "out", model=tmp_path / "states"))
    assert not (tmp_path / "out").exists()
