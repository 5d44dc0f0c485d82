"""Recipe keys whose effect no other test would miss: each changes what its stage makes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from danlu.recipes import chat, clean, evaluation, preferences, pretrain, tokenize
from danlu.recipes.chat import Chat
from danlu.recipes.chats import chats_from
from danlu.recipes.clean import Clean
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.preferences import SamplePreferences
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.tokenize import Tokenize


def chats(file: Path, questions: list[str]) -> Path:
    """Conversations of one turn each."""
    turns = ([{"role": "user", "content": q}, {"role": "assistant", "content": "Yes."}] for q in questions)
    file.write_text("\n".join(json.dumps({"messages": turn}) for turn in turns), encoding="utf-8")
    return file


def answered(made: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """An evaluation of held-out questions."""
    recipe = Evaluate(model=made / "sft", out=out, max_new_tokens=8, precision="fp32", **changes)
    evaluation.run(recipe)
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return found


def test_most_per_source_takes_evenly_from_each(tmp_path: Path) -> None:
    first = chats(tmp_path / "a.jsonl", [f"a{n}" for n in range(10)])
    second = chats(tmp_path / "b.jsonl", ["b0", "b1"])
    taken = [chat[0]["content"] for chat in chats_from([str(first), str(second)], 0.0, most=4)]
    assert taken == ["a0", "a2", "a5", "a7", "b0", "b1"]
    assert len(chats_from([str(first), str(second)], 0.0)) == 12


def test_least_difference_leaves_out_pairs_that_are_close(made: Path, world: Path, tmp_path: Path) -> None:
    def pairs(name: str, least: float) -> int:
        given: Any = {"model": made / "sft", "chats": (str(world / "chats.jsonl"),), "out": tmp_path / name}
        few: Any = {"prompts": 24, "answers": 3, "max_new_tokens": 12, "temperature": 1.5, "precision": "fp32"}
        return int(preferences.run(SamplePreferences(**given, **few, least_difference=least)).metrics["train_pairs"])

    assert pairs("near", 0.0) > pairs("far", 0.6) > 0


def test_small_talk_is_what_is_asked(made: Path, world: Path, tmp_path: Path) -> None:
    file = chats(tmp_path / "chats.jsonl", ["Who likes tea, Anna?", "Who likes rice, Ben?"])
    found = answered(made, tmp_path / "out", chats=file, small_talk=("Hello there", "Who are you?", "你好"))
    assert [answer["prompt"] for answer in found["answers"][:3]] == ["Hello there", "Who are you?", "你好"]


def test_the_penalty_on_repetition_changes_answers(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = chats(tmp_path / "chats.jsonl", ["Who likes tea, Anna?", "Who likes rice, Ben?"])
    plain, less = (
        answered(made, tmp_path / str(penalty), chats=file, temperature=0.0, repetition_penalty=penalty)["answers"]
        for penalty in (1.0, 3.0)
    )
    assert plain != less
    said = []
    for penalty in (1.0, 3.0):
        monkeypatch.setattr("sys.stdin", io.StringIO("Who likes tea, Anna?\n"))
        chat.run(Chat(made / "sft", temperature=0.0, max_new_tokens=12, repetition_penalty=penalty))
        said.append(capsys.readouterr().out)
    assert said[0] != said[1]


def test_a_question_without_room_for_an_answer_is_left_out(made: Path, tmp_path: Path) -> None:
    file = chats(tmp_path / "chats.jsonl", ["Who likes tea, Anna?", "why " * 300])
    assert answered(made, tmp_path / "out", chats=file)["questions"] == 1


def test_evaluation_bytes_bounds_what_is_measured_on_the_way(made: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Ben likes {thing} and number {n}."}) for n in range(40) for thing in ("tea", "maps")]
    (tmp_path / "one.jsonl").write_text("\n".join(lines), encoding="utf-8")
    cleaned = Clean((str(tmp_path / "one.jsonl"),), out=tmp_path / "clean", validation_share=0.3)
    tokens = Tokenize(data=clean.run(cleaned).path, tokenizer=made / "tokenizer", out=tmp_path / "tokens")
    data = tokenize.run(tokens).path

    def measured(name: str, most: int) -> float:
        few: Any = {"size": "100K", "length": 64, "batch_tokens": 512, "tokens": "1K", "precision": "fp32"}
        recipe = Pretrain(data=data, out=tmp_path / name, evaluation_bytes=most, **few)
        return float(pretrain.run(recipe).metrics["bits_per_byte"])

    assert measured("few", 100) != measured("all", 60_000)
