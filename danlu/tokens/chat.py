"""The one chat renderer: messages → ids and loss mask, by the Jinja template that the tokenizer carries.

Ids equal those of ``transformers.AutoTokenizer.apply_chat_template``, and the mask its assistant mask, for
every conversation but one kind: where a message's own text contains a special token. There transformers, by
default, writes the special id, so that a user who types ``<|im_end|>`` ends the turn; here it stays text, and
no content can forge a turn. Assistant text is treated alike: a model learns to end turns from real ends only.

Words of the assistant lie in ``{% generation %}`` blocks of the template; those and nothing else have mask 1.
Left out: tools and images in messages.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from danlu.base.errors import UserError
from danlu.tokens.tokenizer import Tokenizer

# Content is trimmed: "\n" before and "<|im_end|>" after it then never merge with it, whatever it is, and a
# prompt that ends in "assistant\n" has the very ids that training saw. No system message is added unasked.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] | trim) + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ (message['content'] | trim) + '<|im_end|>' }}"
    "{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as ids; ``mask[t]`` is 1 where ``ids[t]`` is to be learned as a target, else 0."""

    ids: list[int]
    mask: list[int]

    def __len__(self) -> int:
        return len(self.ids)


def render(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
) -> Rendered:
    """Render ``messages``, each with ``role`` and ``content``: for training, or as the prompt of an answer.

    A prompt (``add_generation_prompt``) ends with a user's turn; anything else is for training and holds at
    least one assistant's turn. A `UserError` names the message that is out of order.
    """
    check_messages(messages, prompt=add_generation_prompt)
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template", remedy="Use a chat model's tokenizer or one Danlu made")
    guard, start, end = _unused(m["content"] for m in messages)
    special = "|".join(re.escape(t) for t in sorted(tokenizer.special_ids, key=len, reverse=True)) or r"(?!)"
    guarded = [
        # A guard after the first character of every special token that the content spells, overlaps included
        {**m, "content": re.sub(f"(?s)(?={special})(.)", rf"\1{guard}", m["content"])}
        for m in messages
    ]
    try:
        text = _compile(tokenizer.chat_template).render(
            messages=guarded,
            add_generation_prompt=add_generation_prompt,
            generation_starts=start,
            generation_ends=end,
            bos_token=tokenizer.token(tokenizer.bos_id),
            eos_token=tokenizer.token(tokenizer.eos_id),
            pad_token=tokenizer.token(tokenizer.pad_id),
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise UserError(f"the chat template refuses the conversation ({error})") from None
    pieces, spans = _pieces(re.split(f"([{guard}{start}{end}]|{special})", text), guard, start, end)
    if guard not in text:  # nothing to guard against: one piece, encoded just as transformers does
        pieces = [("".join(piece for piece, _ in pieces), True)]
    return _encode(tokenizer, pieces, spans)


def check_messages(messages: Sequence[Mapping[str, Any]], *, prompt: bool) -> None:
    """Refuse what is no conversation: [system,] user, assistant, user, ... with text in each."""
    for i, message in enumerate(messages):
        where = f"message {i + 1}"
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise UserError("has no text under 'content'", where=where)
        role = message.get("role")
        if role not in ROLES:
            raise UserError(f"unknown role {role!r}", where=where, remedy=f"Known roles: {', '.join(ROLES)}")
        before = messages[i - 1]["role"] if i else None
        allowed = {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}
        if role not in allowed[before]:
            place = f"after '{before}'" if before else "first"
            raise UserError(
                f"role '{role}' cannot come {place}", where=where, remedy="Turns alternate: user, then assistant"
            )
    if prompt and (not messages or messages[-1]["role"] != "user"):
        raise UserError("the conversation does not end with a user's turn", remedy="End a prompt with a question")
    if not prompt and not any(m["role"] == "assistant" for m in messages):
        raise UserError("the conversation has no assistant's turn, so there is nothing to learn")


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


def to_training_item(tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], max_length: int) -> Rendered | None:
    """`render` for training, at most ``max_length`` ids long; None if the conversation has to be dropped.

    What is too long is cut at whole turns from the end, down to the first assistant's turn. An answer is never
    cut in the middle: the model would learn that answers stop there. The caller counts what is dropped.
    """
    kept = list(messages)
    check_messages(kept, prompt=False)
    while any(m["role"] == "assistant" for m in kept):
        rendered = render(tokenizer, kept)
        if len(rendered) <= max_length:
            return rendered if any(rendered.mask) else None
        kept.pop()
        while kept and kept[-1]["role"] != "assistant":  # a question without its answer teaches nothing
            kept.pop()
    return None


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
    for start, end in spans:
        i = bisect_right(ends, start)  # the first token that reaches into the span
        while i < len(ids) and starts[i] < end:
            mask[i] = 1
            i += 1
    return Rendered(ids, mask)


class _Generation(Extension):
    """``{% generation %}``: its text is put between two marks, which `render` supplies."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)

        def mark(name: str) -> nodes.Node:
            return nodes.Output([nodes.Name(name, "load")]).set_lineno(line)

        return [mark("generation_starts"), *body, mark("generation_ends")]


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    """The template in the sandbox that transformers gives it: a template is a stranger's program."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)
