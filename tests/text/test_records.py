"""Chats and preference pairs: the shapes that are known, and what is refused by file, record and reason."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.text.conversations import read_chats
from danlu.text.pairs import read_preferences
from danlu.text.report import Funnel

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, ANSWER]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"instruction": "hi", "input": "", "output": "hello"},
        {"instruction": "hi", "output": "hello", "other": 5},
        {"instruction": "hi", "output": "hello", "history": []},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "hello"}]},
        {"prompt": "hi", "completion": "hello"},
        {"question": "hi", "answer": "hello"},
    ],
)
def test_shapes(tmp_path: Path, record: dict[str, Any]) -> None:
    assert list(read_chats(jsonl(tmp_path / "x.jsonl", record))) == [[USER, ANSWER]]


def test_alpaca_input_and_system_turns(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "x.jsonl",
        {"instruction": "Translate", "input": "丹炉", "output": "furnace", "system": "Be brief."},
        {"messages": [{"role": "system", "content": "Be kind."}, USER, ANSWER], "system": "ignored"},
    )
    first, second = read_chats(path)
    assert first[:2] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Translate\n\n丹炉"},
    ]
    assert [turn["content"] for turn in second] == ["Be kind.", "hi", "hello"]


def test_alpacas_history_is_read_as_earlier_turns(tmp_path: Path) -> None:
    rounds = [["你好", "你好！"], ["你是谁？", "我是丹炉。"]]
    record = {"instruction": "再见", "input": "", "output": "再见！", "history": rounds, "system": "Be brief."}
    path = tmp_path / "alpaca.jsonl"
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    (found,) = read_chats(path)
    assert [turn["role"] for turn in found] == ["system", *["user", "assistant"] * 3]
    assert [turn["content"] for turn in found[1:]] == [*rounds[0], *rounds[1], "再见", "再见！"]


def test_the_same_chats_from_every_format(tmp_path: Path) -> None:
    records = [{"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER, USER, ANSWER]}]
    jsonl(tmp_path / "a.jsonl", *records)
    (tmp_path / "b.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "c.parquet")
    expected = [record["messages"] for record in records]
    for name in ("a.jsonl", "b.json", "c.parquet"):
        assert list(read_chats(tmp_path / name)) == expected
    assert list(read_chats(tmp_path)) == expected * 3


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"messages": [USER]}, "no assistant turn"),
        ({"messages": []}, "no turns"),
        ({"messages": [USER, {"role": "assistant", "content": " \n"}]}, "turn 2: empty assistant answer"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "turn 2: unknown role 'robot'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "turn 2 has no text under 'content'"),
        ({"messages": [USER, {"role": "system", "content": "x"}, ANSWER]}, "turn 2: a system turn"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "turn 1: unknown role 'alien'"),
        ({"instruction": "x", "output": ""}, "turn 2: empty assistant answer"),
        ({"instruction": "x", "output": "y", "history": [["q"]]}, "history is not a list of rounds"),
        ({"instruction": "x", "output": "y", "history": [["q", ""]]}, "turn 2: empty assistant answer"),
        ({"text": "x"}, r"no known chat shape \(keys: text\)\. Use"),
    ],
)
def test_a_bad_chat_names_file_line_and_reason(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": [USER, ANSWER]}, record)
    with pytest.raises(UserError, match=rf"x\.jsonl, line 2: {problem}") as caught:
        list(read_chats(path))
    assert caught.value.remedy


def test_malformed_lines_are_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": [USER, ANSWER]})
    path.write_text(path.read_text() + "{broken\n")
    tally = Funnel()
    assert len(list(read_chats(path, tally))) == 1
    assert tally.problems[0].startswith(f"{path}, line 2: malformed JSON")
    with pytest.raises(UserError, match=r"x\.jsonl, line 2: malformed JSON"):
        list(read_chats(path, bad_share=0))


def test_files_that_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"messages": []}')
    with pytest.raises(UserError, match=r"x\.json: is not a JSON list"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text('[\n{"a": 1},\n{"b" 2}]')
    with pytest.raises(UserError, match=r"x\.json, line 3: malformed JSON"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text("")
    with pytest.raises(UserError, match=r"x\.json: is empty"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(UserError, match=r"x\.txt: is not a file of records\. Supported: \.jsonl"):
        list(read_chats(tmp_path / "x.txt"))
    with pytest.raises(UserError, match=r"y\.jsonl: no such file"):
        list(read_chats(tmp_path / "y.jsonl"))


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": "good", "rejected": [{"role": "assistant", "content": "bad"}]},
        {
            "chosen": [USER, {"role": "assistant", "content": "good"}],
            "rejected": [USER, {"role": "assistant", "content": "bad"}],
        },
        {"prompt": "hi", "chosen": [USER, {"role": "assistant", "content": "good"}], "rejected": "bad"},
    ],
)
def test_preference_shapes(tmp_path: Path, record: dict[str, Any]) -> None:
    pairs = list(read_preferences(jsonl(tmp_path / "x.jsonl", record)))
    assert pairs == [{"prompt": [USER], "chosen": "good", "rejected": "bad"}]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"prompt": "hi", "chosen": "same", "rejected": " same\n"}, "chosen and rejected are equal"),
        ({"prompt": "hi", "chosen": "good"}, "no key 'rejected'"),
        ({"chosen": "good", "rejected": "bad"}, "the prompt does not end with a user turn"),
        ({"prompt": [USER, ANSWER], "chosen": "good", "rejected": "bad"}, "the prompt does not end with a user turn"),
        ({"prompt": "hi", "chosen": [USER], "rejected": "bad"}, "'chosen' does not end with an assistant turn"),
        ({"prompt": "hi", "chosen": "", "rejected": "bad"}, "turn 1: empty assistant answer"),
        ({"prompt": "other", "chosen": [USER, ANSWER], "rejected": "bad"}, "answer different prompts"),
    ],
)
def test_a_bad_pair_names_file_line_and_reason(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"prompt": "hi", "chosen": "good", "rejected": "bad"}, record)
    with pytest.raises(UserError, match=rf"x\.jsonl, line 2: .*{problem}") as caught:
        list(read_preferences(path))
    assert caught.value.remedy
