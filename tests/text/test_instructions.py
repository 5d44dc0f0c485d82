"""Seed tasks in their shapes, and each reason why a generated instruction or answer is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text.instructions import (
    Language,
    Task,
    instruction_fault,
    language_of,
    only_stop_words,
    output_fault,
    read_tasks,
    repetition,
)


def seeds(tmp_path: Path, *records: Any) -> Path:
    """A file of these records."""
    path = tmp_path / "seeds.jsonl"
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return path


def test_every_shape_of_seed(tmp_path: Path) -> None:
    own = {"id": "s1", "instruction": "Sort them.", "instances": [{"input": "b a", "output": "a b"}]}
    alpaca = {"instruction": "把它翻译成英文。", "input": "猫", "output": "cat"}
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who are you?"}]
    chat = {"messages": [*turns, {"role": "assistant", "content": "A model."}]}
    path = seeds(tmp_path, {**own, "is_classification": False}, alpaca, chat, {**alpaca, "output": "the same again"})
    assert read_tasks(path) == [
        Task("s1", "Sort them.", "b a", "a b", "en", False),
        Task("seeds:2", "把它翻译成英文。", "猫", "cat", "zh"),
        Task("seeds:3", "Who are you?", "", "A model.", "en"),
    ]
    assert read_tasks(path)[1].prompt == "把它翻译成英文。\n\n猫"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"instruction": "Sort.", "instances": []}, "line 1: instances is not a list of objects"),
        ({"instruction": " ", "instances": [{"output": "x"}]}, "line 1: the seed task has no instruction"),
        ({"instruction": "Sort.", "instances": [{"input": "b a"}]}, "line 1: the seed task has no output"),
        ({"instruction": "Sort."}, "line 1: no known chat shape"),
        ({"text": "Sort."}, "line 1: is a plain text, and a seed task is needed"),
        (["Sort."], "not one record can be read"),
    ],
)
def test_a_wrong_seed_is_named(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_tasks(seeds(tmp_path, record))


def test_what_is_no_file_of_seeds(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no seed task"):
        read_tasks(tmp_path / "empty.jsonl")
    for name in (tmp_path, tmp_path / "seeds.txt"):
        with pytest.raises(UserError, match="is not a file of seed tasks"):
            read_tasks(name)


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("Write a short poem about rain.", "en", ""),
        ("写一首关于下雨的小诗。", "zh", ""),
        ("“一箭双雕”是什么意思？", "zh", ""),
        ("...", "en", "empty"),
        ("- and then sort the list", "en", "starts_with_punctuation"),
        ("Sort the list.", "en", "too_short"),
        ("写首诗。", "zh", "too_short"),
        ("Say it again and " + "more " * 150, "en", "too_long"),
        ("写一首关于下雨的小诗。", "en", "wrong_language"),
        ("Write a poem about rain.", "zh", "wrong_language"),
        ("Describe what the picture shows in detail.", "en", "unfit_for_text"),
        ("Draw the curve of the function.", "en", "unfit_for_text"),
        ("根据图片回答下面的问题。", "zh", "unfit_for_text"),
        ("Write a program that sorts a list.", "en", "write_a_program"),
        ("请编写一个程序来排序。", "zh", "write_a_program"),
        ("Answer the question about the text:", "en", "not_ended"),
        ("Name the towns " + "in the north and " * 12, "en", "repeats"),
        ("Draft a letter about mapping and filing.", "en", ""),  # neither 'map' nor 'file'
    ],
)
def test_what_is_no_instruction(text: str, language: Language, reason: str) -> None:
    assert instruction_fault(text, language) == reason


def test_tasks_with_data_may_be_longer() -> None:
    text = "Add up the column. " + " ".join(f"row {n * 37}" for n in range(100))
    assert instruction_fault(text, "en") == "too_long"
    assert instruction_fault(text, "en", times=4) == ""


@pytest.mark.parametrize(
    ("given", "output", "reason"),
    [
        ("b a", "a b", ""),
        ("b a", "N/A", "empty"),
        ("b a", " 无。", "empty"),
        ("b a", "The order is:", "not_ended"),
        ("b a", "B  a.", "output_is_input"),
        ("b a", "sort the words!", "output_is_instruction"),
        ("b a", "I'm sorry, but I can't do that.", "apology"),
        ("b a", "抱歉，我无法完成。", "apology"),
        ("b a", "Unfortunately, I am unable to sort.", "apology"),
        ("b a", "Sorry, " + " ".join(f"word{n}" for n in range(90)), ""),  # a long text may begin with it
        ("b a", "Dear Ann, I am sorry that I was late.", ""),  # and a letter say it to somebody
        ("b a", "Dear [insert name here], hello.", "placeholder"),
        ("b a", "round and " * 40, "repeats"),
        ("b a", " ".join(str(n) for n in range(5000)), "too_long"),
    ],
)
def test_what_is_no_output(given: str, output: str, reason: str) -> None:
    assert output_fault("Sort the words.", given, output) == reason


def test_an_output_that_was_cut() -> None:
    assert output_fault("Sort the words.", "b a", "a b and", stopped=False) == "not_ended"


def test_only_stop_words() -> None:
    assert not only_stop_words("Yes, it is sour.")
    assert only_stop_words("Yes, it is...")
    assert only_stop_words("好的，这是我的。")
    assert not only_stop_words("42")
    assert not only_stop_words("好的，猫。")


def test_the_language_of_a_mixed_text() -> None:
    assert language_of("用 Python 写一个函数，求平均数。") == "zh"
    assert language_of("What does 一箭双雕 mean in English, and when is it said?") == "en"


def test_repetition_is_the_share_of_runs_seen_before() -> None:
    assert repetition("a b c d " * 6) == pytest.approx(1 - 4 / 21)  # 24 units have 21 runs of four, four different
    assert repetition("a b c d " * 5) == 0.0
