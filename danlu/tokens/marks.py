"""Put ``{% generation %}`` marks into a chat template that has none.

Nearly every published template lacks them. Fine-tuning finds the answers without (`danlu.tokens.answers`); a template
that is to be stored with marks, so that transformers gives the same mask, gets them here. Where a template writes a
message in one expression,

    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}

it is cut before the content and after the end of the turn, and the middle is marked where the role is the
assistant's. What was made is then tried on conversations: it must give the very ids of the original, and mark the
answers with their ends and nothing else. Otherwise there is no marked template, and the caller says so.

Left out: templates that put a message together in a variable first (Llama 3.0's), or in several expressions.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any

import jinja2

from danlu.base.errors import UserError
from danlu.tokens.chat import render
from danlu.tokens.sandbox import MARKED
from danlu.tokens.tokenizer import Tokenizer

Token = tuple[int, str, str]  # line, kind, text, as Jinja's lexer gives them
WORDS = {"if", "else", "and", "or", "not", "in", "is"}  # an expression with one of them is no plain sum
LOOP = re.compile(r"\bfor\s+(\w+)\s+in\s+\w*messages")
CONTENTS = ("Who?", "  two\nlines ", "3", "four 四")
ROLES = ("ua", "sua", "uaua", "suaua", "u", "su", "uau")  # the last three are prompts


def mark_answers(tokenizer: Tokenizer) -> str | None:
    """The tokenizer's chat template with marks; None if it has none and they cannot be put in."""
    template = tokenizer.chat_template
    if template is None or MARKED.search(template):
        return template
    try:
        marked = _rewrite(template, tokenizer.token(tokenizer.end_of_turn_id), tokenizer.token(tokenizer.eos_id))
        return marked if marked is not None and _proved(tokenizer, marked) else None
    except (jinja2.TemplateError, UserError):  # not Jinja at all, or cut where it must not be
        return None


def _rewrite(template: str, end: str, eos: str) -> str | None:
    """The template with every sum that writes a message and its end cut in three."""
    loop = LOOP.search(template)
    tokens: list[Token] = list(jinja2.Environment().lex(template))
    out, at, found = "", 0, False
    while at < len(tokens):
        if loop is None or tokens[at][1] != "variable_begin":
            out += tokens[at][2]
            at += 1
            continue
        close = next((i for i in range(at, len(tokens)) if tokens[i][1] == "variable_end"), None)
        if close is None:
            return None
        parts = _parts(tokens[at + 1 : close], end, eos)
        if parts is None:
            out += "".join(text for _, _, text in tokens[at : close + 1])
        else:
            before, answer, after = parts
            condition = f"{{% if {loop[1]}['role'] == 'assistant' %}}"
            # Expressions on both sides, even empty ones: a line feed right after a block's end would be swallowed.
            out += f"{tokens[at][2]} {before} }}}}{condition}{{% generation %}}{{{{ {answer} }}}}{{% endgeneration %}}"
            out += f"{{% else %}}{{{{ {answer} }}}}{{% endif %}}{{{{ {after} {tokens[close][2]}"
            found = True
        at = close + 1
    return out if found else None


def _parts(tokens: Sequence[Token], end: str, eos: str) -> tuple[str, str, str] | None:
    """A sum as (what comes before the content, content and end of turn, the rest), or None if it is no such sum."""
    terms: list[str] = [""]
    signs: list[str] = []
    content, depth = None, 0
    for _, kind, text in tokens:
        depth += (text in "([{") - (text in ")]}") if kind == "operator" else 0
        if depth == 0 and kind == "name" and text in WORDS:
            return None
        if depth == 0 and kind == "operator" and text in "+~":
            signs.append(text)
            terms.append("")
            continue
        if (kind == "name" and text == "content") or (kind == "string" and text[1:-1] == "content"):
            content = len(terms) - 1 if content is None else content
        terms[-1] += text
    if content is None:
        return None
    for index in range(content + 1, len(terms)):
        rest = _after(terms[index].strip(), end, eos)
        if rest is not None:
            inner = [*terms[content:index], repr(end)]
            answer = _sum(inner, signs[content:index])
            return (
                _sum(terms[:content], signs),
                answer,
                _sum([repr(rest), *terms[index + 1 :]], ["+", *signs[index + 1 :]]),
            )
    return None


def _after(term: str, end: str, eos: str) -> str | None:
    """What of a term comes after the end of the turn with which it begins; None if it does not."""
    if term == "eos_token" and end == eos:
        return ""
    if term[:1] not in ("'", '"') or term[-1:] != term[:1]:
        return None
    try:
        value: Any = ast.literal_eval(term)
    except (ValueError, SyntaxError):
        return None
    return value[len(end) :] if isinstance(value, str) and value.startswith(end) else None


def _sum(terms: Sequence[str], signs: Sequence[str]) -> str:
    """The terms with the signs between them; no terms are an empty text."""
    if not terms:
        return "''"
    return terms[0] + "".join(f" {sign} {term}" for sign, term in zip(signs, terms[1:], strict=False))


def _proved(tokenizer: Tokenizer, marked: str) -> bool:
    """Does the marked template write what the original writes, and mark what an answer is?"""
    other = tokenizer.with_config(chat_template=marked)
    end, answers = other.token(other.end_of_turn_id), 0
    for roles in ROLES:
        names = [{"s": "system", "u": "user", "a": "assistant"}[role] for role in roles]
        chat = [{"role": name, "content": text} for name, text in zip(names, CONTENTS * 2, strict=False)]
        prompt = names[-1] == "user"
        try:
            plain = render(tokenizer, chat, add_generation_prompt=prompt)
        except UserError:  # a template may refuse a system message
            continue
        found = render(other, chat, add_generation_prompt=prompt)
        learned = other.decode((i for i, m in zip(found.ids, found.mask, strict=True) if m), skip_special=False)
        wanted = [turn["content"] + end for turn in chat if turn["role"] == "assistant"]
        if found.ids != plain.ids or _letters(learned) != _letters("".join(wanted)):
            return False
        answers += len(wanted)
    return answers > 0


def _letters(text: str) -> str:
    """Without white space, which templates trim and tokenizers add."""
    return "".join(text.split())
