"""Conversations in every shape that is known, and what is refused by file, record and reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text.conversations import conversation, read_chats, read_conversations, shape_of
from danlu.text.document import Conversation

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


CALL = {"type": "function", "function": {"name": "sum", "arguments": {"a": 1, "b": [2]}}}
TOOL = {"type": "function", "function": {"name": "sum", "description": "adds", "parameters": {"type": "object"}}}
CALLED = Conversation(
    [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "3"}, ANSWER],
    (TOOL,),
)


@pytest.mark.parametrize(
    "record",
    [
        {
            "messages": [
                USER,
                {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": {"name": "sum", "arguments": '{"a": 1, "b": [2]}'}}]},
                {"role": "tool", "content": "3"},
                ANSWER,
            ],
            "tools": [TOOL],
        },
        {  # as glaive's data in LLaMA-Factory
            "conversations": [
                {"from": "human", "value": "hi"},
                {"from": "function_call", "value": '{"name": "sum", "arguments": {"a": 1, "b": [2]}}'},
                {"from": "observation", "value": "3"},
                {"from": "gpt", "value": "hello"},
            ],
            "tools": json.dumps([TOOL["function"]]),
        },
        {  # as ms-swift writes it, and as JSON in a table
            "messages": json.dumps([
                USER, {"role": "tool_call", "content": json.dumps(CALL["function"])},
                {"role": "tool_response", "content": "3"}, ANSWER,
            ]),
            "tools": json.dumps([TOOL]),
        },
    ],
    ids=["OpenAI", "ShareGPT", "ms-swift"],
)  # fmt: skip
def test_calls_of_tools(record: dict[str, Any]) -> None:
    assert conversation(record, "x") == CALLED
    assert conversation(CALLED.record(), "x") == CALLED


def test_openais_older_way_of_calling() -> None:
    old = {"role": "assistant", "content": None, "function_call": {"name": "sum", "arguments": '{"a": 1, "b": [2]}'}}
    turns = [USER, old, {"role": "function", "name": "sum", "content": "3"}, ANSWER]
    found = conversation({"messages": turns, "tools": [TOOL]}, "x")
    assert found == Conversation([*CALLED.turns[:2], {**CALLED.turns[2], "name": "sum"}, ANSWER], (TOOL,))


def test_what_is_said_and_what_is_called_are_one_answer() -> None:
    turns = [
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "Wait."},
        {"from": "function_call", "value": json.dumps([CALL["function"], {"name": "now"}])},
        {"from": "observation", "value": "3"},
        {"from": "observation", "value": "noon"},
        {"from": "gpt", "value": "hello"},
    ]
    found = conversation({"conversations": turns}, "x").turns
    assert [turn["role"] for turn in found] == ["user", "assistant", "tool", "tool", "assistant"]
    assert found[1]["content"] == "Wait."
    assert [call["function"]["name"] for call in found[1]["tool_calls"]] == ["sum", "now"]
    assert found[1]["tool_calls"][1]["function"]["arguments"] == {}


def test_parts_weights_and_ids() -> None:
    """OpenAI's parts and weights, and LLaMA-Factory's words for them; the id of a call is kept for templates."""
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "value": "brief."}]},
        {"role": "user", "content": "hi", "loss_weight": 0.0},
        {"role": "assistant", "content": "hm", "loss_weight": 0.0, "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "hello", "reasoning_content": "easy", "weight": 1},
    ]
    found = conversation({"messages": turns}, "x").turns
    assert found == [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "hm", "tool_calls": [{"id": "c1", **CALL}], "weight": 0},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "hello", "reasoning_content": "easy"},
    ]


def test_a_plain_text_is_no_conversation(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "天下大势"})
    (found,) = read_conversations(path)
    assert (found, found.question, found.where) == (Conversation(text="天下大势"), "天下大势", f"{path}, line 1")
    assert conversation(found.record(), "x") == found
    with pytest.raises(UserError, match="line 1: is a plain text, and questions are needed"):
        list(read_chats(path))


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"messages": [USER]}, "messages"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "ShareGPT"),
        ({"conversations": [USER], "chosen": {}, "rejected": {}}, "preference pairs"),
        ({"chosen_messages": [], "rejected_messages": []}, "preference pairs"),
        ({"messages": [USER], "label": True}, "rated answers"),
        ({"messages": [USER], "label": "sport"}, "messages"),
        ({"instruction": "", "output": "", "text": "both"}, "Alpaca"),
        ({"question": "", "answer": ""}, "question and answer"),
        ({"text": "x", "messages": None}, "plain text"),
        ({"body": "x"}, "unknown"),
    ],
)
def test_the_shape_is_told_by_the_keys(record: dict[str, Any], shape: str) -> None:
    assert shape_of(record) == shape


def test_dolly_and_history_in_a_table() -> None:
    dolly = {"instruction": "Sum up", "context": "a text", "response": "short", "category": "summary"}
    assert conversation(dolly, "x").turns[0]["content"] == "Sum up\n\na text"
    row = {"instruction": "hi", "input": "", "output": "hello", "history": '[["a", "b"]]', "system": ""}
    assert [turn["content"] for turn in conversation(row, "x").turns] == ["a", "b", "hi", "hello"]
    assert conversation({**row, "history": ""}, "x").turns == [USER, ANSWER]


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
        ({"messages": [USER, USER, ANSWER]}, "turn 2: role 'user' cannot come after 'user'"),
        ({"messages": [ANSWER, USER, ANSWER]}, "turn 1: role 'assistant' cannot come first"),
        ({"messages": [USER, ANSWER, ANSWER]}, "turn 3: role 'assistant' cannot come after 'assistant'"),
        (
            {"messages": [USER, {"role": "tool", "content": "x"}, ANSWER]},
            "turn 2: role 'tool' cannot come after 'user'",
        ),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "no assistant turn has a weight above 0"),
        ({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "turn 2: weight 0.5"),
        ({"messages": [USER, {**ANSWER, "content": [{"type": "image_url"}]}]}, "turn 2: a part of type 'image_url'"),
        ({"messages": [USER, ANSWER], "images": ["a.png"]}, "needs its images, and only text is learned"),
        ({"messages": "[{"}, "no turns"),
        ({"messages": [USER, "hello"]}, "turn 2 is not an object"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"name": 1}]}]}, "turn 2: not a call of a tool"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "f()"}]},
            "turn 2: not a call",
        ),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "x=1"}]}]},
            "turn 2: the call's arguments are no object",
        ),
        ({"messages": [USER, ANSWER], "tools": [{"description": "x"}]}, "tool 1 has no name"),
        ({"instruction": "x", "output": 3}, "question and answer are not both text: "),
        (
            {"prompt": "x", "chosen": "a", "rejected": "b"},
            "holds preference pairs, and one answer is needed. Train on pairs",
        ),
        ({"messages": [USER, ANSWER], "label": False}, "holds answers rated good or bad"),
        ({"prompt": "x", "completion": "y", "label": True}, "holds answers rated good or bad"),
        ({"text": " "}, "empty text"),
        ({"body": "long " * 99}, r'no known chat shape \(keys: body\): {"body": "long .{170,190}…\. Use {"messages"'),
    ],
)
def test_a_bad_chat_names_file_line_and_reason(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": [USER, ANSWER]}, record)
    with pytest.raises(UserError, match=rf"x\.jsonl, line 2: {problem}") as caught:
        list(read_chats(path))
    assert caught.value.remedy
