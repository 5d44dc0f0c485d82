"""Decontamination against brute force over plain word lists, with planted and edited leaks, and its three modes."""

import json
import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text import packages, stamp
from danlu.text.decontaminate import TEMPLATE, Decontaminate
from danlu.text.document import Document, Dropped

WORDS = [a + b for a in "bcdfghjklm" for b in ("an", "el", "ir", "om", "ut", "ask", "end", "ill")]
CHARACTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"


def english(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


def chinese(draw: random.Random, count: int) -> str:
    return "".join(draw.choices(CHARACTERS, k=count))


def written(folder: Path, rows: list[dict[str, Any]], name: str = "quiz") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def document(text: str) -> Document:
    return Document(text, "d:1", "d", {"url": "u"})


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Twenty English and ten Chinese items, all different."""
    draw = random.Random(0)
    rows = [{"question": english(draw, 30), "answer": english(draw, 4)} for _ in range(20)]
    rows += [{"question": chinese(draw, 40), "answer": chinese(draw, 3)} for _ in range(10)]
    return written(tmp_path_factory.mktemp("sets"), rows), rows


def plain_runs(text: str) -> set[tuple[str, ...]]:
    """Runs by the rule as it is told: 13 units, or 20 if most are Chinese."""
    found = re.findall(f"[{CHARACTERS}]|[a-z0-9]+", text.lower())
    result = set()
    for size in (13, 20):
        for i in range(len(found) - size + 1):
            run = tuple(found[i : i + size])
            if (sum(unit in CHARACTERS for unit in run) * 2 > size) == (size == 20):
                result.add(run)
    return result


def test_decisions_are_those_of_brute_force(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    draw, step = random.Random(1), Decontaminate((path,))
    every = set[tuple[str, ...]]()
    for row in rows:
        for text in (row["question"], row["answer"], f"{row['question']} {row['answer']}"):
            every |= plain_runs(text)
    met = 0
    for number in range(300):
        row = rows[number % len(rows)]
        zh = number % len(rows) >= 20
        question = row["question"] if zh else row["question"].split()
        size = draw.randrange(8, 30)
        start = draw.randrange(0, len(question) - min(size, len(question)) + 1)
        leak = question[start : start + size] if zh else " ".join(question[start : start + size])
        make = chinese if number % 3 == 0 else english
        text = f"{make(draw, 40)}{'' if zh else ' '}{leak}{'，' if zh else '. '}{make(draw, 40)}"
        expected = bool(plain_runs(text) & every)
        assert isinstance(step(document(text)), Dropped) == expected
        met += expected
    assert 80 < met < 220


@pytest.mark.parametrize(
    "edit",
    [
        str.upper,
        lambda text: text.replace(" ", "\n  "),
        lambda text: text.replace(" ", ", ") + "!!",
        lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text),
        lambda text: text.replace("e", "é"),
        lambda text: "\u200b".join(text),
    ],
    ids=["case", "spaces", "punctuation", "width", "accents", "invisible"],
)
@pytest.mark.parametrize("number", [3, 25])
def test_edits_that_change_no_word_hide_nothing(
    edit: Any, number: int, sets: tuple[Path, list[dict[str, Any]]]
) -> None:
    path, rows = sets
    result = Decontaminate((path,))(document(f"Before. {edit(rows[number]['question'])} After."))
    assert isinstance(result, Dropped)
    assert result.reason == "contaminated"
    assert f"quiz item {number + 1}:" in result.detail


def test_a_word_changed_in_every_thirteenth_hides_it(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    words = rows[0]["question"].split()
    words[5] = "changed"
    assert isinstance(Decontaminate((path,))(document(" ".join(words))), Dropped)
    words[12:13], words[25:26] = ["changed"], ["changed"]
    clean = document(" ".join(words))
    assert Decontaminate((path,))(clean) is clean


def test_a_run_may_reach_from_the_question_into_the_answer(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    tail = " ".join(rows[4]["question"].split()[-9:])
    leak = document(f"{tail}\n{rows[4]['answer']}")
    assert isinstance(Decontaminate((path,))(leak), Dropped)
    assert Decontaminate((path,), fields=("question",))(leak) is leak


def test_short_questions_need_their_answer(tmp_path: Path) -> None:
    rows = [
        {"question": "What is the capital of France?", "answer": "Paris"},
        {"question": "中国的首都是哪座城市？", "answer": ["北京", "北京市"]},
        {"question": "Why?", "answer": "Because"},
        {"question": "How deep is the deepest sea?"},
    ]
    step = Decontaminate((written(tmp_path, rows),))
    facts = step.facts()
    assert facts == {
        "sets": {"quiz": 4}, "items": 4, "runs": 0, "found_by_question_and_answer": 2, "too_short": 2,
    }  # fmt: skip
    for text, met in (
        ("Quiz: WHAT is the capital of France? A: Lyon B: Paris", "item 1"),
        ("中国的首都是哪座城市？当然是北京市。", "item 2"),
        ("What is the capital of France? Nobody knew.", ""),
        ("Paris! What is the capital of France?", ""),
        ("What is the capital of France? " + "word " * 80 + "Paris", ""),
        ("What is the capital of Texas? Not Paris.", ""),
        ("Why? Because", ""),
        ("How deep is the deepest sea?", ""),
    ):
        result = step(document(text))
        assert isinstance(result, Dropped) == bool(met), text
        assert not isinstance(result, Dropped) or met in result.detail


def test_templates_and_numbers_name_no_item(tmp_path: Path) -> None:
    template = "read the following text carefully and then answer the question below in one word"
    counting = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"
    draw = random.Random(2)
    rows = [{"prompt": f"{template} {english(draw, 20)}"} for _ in range(TEMPLATE + 1)]
    few = Decontaminate((written(tmp_path, [*rows[:TEMPLATE], {"prompt": counting}], "few"),))
    many = Decontaminate((written(tmp_path, rows, "many"),))
    for text in (template, counting, "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"):
        assert isinstance(few(document(text)), Dropped) == (text == template)
        assert isinstance(many(document(text)), Document)
    assert isinstance(many(document(rows[0]["prompt"])), Dropped)


def test_mark_names_the_items_most_met_first(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    half = " ".join(rows[1]["question"].split()[:20])
    text = f"{half}. {rows[2]['question']} {rows[2]['answer']}"
    result = Decontaminate((path,), mode="mark")(document(text))
    assert isinstance(result, Document)
    assert result.text == text
    first, second = result.meta["contamination"]
    assert first == {"set": "quiz", "item": 3, "overlap": 1.0}
    # The question's 18 runs and 4 more that reach into the answer; the half has 20 - 12 of them.
    assert second == {"set": "quiz", "item": 2, "overlap": round(8 / 22, 4)}
    strict = Decontaminate((path,), mode="mark", least_overlap=0.5)(document(text))
    assert isinstance(strict, Document)
    assert [item["item"] for item in strict.meta["contamination"]] == [3]


def test_cut_takes_the_sentences_out_and_nothing_else(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    draw = random.Random(3)
    before, after = english(draw, 60) + ".", english(draw, 60) + "."
    text = f"{before} He asked {rows[0]['question']} and so on. {after}\n{rows[21]['question']}。\n{after}"
    step = Decontaminate((path,), mode="cut")
    result = step(document(text))
    assert isinstance(result, Document)
    assert result.text == f"{before} {after}\n\n{after}"
    assert result.meta["changes"] == {"contamination": 2}
    assert {item["item"] for item in result.meta["contamination"]} == {1, 22}
    assert result.meta["url"] == "u"
    assert step(result) is result
    short = Decontaminate((path,), mode="cut", remain=len(result.text) + 1)(document(text))
    assert isinstance(short, Dropped)
    assert short.reason == "contaminated"


def test_what_is_moved_together_is_looked_at_again(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    """An item with another one put into its middle: once that is cut, the first is whole again."""
    path, rows = sets
    words = rows[0]["question"].split()
    text = f"{' '.join(words[:12])}\n{rows[1]['question']}\n{' '.join(words[12:24])}"
    step = Decontaminate((path,), mode="cut", remain=0)
    result = step(document(text))
    assert isinstance(result, Document)
    assert step(result) is result


@pytest.mark.parametrize("changes", [{"words": 8}, {"characters": 12}, {"least_overlap": 0.9}, {"fields": ("answer",)}])
def test_every_number_decides(changes: dict[str, Any], sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    texts = [
        " ".join(rows[0]["question"].split()[:10]), rows[20]["question"][:15], " ".join(rows[0]["question"].split()[:20]),
    ]  # fmt: skip
    plain, other = Decontaminate((path,)), Decontaminate((path,), **changes)
    verdicts = [[isinstance(step(document(text)), Dropped) for text in texts] for step in (plain, other)]
    assert verdicts[0] == [False, False, True]
    assert verdicts[1] != verdicts[0]


def test_a_changed_set_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamp, "SECONDS", 0.0)
    draw = random.Random(4)
    one, two = english(draw, 20), english(draw, 20)
    step = Decontaminate((written(tmp_path, [{"question": one}]),))
    assert isinstance(step(document(one)), Dropped)
    path = written(tmp_path, [{"question": two}])
    path.touch()
    assert isinstance(step(document(two)), Dropped)
    assert isinstance(step(document(one)), Document)


@pytest.mark.parametrize("mode", ["drop", "cut", "mark"])
@pytest.mark.parametrize("text", ["", "\x00\ud800", "x" * 1_000_000, "好" * 100_000, "a " * 200_000, "\n" * 9])
def test_no_text_is_too_odd(mode: Any, text: str, sets: tuple[Path, list[dict[str, Any]]]) -> None:
    assert isinstance(Decontaminate((sets[0],), mode=mode)(document(text)), Document)


def test_a_whole_set_in_one_document(sets: tuple[Path, list[dict[str, Any]]]) -> None:
    path, rows = sets
    text = "\n".join(f"{row['question']}\n{row['answer']}" for row in rows)
    result = Decontaminate((path,), mode="mark")(document(text))
    assert isinstance(result, Document)
    assert [item["overlap"] for item in result.meta["contamination"]] == [1.0] * 10
    cut = Decontaminate((path,), mode="cut", remain=0)(document(text))
    assert isinstance(cut, Document)
    assert not plain_runs(cut.text)


def test_real_sets_against_real_text() -> None:
    """GSM8K and HumanEval against documentation and a novel: nothing is met. Their own items are."""
    step = Decontaminate((Path("package:gsm8k"), Path("package:humaneval")))
    try:
        facts = step.facts()
        texts = [d for name in ("numpy", "sanguo") for d in islice(packages.documents(name), 40)]
    except UserError as error:
        pytest.skip(str(error))
    assert facts["items"] == 1483
    assert [result.detail for d in texts if isinstance(result := step(d), Dropped)] == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"words": 5}, "words"), ({"characters": 8}, "characters"), ({"least_overlap": 1.5}, "least_overlap"),
     ({"mode": "hide"}, "mode"), ({"remain": -1}, "remain")],
)  # fmt: skip
def test_senseless_settings_are_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}:"):
        Decontaminate(**changes)


def test_sets_are_needed_and_must_hold_items(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: sets: needs at least one"):
        Decontaminate().facts()
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no test items"):
        Decontaminate((empty,)).facts()
