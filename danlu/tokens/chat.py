"""The one chat renderer: messages → ids and loss mask, by the Jinja template that the tokenizer carries.

Ids equal those of ``transformers.AutoTokenizer.apply_chat_template``, and the mask its assistant mask, for
every conversation but one kind: where a message's own text contains a special token. There transformers, by
default, writes the special id, so that a user who types ``<|im_end|>`` ends the turn; here it stays text, and
no content can forge a turn, the arguments of a call and what a tool says of itself included. Assistant text is
treated alike: a model learns to end turns from real ends only.

Words of the assistant lie in ``{% generation %}`` blocks of the template; those and nothing else have mask 1. In what
a template without such blocks writes, `danlu.tokens.answers` finds them. Left out: images in messages.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.base.errors import UserError
from danlu.text.document import BEFORE, misplaced
from danlu.tokens.answers import with_marks
from danlu.tokens.sandbox import MARKED, Writer
from danlu.tokens.tokenizer import Tokenizer

ROLES = tuple(BEFORE)
# What a template must speak of if a conversation has it; else it would silently be left out
SPOKEN = {
    "tools": re.compile(r"\btools\b"),
    "tool_calls": re.compile(r"\btool_calls\b"),
    "a tool's turn": re.compile(r"\btool"),
    "reasoning_content": re.compile(r"\breasoning_content\b"),
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as ids; ``mask[t]`` is 1 where ``ids[t]`` is to be learned as a target, else 0.

    ``answers`` are the learned stretches, one for each answer, as (first, after the last).
    """

    ids: list[int]
    mask: list[int]
    answers: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def __len__(self) -> int:
        return len(self.ids)


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = False,
) -> Rendered:
    """Render ``messages``, each with ``role`` and ``content``: for training, or as the prompt of an answer.

    ``tools`` are what the assistant may call, as OpenAI describes them. A prompt (``add_generation_prompt``) ends with
    a user's turn or a tool's; anything else is for training and holds at least one assistant's turn. A `UserError`
    names the message that is out of order, what the template has no place for, and a template whose answers cannot be
    told from the rest.
    """
    check_messages(messages, prompt=add_generation_prompt)
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template", remedy="Use a chat model's tokenizer or one Danlu made")
    _check_spoken(tokenizer.chat_template, messages, tools)
    guard, start, end = _unused(_strings([messages, tools]))
    special = "|".join(re.escape(t) for t in sorted(tokenizer.special_ids, key=len, reverse=True)) or r"(?!)"
    # A guard after the first character of every special token that the content spells, overlaps included
    pattern = re.compile(f"(?s)(?={special})(.)")
    turns, known = (_guarded(list(values), pattern, rf"\1{guard}") for values in (messages, tools))
    writer = Writer(tokenizer.chat_template, tuple(tokenizer.named.items()), (start, end))
    text = writer(turns, known, prompt=add_generation_prompt)
    if not add_generation_prompt and not MARKED.search(tokenizer.chat_template):
        closing = tokenizer.token(tokenizer.end_of_turn_id)
        text = with_marks(writer, text, turns, known, closing, frozenset(tokenizer.special_ids))
    pieces, spans = _pieces(re.split(f"([{guard}{start}{end}]|{special})", text), guard, start, end)
    if guard not in text:  # nothing to guard against: one piece, encoded just as transformers does
        pieces = [("".join(piece for piece, _ in pieces), True)]
    return _encode(tokenizer, pieces, spans)


def check_messages(messages: Sequence[Mapping[str, Any]], *, prompt: bool) -> None:
    """Refuse what is no conversation: [system,] user, assistant, [tool, ... assistant,] user, ... with text in each."""
    for i, message in enumerate(messages):
        where = f"message {i + 1}"
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise UserError("has no text under 'content'", where=where)
        if message.get("role") not in ROLES:
            remedy = f"Known roles: {', '.join(ROLES)}"
            raise UserError(f"unknown role {message.get('role')!r}", where=where, remedy=remedy)
    if wrong := misplaced(messages):
        raise UserError(wrong[1], where=f"message {wrong[0]}", remedy="Turns alternate: user, then assistant")
    if prompt and (not messages or messages[-1]["role"] not in ("user", "tool")):
        raise UserError("the conversation does not end with a user's turn", remedy="End a prompt with a question")
    if not prompt and not any(m["role"] == "assistant" for m in messages):
        raise UserError("the conversation has no assistant's turn, so there is nothing to learn")


def _check_spoken(template: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> None:
    """Refuse what the template would leave out without a word."""
    used = {
        "tools": bool(tools),
        "tool_calls": any(message.get("tool_calls") for message in messages),
        "a tool's turn": any(message["role"] == "tool" for message in messages),
        "reasoning_content": any(message.get("reasoning_content") for message in messages),
    }
    for name, pattern in SPOKEN.items():
        if used[name] and not pattern.search(template):
            remedy = "Use a template that has, such as --template qwen for tools, or leave it out of the data"
            raise UserError(f"the chat template has no place for {name}", remedy=remedy)


def check_template(tokenizer: Tokenizer) -> None:
    """Refuse a template under which a model would never learn to stop."""
    name = tokenizer.token(tokenizer.end_of_turn_id)
    if tokenizer.pad_id == tokenizer.end_of_turn_id:
        raise UserError(
            f"padding and the end of a turn are both '{name}', so the end would never be learned",
            remedy="Give the tokenizer a pad_token of its own",
        )
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    rendered = render(tokenizer, turns)
    if not any(m and i == tokenizer.end_of_turn_id for i, m in zip(rendered.ids, rendered.mask)):
        raise UserError(
            f"the chat template does not train the end of a turn, '{name}'",
            remedy="Put {% generation %} ... {% endgeneration %} around the assistant's content and its end token",
        )


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value, however deep, the keys of dictionaries included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _guarded(value: Any, pattern: re.Pattern[str], guard: str) -> Any:
    """The same value, with every string that spells a special token guarded."""
    if isinstance(value, str):
        return pattern.sub(guard, value)
    if isinstance(value, Mapping):
        return {_guarded(key, pattern, guard): _guarded(inner, pattern, guard) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_guarded(inner, pattern, guard) for inner in value]
    return value


def _unused(contents: Iterable[str]) -> list[str]:
    """Three characters that are in none of the contents: noncharacters first, then private ones."""
    taken = set().union(*contents)
    free = (chr(c) for block in (range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE)) for c in block)
    return [c for c, _ in zip((c for c in free if c not in taken), range(3))]


def _pieces(parts: list[str], guard: str, start: str, end: str) -> tuple[list[tuple[str, bool]], list[tuple[int, int]]]:
    """Rendered text without its marks, as (text, is it a special token of the template's), and the learned spans.

    ``parts`` alternate between plain text and one mark or special token.
    """
    pieces: list[tuple[str, bool]] = []
    spans: list[tuple[int, int]] = []
    run, position, began = "", 0, 0
    for i, part in enumerate(parts):
        if part == start:
            began = position
        elif part == end:
            spans.append((began, position))
        elif part != guard:
            position += len(part)
            if i % 2:
                pieces += [(run, False), (part, True)]
                run = ""
            else:
                run += part  # marks fall out without cutting the text around them
    return [(piece, special) for piece, special in [*pieces, (run, False)] if piece], spans


def _encode(tokenizer: Tokenizer, pieces: list[tuple[str, bool]], spans: list[tuple[int, int]]) -> Rendered:
    """Encode the pieces; a token that stands for any character of a span has mask 1."""
    ids: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    base = 0
    for piece, special in pieces:
        piece_ids, offsets = tokenizer.encode_spans(piece, parse=special)
        ids += piece_ids
        starts += [base + a for a, _ in offsets]
        ends += [base + b for _, b in offsets]
        base += len(piece)
    mask = [0] * len(ids)
    answers = []
    for start, end in spans:
        first = i = bisect_right(ends, start)  # the first token that reaches into the span
        while i < len(ids) and starts[i] < end:
            mask[i] = 1
            i += 1
        answers.append((first, i))
    return Rendered(ids, mask, answers)
