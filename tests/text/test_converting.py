"""Conversations into other shapes and back; what a shape cannot hold is refused."""

import pytest

from danlu.base.errors import UserError
from danlu.text.conversations import conversation
from danlu.text.converting import Shape, record_as
from danlu.text.document import Conversation
from tests.tokens.talk import CALLING, LONG, SINGLE, TOOLS

CHATS = [Conversation(SINGLE), Conversation(LONG), Conversation(LONG[1:5])]


@pytest.mark.parametrize("shape", ["messages", "sharegpt", "alpaca"])
def test_what_is_written_reads_back_as_the_same(shape: Shape) -> None:
    tools = [Conversation(CALLING, tuple(TOOLS)), Conversation([LONG[0], *CALLING[:5]], tuple(TOOLS[:1]))]
    for chat in CHATS + (tools if shape != "alpaca" else []):
        assert conversation(record_as(chat, shape), "x") == chat


def test_the_shapes_are_those_of_their_owners() -> None:
    assert record_as(Conversation(LONG[:5]), "alpaca") == {
        "instruction": "(why)", "input": "", "output": "(because)\n", "system": " Be brief.\n",
        "history": [["  天下大势？\n\nTell me. ", " 分久必合。\n```\nx = 1\n```\n"]],
    }  # fmt: skip
    found = record_as(Conversation(CALLING[:5], tuple(TOOLS[1:])), "sharegpt")
    assert [turn["from"] for turn in found["conversations"]] == [
        "human",
        "function_call",
        "observation",
        "observation",
        "gpt",
    ]
    assert found["conversations"][1]["value"].startswith('[{"name": "sum", "arguments": {"a": 12')
    assert found["tools"] == '[{"name": "time", "description": "the time\'s <b>", "parameters": {}}]'


@pytest.mark.parametrize(
    ("chat", "shape", "why"),
    [
        (Conversation(CALLING, where="x, line 2"), "alpaca", "x, line 2: has tools, which 'alpaca' cannot hold"),
        (Conversation(SINGLE, tuple(TOOLS)), "alpaca", "has tools"),
        (Conversation(LONG[:4]), "alpaca", "ends with a question that nobody answers"),
        (Conversation([SINGLE[0], {**SINGLE[1], "weight": 0}, *SINGLE]), "sharegpt", "turn 2 has a 'weight'"),
        (
            Conversation([SINGLE[0], {**SINGLE[1], "reasoning_content": "x"}]),
            "alpaca",
            "turn 2 has a 'reasoning_content'",
        ),
        (Conversation(text="x"), "messages", "is a plain text"),
    ],
)
def test_what_cannot_be_held_is_refused(chat: Conversation, shape: Shape, why: str) -> None:
    with pytest.raises(UserError, match=why):
        record_as(chat, shape)
