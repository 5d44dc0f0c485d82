"""The command line: exit codes, one sentence for each mistake, nothing half-written, no torch for help."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.cli import main


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with exit code 2 and one sentence; returns the sentence."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    sentences = [line for line in said.splitlines() if line.startswith("danlu: ")]
    assert len(sentences) == 1, said
    return sentences[0]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage: danlu COMMAND" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert main([]) == 2


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'pretrain'" in fails(capsys, "pretrian")


def test_commands_of_two_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "--help"]) == 0
    listed = capsys.readouterr().out
    assert "usage: danlu tokenizer COMMAND" in listed
    assert [line.split()[0] for line in listed.split("\n\n")[2].splitlines()] == ["train", "extend", "report"]
    assert main(["tokenizer"]) == 2
    assert capsys.readouterr().out == listed
    assert "Did you mean 'tokenizer train'" in fails(capsys, "tokenizer", "trian")
    assert "there is no command 'tokenizer --data'" in fails(capsys, "tokenizer", "--data", "x")
    assert "needs at least one directory" in fails(capsys, "tokenizer", "train")
    with pytest.raises(SystemExit) as ended:
        main(["tokenizer", "report", "--help"])
    assert ended.value.code == 0
    assert "usage: danlu tokenizer report" in capsys.readouterr().out


def test_unknown_flags_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--data", "x", "--sizes", "3M"])
    assert ended.value.code == 2


def test_recipes_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: nowhere\nsise: 3M\n")
    assert "unknown key 'sise'. Did you mean 'size'?" in fails(capsys, "pretrain", "--config", file)
    file.write_text("data: [")
    assert "not valid YAML" in fails(capsys, "pretrain", "--config", file)
    file.write_text("data: nowhere\nsize: 3M\nprecision: int3\n")
    assert "precision: 'int3' is not one of the choices" in fails(capsys, "pretrain", "--config", file)
    assert "no such file" in fails(capsys, "pretrain", "--config", tmp_path / "none.yaml")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    from danlu.cli import read
    from danlu.recipes.pretrain import Pretrain

    file = tmp_path / "recipe.yaml"
    file.write_text("data: somewhere\nsize: 3M\noptimizer: {lr: 1e-3}\n")
    found = read(Pretrain, "pretrain", ["--config", str(file), "--size", "7M"])
    assert (str(found.data), found.size, found.optimizer.lr) == ("somewhere", "7M", 1e-3)


def test_inputs_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "no such file" in fails(capsys, "clean", tmp_path / "none.txt", "--out", out)
    assert "holds nothing" in fails(capsys, "pretrain", "--data", tmp_path / "none", "--out", out)
    assert "no such file" in fails(capsys, "sft", "--model", tmp_path / "none", "--chats", "x.jsonl", "--out", out)
    assert "no such file" in fails(capsys, "chat", tmp_path / "none")
    assert "no such file" in fails(capsys, "lineage", tmp_path / "none")
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt: is empty"),
        ("a.jsonl", b'{"body": 1}\n{"tex\n{"te\n', "no document is left"),
        ("a.parquet", b"PAR1", "no document is left"),
    ],
)
def test_bad_text(tmp_path: Path, name: str, content: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in fails(capsys, "clean", tmp_path / name, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, "chats.jsonl, line 1: no assistant turn"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "unknown role 'robot'"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}, "empty assistant"),
    ],
)
def test_bad_chats(
    made: Path, tmp_path: Path, record: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chats.jsonl").write_text(json.dumps(record) + "\n")
    out = tmp_path / "out"
    said = fails(
        capsys, "sft", "--model", made / "pretrain", "--chats", tmp_path / "chats.jsonl", "--out", out, "--length", 64
    )
    assert message in said
    assert not out.exists()


def test_bad_preferences(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}) + "\n")
    said = fails(
        capsys, "dpo", "--model", made / "sft", "--preferences", tmp_path / "pairs.jsonl", "--out", tmp_path / "out",
        "--length", 64,
    )  # fmt: skip
    assert "pairs.jsonl, line 1: chosen and rejected are equal" in said
    assert not (tmp_path / "out").exists()


def test_lengths_and_vocabularies(made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chats, out = world / "chats.jsonl", tmp_path / "out"
    said = fails(capsys, "sft", "--model", made / "pretrain", "--chats", chats, "--out", out, "--length", 512)
    assert "length 512 is longer than the 64 tokens that the model allows" in said
    said = fails(
        capsys, "sft", "--model", made / "pretrain", "--chats", chats, "--out", out, "--length", 8, "--batch-tokens", 64
    )
    assert "no conversation is left to train on" in said
    shutil.copytree(made / "pretrain", tmp_path / "model")
    (tmp_path / "model" / "manifest.json").unlink()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"vocab_size": 50}))
    assert "shape" in fails(
        capsys, "sft", "--model", tmp_path / "model", "--chats", chats, "--out", out, "--length", 64
    )
    assert not out.exists()


def test_damaged_models(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(made / "model", model)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    assert "differs from what its manifest says" in fails(capsys, "chat", model)
    (model / "manifest.json").unlink()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "cannot be read as safetensors" in fails(capsys, "chat", model)


def test_an_unfinished_run_of_another_recipe(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from danlu.base import artifact
    from danlu.recipes.pretrain import Pretrain, sources

    old = Pretrain(data=made / "tokens", out=tmp_path / "out", size="100K", length=64, batch_tokens=512)
    artifact.begin(old.out, "pretrain", old, sources(old))
    said = fails(
        capsys,
        "pretrain",
        "--data",
        made / "tokens",
        "--out",
        old.out,
        "--size",
        "200K",
        "--length",
        64,
        "--batch-tokens",
        512,
    )
    assert "holds an unfinished run of another recipe (recipe.size 100K → 200K)" in said
    assert "--fresh" in said


def test_somebody_elses_folder_is_left_alone(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    said = fails(
        capsys, "pretrain", "--data", made / "tokens", "--out", tmp_path, "--length", 64, "--batch-tokens", 512
    )
    assert "is not empty and was not made by Danlu" in said
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        said = fails(
            capsys, "pretrain", "--data", made / "tokens", "--out", disk / "out", "--size", "200K", "--length", 64,
            "--batch-tokens", 512, "--checkpoint-every", 1, "--precision", "fp32",
        )  # fmt: skip
        assert "no space left on the device" in said
        assert not (disk / "out" / "manifest.json").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_talking(made: Path) -> None:
    """Standard input without a terminal: each line is answered, one line each at least."""
    command = [sys.executable, "-m", "danlu", "chat", str(made / "model"), "--max-new-tokens", "20"]
    done = subprocess.run(
        command, input="Who likes tea, Anna?\n\nDoes Ben like rice?\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 2


def test_looking(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", str(made / "model")]) == 0
    assert "pretrain" in capsys.readouterr().out
    assert main(["map"]) == 0
    assert "objectives" in capsys.readouterr().out
    assert main(["report", str(made / "sft")]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    (made / "sft" / "report.html").unlink()


def test_evaluating_alone(made: Path, world: Path, tmp_path: Path) -> None:
    arguments = [made / "model", "--text", made / "clean", "--chats", world / "chats.jsonl", "--out", tmp_path / "out"]
    assert main(["eval", *map(str, arguments), "--answers", "5", "--no-xz", "--precision", "fp32"]) == 0
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert results["questions"] == 5
    assert "xz_bits_per_byte" not in results["text"]


def test_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from danlu.cli import read
    from danlu.recipes.clean import Clean

    web = read(Clean, "clean", ["a.html", "--preset", "web-en", "--language.threshold", "0.8"])
    assert (web.inputs, web.language.keep, web.language.threshold) == (("a.html",), ("en",), 0.8)
    assert "gopher_quality" in web.steps
    assert "Did you mean 'web-en'" in fails(capsys, "clean", "a.html", "--preset", "web-eng")
    assert "has no presets" in fails(capsys, "sft", "--preset", "small", "--model", tmp_path)
    assert "there is no shape" in fails(capsys, "pretrain", "--preset", "small", "--data", tmp_path)
    (tmp_path / "r.yaml").write_text("{}")
    both = fails(capsys, "clean", "a.html", "--preset", "web", "--config", tmp_path / "r.yaml")
    assert "exclude each other" in both


def test_explaining(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("One short text, but long enough.")
    assert main(["clean", "--explain", str(tmp_path / "a.txt")]) == 0
    assert "kept: 32 characters" in capsys.readouterr().out
