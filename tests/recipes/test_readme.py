"""The README's commands, run as they stand there, in its order, on a small world of our own."""

import re
import runpy
import shlex
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from danlu.cli import main

ROOT = Path(__file__).parents[2]
PEOPLE, THINGS, PLACES = ("小明", "渔夫", "老师"), ("灯塔", "海鸥", "渡船"), ("海边", "岛上", "港口", "山顶")
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.S)


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of each block of code."""
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def desk(made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would stand after ``make demo``, with data of the names that the README uses."""
    for ours, theirs in (("text", "my-texts"), ("chats.jsonl", "chats.jsonl"), ("pairs.jsonl", "pairs.jsonl")):
        (tmp_path / theirs).symlink_to(world / ours)
    words = product(("good", "bad"), THINGS, PLACES, ("a", "b"))
    reviews = [(mood, f"{mood} {thing} {place} {letter}") for mood, thing, place, letter in words]
    (tmp_path / "reviews.csv").write_text(
        "text,label\n" + "".join(f"{text},{mood}\n" for mood, text in reviews), "utf-8"
    )
    scores = "".join(f"{text},{5 if mood == 'good' else 1}\n" for mood, text in reviews)
    (tmp_path / "scores.csv").write_text("text,score\n" + scores, "utf-8")
    (tmp_path / "zh-texts").mkdir()
    for n, (who, what, where) in enumerate(product(PEOPLE, THINGS, PLACES)):
        said = (
            f"第{n}天，{who}在{where}看见了{what}，回家以后把这件事写进了日记。{where}的{what}很多，{who}每天都去看。"
        )
        (tmp_path / "zh-texts" / f"{n}.txt").write_text(said, encoding="utf-8")
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    shutil.copytree(made / "model", tmp_path / "runs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _="": (_ for _ in ()).throw(EOFError))
    ran = 0
    for language, text in blocks("README.md"):
        if language == "python":
            (desk / "block.py").write_text(text, encoding="utf-8")
            runpy.run_path(str(desk / "block.py"))
            ran += 1
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "danlu":
                assert main(words[1:]) == 0, line
                ran += 1
            elif words and words[0] == "make":
                done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
            elif words:
                assert words[0] == "source", line
    assert ran >= 12
    assert (desk / "runs" / "sft-longer" / "model.safetensors").exists()
    assert "adamw" in (desk / "runs" / "adamw" / "recipe.yaml").read_text()


def test_both_languages_show_the_same_code() -> None:
    assert blocks("README.md") == blocks("README.zh-CN.md")
