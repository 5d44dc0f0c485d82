"""Records as conversations to fine-tune on, whatever shape their owner gave them: `shape_of` says which it is.

OpenAI's messages with tools, ShareGPT (LLaMA-Factory's ``function_call`` and ``observation`` among its roles), Alpaca
with its history, prompt and completion, and plain text. Everything becomes a `Conversation` with OpenAI's names, so
that chat templates, which are written for those, can show it.

A record that parses but means nothing (no answer, an empty answer, a role out of order) is an error that names it: it
shows that the file is not what its owner thinks it is. Left out: images and sound, which are refused.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.document import Chat, Conversation, misplaced
from danlu.text.records import rows
from danlu.text.report import Funnel
from danlu.text.toolcalls import calls, parsed, tools_of

CALL = "call"  # a turn that is a call of a tool and nothing else, as ShareGPT and ms-swift write it
ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "function_call": CALL, "tool_call": CALL,
    "tool": "tool", "observation": "tool", "tool_response": "tool", "function": "tool",
}  # fmt: skip
ROUND = ("user", "assistant")
LISTS = ("messages", "conversations", "conversation")  # keys of a list of turns
KEPT = ("reasoning_content", "tool_call_id", "name")  # keys of a turn that templates know, handed on as they are
WEIGHTS = ("weight", "loss_weight", "loss")  # OpenAI's, LLaMA-Factory's and ms-swift's word for it
MEDIA = ("images", "image", "videos", "audios")
PAIRS = (
    ("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("prompt", "response"),
    ("question", "answer"),
)  # fmt: skip
ALPACA = ("input", "context")  # what the instruction is about, in Alpaca and in Dolly
SHOWN = 200  # characters of a record in an error
SHAPES = 'Use {"messages": [...]}, {"conversations": [...]}, {"text"}, or ' + ", ".join(
    f'{{"{a}", "{b}"}}' for a, b in PAIRS
)


def read_conversations(
    source: str | Path, tally: Funnel | None = None, *, bad_share: float = 0.01
) -> Iterator[Conversation]:
    """Validated conversations and texts of a file, a folder, ``datasets:NAME[:SPLIT]`` or ``package:NAME``.

    A `UserError` names the record that holds no answer, an empty answer, an unknown role or one out of order.
    """
    if packages.is_package(source):
        for number, turns in enumerate(packages.chats(packages.name_of(str(source))), 1):
            yield Conversation(turns, where=f"{source}, dialogue {number}")
        return
    for where, record in rows(source, tally if tally is not None else Funnel(), bad_share):
        yield conversation(record, where)


def read_chats(source: str | Path, tally: Funnel | None = None, *, bad_share: float = 0.01) -> Iterator[Chat]:
    """The turns of `read_conversations`; a `UserError` for a plain text, which has none."""
    for found in read_conversations(source, tally, bad_share=bad_share):
        if found.text:
            raise UserError("is a plain text, and questions are needed", where=found.where, remedy="Give conversations")
        yield found.turns


def shape_of(record: dict[str, Any]) -> str:
    """What kind of record it is, by its keys: one of a few words, or "unknown"."""
    given = {key for key, value in record.items() if value is not None}
    if any({a, b} <= given for a, b in (("chosen", "rejected"), ("chosen_messages", "rejected_messages"))):
        return "preference pairs"
    listed = next((key for key in LISTS if key in given), None)
    if "kto_tag" in given or (isinstance(record.get("label"), bool) and (listed or "completion" in given)):
        return "rated answers"
    if listed:
        turns = parsed(record[listed])
        first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
        return "ShareGPT" if "from" in first else "messages"
    for ask, reply in PAIRS:
        if {ask, reply} <= given:
            return "Alpaca" if ask == "instruction" else f"{ask} and {reply}"
    return "plain text" if isinstance(record.get("text"), str) else "unknown"


def conversation(record: dict[str, Any], where: str) -> Conversation:
    """One record as a conversation, or a `UserError` that names it."""
    shape = shape_of(record)
    if shape == "preference pairs":
        remedy = "Train on pairs with danlu dpo --preferences, or keep the better answer of each under 'output'"
        raise UserError("holds preference pairs, and one answer is needed", where=where, remedy=remedy)
    if shape == "rated answers":
        what = "holds answers rated good or bad, and the bad ones would be learned too"
        raise UserError(what, where=where, remedy="Keep the good ones, and leave the rating out")
    if shape == "unknown":
        found = ", ".join(map(str, record)) or "none"
        raise UserError(f"no known chat shape (keys: {found}): {_short(record)}", where=where, remedy=SHAPES)
    if media := [key for key in MEDIA if record.get(key)]:
        raise UserError(f"needs its {media[0]}, and only text is learned", where=where, remedy="Delete the record")
    if shape == "plain text":
        if not record["text"].strip():
            raise UserError("empty text", where=where, remedy="Delete the record")
        return Conversation(text=record["text"], where=where)
    listed = next((key for key in LISTS if record.get(key) is not None), None)
    turns = messages(record[listed], where) if listed else _pair(record, where)
    system = record.get("system")
    if isinstance(system, str) and system.strip() and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    if wrong := misplaced(turns):
        remedy = "Turns alternate: user, then assistant; a tool's follow the assistant that called it"
        raise UserError(f"turn {wrong[0]}: {wrong[1]}", where=where, remedy=remedy)
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if not answers:
        raise UserError("no assistant turn", where=where, remedy="Add the answer to learn, or delete the record")
    if not any(turn.get("weight", 1) for turn in answers):
        raise UserError("no assistant turn has a weight above 0", where=where, remedy="Delete the record")
    return Conversation(turns, tuple(tools_of(record.get("tools"), where)), where=where)


def _short(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _pair(record: dict[str, Any], where: str) -> Chat:
    """A question and its answer, as text or as lists of turns, after the rounds before it."""
    for ask, reply in PAIRS:
        question, answer = record.get(ask), record.get(reply)
        if isinstance(question, str) and isinstance(answer, str):
            extra = next((record[key] for key in ALPACA if record.get(key)), None) if ask == "instruction" else None
            if isinstance(extra, str) and extra.strip():
                question = f"{question}\n\n{extra}"
            pair = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            return messages(_history(record.get("history"), where) + pair, where)
        if isinstance(question, list) and isinstance(answer, list):
            return messages(question + answer, where)
    raise UserError(f"question and answer are not both text: {_short(record)}", where=where, remedy=SHAPES)


def _history(given: Any, where: str) -> Chat:
    """Alpaca's earlier rounds, [[question, answer], ...], as turns; a table holds them as JSON."""
    given = parsed(given)
    if not given:
        return []
    if not isinstance(given, list) or not all(
        isinstance(pair, list) and len(pair) == len(ROUND) and all(isinstance(text, str) for text in pair)
        for pair in given
    ):
        raise UserError("history is not a list of rounds", where=where, remedy='Use [["question", "answer"], ...]')
    return [{"role": role, "content": text} for pair in given for role, text in zip(ROUND, pair, strict=True)]


def messages(listed: Any, where: str) -> Chat:
    """A list of turns in OpenAI's words or in ShareGPT's, checked one by one; a table holds them as JSON."""
    values = parsed(listed)
    if not isinstance(values, list) or not values:
        raise UserError("no turns", where=where, remedy="Give a non-empty list of messages")
    turns: Chat = []
    for number, value in enumerate(values, 1):
        place = f"turn {number}"
        if not isinstance(value, dict):
            raise UserError(f"{place} is not an object", where=where, remedy='Each turn is {"role", "content"}')
        role_key, text_key = ("from", "value") if "from" in value else ("role", "content")
        role = value.get(role_key)
        if not isinstance(role, str) or role not in ROLES:
            raise UserError(f"{place}: unknown role {role!r}", where=where, remedy=f"Known: {', '.join(ROLES)}")
        if ROLES[role] == CALL:
            called, content = calls(value.get(text_key) or "?", where, place), ""
        else:
            given = value.get("tool_calls") or value.get("function_call")  # the latter is OpenAI's older word
            called = calls(given, where, place) if ROLES[role] == "assistant" else []
            content = _text(value.get(text_key), where, place, text_key, optional=bool(called))
        if ROLES[role] == CALL and turns and turns[-1]["role"] == "assistant":
            turns[-1].setdefault("tool_calls", []).extend(called)  # one answer: what it says, and what it calls
            continue
        turn = {"role": "assistant" if ROLES[role] == CALL else ROLES[role], "content": content}
        _check(turn, called, number, where)
        turn |= {key: value[key] for key in KEPT if isinstance(value.get(key), str) and value[key]}
        turns.append(turn | ({"tool_calls": called} if called else {}) | _weight(value, turn, where, place))
    return turns


def _check(turn: dict[str, Any], called: Any, number: int, where: str) -> None:
    if turn["role"] == "assistant" and not called and not turn["content"].strip():
        remedy = "Write the answer, or delete the record"
        raise UserError(f"turn {number}: empty assistant answer", where=where, remedy=remedy)
    if turn["role"] == "system" and number > 1:
        raise UserError(f"turn {number}: a system turn that is not the first", where=where, remedy="Move it up")


def _text(value: Any, where: str, place: str, key: str, *, optional: bool) -> str:
    """The text of a turn: a string, or a list of parts that are all text; nothing where the turn only calls tools."""
    if value is None and optional:
        return ""
    if isinstance(value, list) and value:
        parts = [part.get("text", part.get("value")) if isinstance(part, dict) else None for part in value]
        kinds = [part.get("type", "text") if isinstance(part, dict) else "?" for part in value]
        if other := next((kind for kind in kinds if kind != "text"), None):
            raise UserError(f"{place}: a part of type '{other}'", where=where, remedy="Only text is learned")
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    if not isinstance(value, str):
        raise UserError(f"{place} has no text under '{key}'", where=where, remedy=f'Write its words as "{key}": "..."')
    return value


def _weight(value: dict[str, Any], turn: dict[str, Any], where: str, place: str) -> dict[str, int]:
    """``{"weight": 0}`` where an answer is context and not to be learned."""
    found = next((value[key] for key in WEIGHTS if value.get(key) is not None), 1)
    if turn["role"] != "assistant" or found == 1:
        return {}
    if found != 0:
        raise UserError(f"{place}: weight {found!r}", where=where, remedy="An answer is learned, 1, or not, 0")
    return {"weight": 0}
