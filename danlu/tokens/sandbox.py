"""Jinja as transformers runs it for chat templates: sandboxed, since a template is a stranger's program.

``{% generation %}`` blocks put their text between two marks, which whoever renders supplies.
"""

import json
import re
from collections.abc import Sequence
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

MARKED = re.compile(r"{%[-+]?\s*generation\b")  # does a template say what the assistant's words are?


@dataclass(frozen=True)
class Writer:
    """A template with the special tokens that it may name, and the two marks around what the assistant says."""

    template: str
    named: tuple[tuple[str, str], ...]
    marks: tuple[str, str] = ("", "")

    def __call__(self, messages: Sequence[Any], tools: Sequence[Any] = (), *, prompt: bool = False) -> str:
        """What the template writes; a `UserError` with the template's own words where it refuses."""
        try:
            return _compiled(self.template).render(
                messages=messages,
                tools=list(tools) or None,
                add_generation_prompt=prompt,
                generation_starts=self.marks[0],
                generation_ends=self.marks[1],
                **dict(self.named),
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise UserError(f"the chat template refuses the conversation ({error})") from None


class _Generation(Extension):
    """``{% generation %}``: its text is put between two marks."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)

        def mark(name: str) -> nodes.Node:
            return nodes.Output([nodes.Name(name, "load")]).set_lineno(line)

        return [mark("generation_starts"), *body, mark("generation_ends")]


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
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
