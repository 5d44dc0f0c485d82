"""What is asked, and what is read out of replies in every dress that models give them."""

import pytest

from danlu.recipes.instruct import Instruct, seed_tasks
from danlu.recipes.instructing import prompts, seeds_en, seeds_zh
from danlu.text.instructions import instruction_fault, output_fault
from danlu.text.likeness import Likeness


def test_the_built_in_seeds_pass_the_gates_that_generated_ones_must() -> None:
    seeds, languages = seed_tasks(Instruct(model="x"))
    assert languages == ("en", "zh")
    assert [task.language for task in seeds] == ["en"] * len(seeds_en.TASKS) + ["zh"] * len(seeds_zh.TASKS)
    assert len(seeds) >= 40
    seen = Likeness(0.7)
    for task in seeds:
        assert instruction_fault(task.instruction, task.language) == "", task
        assert output_fault(task.instruction, task.input, task.output) == "", task
        assert seen.nearest(task.instruction) is None, task
        seen.add(task.instruction)
    assert sum(bool(task.classification) for task in seeds) >= 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Name a bird.\nTask 10: Name a fish.", ["Name a bird.", "Name a fish."]),  # it went on behind the cue
        ("Task 9: Name a bird.\nTask 10: Name\na fish.", ["Name a bird.", "Name a fish."]),
        ("Sure, here they are:\n\n1. Name a bird.\n2) Name a fish.", ["Name a bird.", "Name a fish."]),
        ("**Task 9:** Name a bird.\n**Task 10:** *Name a fish.*", ["Name a bird.", "Name a fish."]),
        ('9. "Name a bird."\n\n10. Name a fish.\n\nI hope this helps!', ["Name a bird.", "Name a fish."]),
        ("说出一种鸟。\n任务10：说出一种鱼。", ["说出一种鸟。", "说出一种鱼。"]),
        ("任务 9： 说出一种鸟。\n10、说出一种鱼。", ["说出一种鸟。", "说出一种鱼。"]),
        ("9. Name a bird.\nAnswer: a gull.\n10. Name a fish.\nThis task is easy.", ["Name a bird.", "Name a fish."]),
        ("<think>1. hm</think>\nName a bird.\n\nThat is all.", ["Name a bird."]),
        ("<think>1. hm", []),
        ("", []),
    ],
)
def test_tasks_of_a_list(text: str, expected: list[str]) -> None:
    assert prompts.tasks_in(text, 9, cut=False) == (expected, 0)


def test_the_last_task_of_a_reply_that_was_cut_is_not_whole() -> None:
    assert prompts.tasks_in("9. Name a bird.\n10. Name a", 9, cut=True) == (["Name a bird."], 1)
    assert prompts.tasks_in("Name a", 9, cut=True) == ([], 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b a\nOutput: a b", [("b a", "a b")]),
        ("Input: b a\nOutput: a b", [("b a", "a b")]),
        ("Task: Sort.\nInput: b a\nOutput:\na\nb\n\nTask: Add.\nInput: 1", [("b a", "a\nb")]),
        ("**Input:** b a\n**Output:** a b", [("b a", "a b")]),
        (
            "Example 1:\nInput: b a\nOutput: a b\n\nExample 2:\nInput: d c\nOutput: c d",
            [("b a", "a b"), ("d c", "c d")],
        ),
        ("无\n输出：甲、乙", [("无", "甲、乙")]),
        ("a b", []),
        ("Output: a b", []),
    ],
)
def test_examples_with_the_input_first(text: str, expected: list[tuple[str, str]]) -> None:
    assert prompts.examples_in(text, False) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good\nInput: I like it.\nLabel: bad\nInput: I do not.", [("I like it.", "good"), ("I do not.", "bad")]),
        ("Label: good\nInput: I like it.\nClass label: bad", [("I like it.", "good")]),
        ("好\n输入：我喜欢。\n标签：坏\n输入：不喜欢。", [("我喜欢。", "好"), ("不喜欢。", "坏")]),
        ("good", []),
    ],
)
def test_examples_with_the_label_first(text: str, expected: list[tuple[str, str]]) -> None:
    assert prompts.examples_in(text, True) == expected


def test_labels() -> None:
    assert all(map(prompts.yes, ("Yes", "yes.", "Answer: Yes", "是", "回答：是的", "<think>No</think> **Yes**")))
    assert not any(map(prompts.yes, ("No", "否", "Maybe yes", "", "是否", "Yesterday")))
    assert all(map(prompts.different, ("Different", "Not equal", "不同", "", "不相同", "I think they are equal")))
    assert not any(map(prompts.different, ("Equal", "equal.", "相同", "Answer: Equal")))


def test_an_evolved_task() -> None:
    whole = "Name a bird of the sea."
    for text in (
        whole,
        f"New task: {whole}",
        f"**New Task:**\n{whole}",
        f'"{whole}"',
        f"Of course!\n\nNew task: {whole}",
    ):
        assert prompts.task_in(text, False) == whole
    assert prompts.task_in(f"{whole}\n\nTask: Name a fish.", True) == whole
    assert prompts.task_in("新任务：说出一种海鸟。", False) == "说出一种海鸟。"
    assert prompts.task_in("Sort:\n\n| a | b |\n|---|---|", False) == "Sort:\n\n| a | b |\n|---|---|"


def test_an_answer_of_a_model_that_goes_on() -> None:
    assert prompts.answer_in("A gull.\n\nTask: Name a fish.\nAnswer: A cod.", True) == "A gull."
    assert prompts.answer_in("Steps.\nTask: fold it.", False) == "Steps.\nTask: fold it."
    assert prompts.ended("A gull.\n\nTask: Name")
    assert not prompts.ended("Task: Name a bird.\nA gull and")


def test_prompts_hold_what_they_are_told() -> None:
    asked = prompts.ask("en", ["Name {a}\nbird.", "Name a fish."], 8)
    assert "Task 1: Name {a} bird.\nTask 2: Name a fish.\nTask 3:" in asked
    assert prompts.ask("zh", ["说出一种鸟。"], 8).endswith("任务1：说出一种鸟。\n任务2：")
    assert prompts.instance("en", "Sort.", False, 1).endswith("Task: Sort.\nInput:")
    assert "3 different examples" in prompts.instance("en", "Sort.", False, 3)
    assert prompts.instance("zh", "排序。", True, 1).endswith("任务：排序。\n标签：")
    assert (
        len({prompts.evolve(language, "Sort.", name) for language in ("en", "zh") for name in prompts.OPERATIONS}) == 12
    )
