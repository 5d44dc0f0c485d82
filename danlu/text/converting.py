"""A conversation as a record of another shape: OpenAI's messages, ShareGPT or Alpaca. What a shape cannot hold is
refused and never dropped, but for the ids of calls, which only messages know.
"""

import json
from typing import Any, Literal

from danlu.base.errors import UserError
from danlu.text.conversations import ROUND
from danlu.text.document import Conversation

Shape = Literal["messages", "sharegpt", "alpaca"]
SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "observation"}
# Keys of a turn that change what is learned, and that only messages hold
PARTICULAR = ("weight", "reasoning_content")


def record_as(conversation: Conversation, shape: Shape) -> dict[str, Any]:
    """The record, which reads back as the same conversation; a `UserError` names what the shape cannot hold."""
    if conversation.text:
        raise _cannot(conversation, "is a plain text", shape)
    if shape == "messages":
        return conversation.record()
    for number, turn in enumerate(conversation.turns, 1):
        for key in PARTICULAR:
            if key in turn:
                raise _cannot(conversation, f"turn {number} has a '{key}'", shape)
    return (_sharegpt if shape == "sharegpt" else _alpaca)(conversation)


def _cannot(conversation: Conversation, what: str, shape: str) -> UserError:
    return UserError(f"{what}, which '{shape}' cannot hold", where=conversation.where or None, remedy="Use messages")


def _system(conversation: Conversation) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The turns after the system's, and that as a key of the record."""
    first = conversation.turns[0]
    if first["role"] != "system":
        return conversation.turns, {}
    return conversation.turns[1:], {"system": first["content"]}


def _sharegpt(conversation: Conversation) -> dict[str, Any]:
    turns, system = _system(conversation)
    said: list[dict[str, str]] = []
    for turn in turns:
        if turn["content"] or not turn.get("tool_calls"):
            said.append({"from": SHAREGPT[turn["role"]], "value": turn["content"]})
        if turn.get("tool_calls"):
            called = [call["function"] for call in turn["tool_calls"]]
            value = json.dumps(called[0] if len(called) == 1 else called, ensure_ascii=False)
            said.append({"from": "function_call", "value": value})
    tools = [tool["function"] for tool in conversation.tools]
    offered = {"tools": json.dumps(tools, ensure_ascii=False)} if tools else {}
    return {"conversations": said} | system | offered


def _alpaca(conversation: Conversation) -> dict[str, Any]:
    turns, system = _system(conversation)
    if conversation.tools or any(turn["role"] == "tool" or turn.get("tool_calls") for turn in turns):
        raise _cannot(conversation, "has tools", "alpaca")
    if len(turns) % len(ROUND):
        raise _cannot(conversation, "ends with a question that nobody answers", "alpaca")
    rounds = [[ask["content"], reply["content"]] for ask, reply in zip(turns[::2], turns[1::2], strict=True)]
    question, answer = rounds[-1]
    history = {"history": rounds[:-1]} if rounds[:-1] else {}
    return {"instruction": question, "input": "", "output": answer} | system | history
