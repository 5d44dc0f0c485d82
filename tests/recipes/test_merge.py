"""`danlu merge`: the merged model says what the unmerged says, opens in transformers, and is refused where it does not."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.cli import read
from danlu.model.adapters.files import CONFIG, WEIGHTS
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.settings import Lora
from danlu.model.hub import load_model
from danlu.recipes import chat, extend
from danlu.recipes.chat import Chat
from danlu.recipes.extend import Extend
from danlu.recipes.merge import Merge, run
from danlu.recipes.sft import Sft
from danlu.recipes.sft import run as sft
from danlu.recipes.training import Machine, open_model
from danlu.tokens.chat import render
from danlu.tokens.extending.note import EXTENSION
from danlu.tokens.tokenizer import Tokenizer

CHINESE = ["话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。"] * 6


@pytest.fixture(scope="module")
def trained(made: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base``, ``base-zh`` with more tokens, and ``adapter``, trained on the latter, in one folder."""
    root = tmp_path_factory.mktemp("adapted")
    shutil.copytree(made / "pretrain", root / "base")
    (root / "zh.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in CHINESE), encoding="utf-8")
    corpus = (str(root / "zh.jsonl"),)
    extended = extend.run(Extend(root / "base", corpus, root / "base-zh", add=30, min_count=2)).path
    few: dict[str, Any] = {"epochs": 3, "length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 1}
    chats = (str(world / "chats.jsonl"),)
    sft(Sft(model=extended, chats=chats, out=root / "adapter", method="lora", lora=Lora(rank=4), **few))
    return root


@pytest.fixture(scope="module")
def merged(trained: Path) -> Artifact:
    return run(Merge(trained / "adapter", out=trained / "merged"))


def ids_of(path: Path) -> torch.Tensor:
    text = "天下大势，分久必合。Who likes tea, Anna?"
    return torch.tensor(
        [render(Tokenizer.load(path), [{"role": "user", "content": text}], add_generation_prompt=True).ids]
    )


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model(ids)
    return found if isinstance(found, torch.Tensor) else found.logits


def test_the_adapter_loads_alone_on_the_original_base(trained: Path) -> None:
    """To the bit, with the tokenizer that the extension made."""
    ids = ids_of(trained / "adapter")
    first = json.loads((trained / "adapter" / EXTENSION).read_text())["old_vocab"]
    assert int(ids.max()) >= first == Tokenizer.load(trained / "base").vocab_size
    assert load_model(trained / "base").config.vocab_size < int(ids.max()) + 1
    one, other = (open_adapter(trained / "adapter", trained / name) for name in ("base", "base-zh"))
    assert torch.equal(logits(one, ids), logits(other, ids))
    assert Tokenizer.load(trained / "adapter").chat_template


def test_it_finds_the_original_when_the_extended_base_is_gone(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "base", tmp_path / "base")
    shutil.copytree(trained / "adapter", tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": "gone"}))
    (tmp_path / "adapter" / "manifest.json").unlink()
    ids = ids_of(trained / "adapter")
    assert torch.equal(logits(open_adapter(tmp_path / "adapter"), ids), logits(open_adapter(trained / "adapter"), ids))


@pytest.mark.parametrize("base", [None, "base", "base-zh"])
def test_merged_equals_unmerged(trained: Path, tmp_path: Path, base: str | None) -> None:
    given = None if base is None else trained / base
    found = run(Merge(trained / "adapter", base=given, out=tmp_path / "out"))
    ids = ids_of(trained / "adapter")
    wanted = logits(open_adapter(trained / "adapter"), ids)
    torch.testing.assert_close(logits(load_model(found.path), ids), wanted, rtol=0, atol=4e-5)
    assert 0 < found.metrics["largest_difference"] < 4e-5
    assert float((wanted - logits(load_model(trained / "base-zh"), ids)).abs().max()) > 0.1


def test_transformers_opens_it(trained: Path, merged: Artifact) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, said = AutoModelForCausalLM.from_pretrained(merged.path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = ids_of(trained / "adapter")
    wanted = logits(open_adapter(trained / "adapter"), ids)
    torch.testing.assert_close(logits(theirs, ids), wanted, rtol=0, atol=1e-4)
    turns = [{"role": "user", "content": "天下大势，分久必合。Who likes tea, Anna?"}]
    words = AutoTokenizer.from_pretrained(merged.path)
    assert words.apply_chat_template(turns, return_dict=False, add_generation_prompt=True) == ids[0].tolist()


@pytest.mark.filterwarnings("ignore::Warning")  # of two libraries that are not ours
@pytest.mark.parametrize("base", ["base", "base-zh"])
def test_peft_makes_the_same_model_of_either_base(trained: Path, base: str) -> None:
    """Of the one from before the extension too, once its tables have been given their rows, as AutoPeftModel does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    plain = AutoModelForCausalLM.from_pretrained(trained / base)
    plain.resize_token_embeddings(len(AutoTokenizer.from_pretrained(trained / "adapter")))
    ids = ids_of(trained / "adapter")
    wanted = logits(open_adapter(trained / "adapter"), ids)
    found = logits(peft.PeftModel.from_pretrained(plain, trained / "adapter"), ids)
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-5)


def test_the_command_line_says_it() -> None:
    words = ["runs/a", "--base", "runs/b", "--out", "runs/c", "--tolerance", "1e-5"]
    assert read(Merge, "merge", words) == Merge(Path("runs/a"), Path("runs/b"), Path("runs/c"), 1e-5)


def test_it_is_told_and_noted(
    trained: Path, merged: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = artifact.load(merged.path, "merge")
    found.verify()
    assert set(found.manifest["inputs"]) == {"adapter", "base"}
    again = run(Merge(trained / "adapter", out=tmp_path / "again"))
    assert f"merged against unmerged: {again.metrics['largest_difference']:.2g}" in capsys.readouterr().err
    assert (again.path / "model.safetensors").read_bytes() == (merged.path / "model.safetensors").read_bytes()


def test_another_base_of_the_same_shape_is_told(made: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for base in ("base", "base-zh"):
        open_adapter(trained / "adapter", trained / base)
    assert "is not what" not in capsys.readouterr().err
    open_adapter(trained / "adapter", made / "sft")
    said = capsys.readouterr().err.replace("\n", "")  # the terminal breaks long lines
    assert f"{made / 'sft'} is not what {trained / 'adapter'} was trained on" in said


def broken(trained: Path, path: Path, size: float) -> Path:
    """The adapter with twice as much rank, which cancels: exactly on paper, and not where large numbers are rounded."""
    shutil.copytree(trained / "adapter", path)
    (path / "manifest.json").unlink()
    torch.manual_seed(0)
    tensors = load_file(path / WEIGHTS)
    for name, a in dict(tensors).items():
        if name.endswith("lora_A.weight"):
            other = name.replace("lora_A", "lora_B")
            more = torch.randn_like(tensors[other]) * size
            tensors[name] = torch.cat((a, a, a))
            tensors[other] = torch.cat((tensors[other], more, -more), dim=1)
    config = json.loads((path / CONFIG).read_text())
    (path / CONFIG).write_text(json.dumps(config | {"r": 12, "lora_alpha": 3 * config["lora_alpha"]}))
    save_file(tensors, path / WEIGHTS)
    return path


@pytest.mark.parametrize("size", [1e6, float("nan")])
def test_a_merge_that_moves_logits_is_refused(trained: Path, tmp_path: Path, size: float) -> None:
    adapter = broken(trained, tmp_path / "broken", size)
    with pytest.raises(UserError, match=r"merging moves a logit by .*Use it unmerged, or raise --tolerance"):
        run(Merge(adapter, base=trained / "base-zh", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    run(Merge(broken(trained, tmp_path / "whole", 0.0), base=trained / "base-zh", out=tmp_path / "out"))


def test_the_tolerance_decides(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="and 0 is let pass"):
        run(Merge(trained / "adapter", out=tmp_path / "out", tolerance=0.0))
    with pytest.raises(UserError, match="recipe: tolerance: must not be negative"):
        Merge(trained / "adapter", tolerance=-1.0)


def test_what_cannot_be_merged_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        run(Merge(tmp_path / "nothing", out=tmp_path / "out"))
    with pytest.raises(UserError, match=f"{CONFIG}: no such file"):
        run(Merge(trained / "base", out=tmp_path / "out"))
    with pytest.raises(UserError, match="is also read from"):
        run(Merge(trained / "adapter", out=trained / "base-zh"))
    assert not (tmp_path / "out").exists()


def test_an_adapter_without_a_tokenizer_takes_its_bases(trained: Path, tmp_path: Path) -> None:
    """peft writes none unless it is asked to."""
    path = tmp_path / "adapter"
    shutil.copytree(trained / "adapter", path)
    for name in ("tokenizer.json", "tokenizer_config.json", "manifest.json"):
        (path / name).unlink()
    wanted = Tokenizer.load(trained / "base-zh").encode("天下大势")
    assert open_model(path, Machine(torch.device("cpu"), "fp32"))[1].encode("天下大势") == wanted
    assert Tokenizer.load(run(Merge(path, out=tmp_path / "out")).path).encode("天下大势") == wanted


def test_one_can_talk_with_an_adapter(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for model in ("adapter", "merged"):
        run(Merge(trained / "adapter", out=trained / "merged"))
        monkeypatch.setattr(sys, "stdin", io.StringIO("Who likes tea, Anna?\n"))
        chat.run(Chat(trained / model, temperature=0.0, max_new_tokens=12))
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != ""
