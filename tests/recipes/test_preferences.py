"""Sampled preferences: ordered by rules, apart from the held-out prompts, the same after a stop; and split by prompt."""

import dataclasses
import json
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.recipes import dpo, preferences
from danlu.recipes.chats import preference_sides, split
from danlu.recipes.dpo import Dpo
from danlu.recipes.preferences import SamplePreferences


def recipe(made: Path, world: Path, out: Path, **changes: object) -> SamplePreferences:
    """Twelve prompts, three answers each."""
    values: dict[str, object] = {
        "prompts": 12,
        "answers": 3,
        "max_new_tokens": 12,
        "temperature": 1.5,
        "precision": "fp32",
    }
    return SamplePreferences(model=made / "sft", chats=(str(world / "chats.jsonl"),), out=out, **values | changes)  # type: ignore[arg-type]


def records(file: Path) -> list[dict[str, object]]:
    """The lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_pairs_are_ordered_by_the_rules(made: Path, world: Path, tmp_path: Path) -> None:
    preferences.run(recipe(made, world, tmp_path / "out"))
    training, held_out = (records(tmp_path / "out" / f"{side}.jsonl") for side in ("train", "heldout"))
    assert training
    for pair in training:
        assert float(str(pair["chosen_quality"])) >= float(str(pair["rejected_quality"])) + 0.1
        assert pair["chosen"] != pair["rejected"]
    hidden = {str(record["messages"][0]["content"]) for record in records(made / "sft" / "heldout.jsonl")}  # type: ignore[index]
    assert not hidden & {str(pair["prompt"]) for pair in training}
    assert {str(pair["prompt"]) for pair in held_out} <= hidden
    tuned = Dpo(
        model=made / "sft", preferences=(str(tmp_path / "out"),), out=tmp_path / "dpo", length=64, precision="fp32"
    )
    assert dpo.run(tuned).metrics["steps"] >= 1


def test_what_was_answered_before_a_stop_is_kept(
    made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences.run(recipe(made, world, tmp_path / "whole"))
    monkeypatch.setattr(preferences, "GROUP", 5)
    real, calls = preferences._group, 0

    def stopping(*arguments: object) -> list[dict[str, object]]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(preferences, "_group", stopping)
    with pytest.raises(KeyboardInterrupt):
        preferences.run(recipe(made, world, tmp_path / "parts"))
    preferences.run(recipe(made, world, tmp_path / "parts"))
    assert records(tmp_path / "parts" / "train.jsonl") == records(tmp_path / "whole" / "train.jsonl")


def test_a_prompt_stays_on_one_side() -> None:
    keys = [f"question {i % 30}" for i in range(90)]
    training, held_out = split(list(range(90)), keys, 0.2, seed=0)
    assert sorted(training + held_out) == list(range(90))
    assert not {keys[i] for i in training} & {keys[i] for i in held_out}
    assert 9 <= len(held_out) <= 30
    assert split([0, 1], ["a", "b"], 0.001, seed=0)[1]
    assert split([0, 1], ["a", "b"], 0.0, seed=0)[1] == []


def test_files_of_pairs_are_split_by_prompt(world: Path) -> None:
    training, held_out = preference_sides([str(world / "pairs.jsonl")], 0.01, 0.2, 0)
    assert len(training) + len(held_out) == 60
    assert held_out


def test_a_question_without_room_for_an_answer_is_left_out(made: Path, world: Path, tmp_path: Path) -> None:
    long = {"messages": [{"role": "user", "content": "why " * 200}, {"role": "assistant", "content": "Because."}]}
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps(long) + "\n" + (world / "chats.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    changed = dataclasses.replace(recipe(made, world, tmp_path / "out", prompts=1000, answers=2), chats=(str(file),))
    assert preferences.run(changed).metrics["train_prompts"] == 114


def test_nothing_to_choose_from(made: Path, world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no two answers differ enough"):
        preferences.run(recipe(made, world, tmp_path / "out", temperature=0.0))
