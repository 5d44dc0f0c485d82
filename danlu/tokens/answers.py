"""Find the assistant's words in what a chat template without ``{% generation %}`` marks writes.

Nearly every published template lacks the marks. What a template does around an answer is learned from a probe: what
``add_generation_prompt`` adds is the header of an answer, and a prompt has to be the beginning of what training sees,
or the model would be asked something else than it was taught. Then, of each conversation,

- where the header holds a special token (Llama 3, Qwen, Gemma), an answer goes from a header to the next end of a turn:
  no content can spell either (`danlu.tokens.chat` guards special tokens);
- elsewhere (Mistral, Llama 2) the conversation is written a second time with every answer between two characters that
  are in no text, and the rest must come out the same.

What was found is checked: as many answers as assistant's turns, each with its own words and the end of a turn after
them. Where that fails, nothing is guessed. `danlu.tokens.marks` rewrites a template instead, for one that is stored.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from danlu.base.errors import UserError
from danlu.tokens.sandbox import Writer

PROBE = "\U000ffffd"  # a content that no template writes of itself
THOUGHT = "</think>"  # what comes before it a template may leave out of earlier answers


class Frame(NamedTuple):
    """What a template writes before an answer: the header, and what the model itself writes before its first word."""

    header: str
    lead: str


def with_marks(
    writer: Writer, text: str, turns: Sequence[Any], tools: Sequence[Any], closing: str, special: frozenset[str]
) -> str:
    """``text``, which ``writer`` made of ``turns``, with its marks around every answer and its end.

    ``closing`` is the token that ends a turn. A `UserError` says why the answers cannot be told from the rest.
    """
    frame = _frame(writer.template, writer.named)
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if any(token in frame.header for token in special):
        spans = _by_header(text, frame, closing, answers)
    else:
        spans = _by_writing_twice(writer, text, turns, tools, frame, closing)
    done, at = "", 0
    for begin, end in spans:
        done += text[at:begin] + writer.marks[0] + text[begin:end] + writer.marks[1]
        at = end
    return done + text[at:]


def _refuse(why: str) -> NoReturn:
    remedy = "Use --template NAME, or put {% generation %} ... {% endgeneration %} around the answers in the template"
    raise UserError(f"the chat template does not mark answers, and they cannot be found: {why}", remedy=remedy)


@lru_cache(maxsize=16)
def _frame(template: str, named: tuple[tuple[str, str], ...]) -> Frame:
    writer = Writer(template, named)
    asked = [{"role": "user", "content": "1"}]
    question, prompt = writer(asked), writer(asked, prompt=True)
    whole = writer([*asked, {"role": "assistant", "content": PROBE}])
    if not whole.startswith(prompt):
        _refuse("the prompt of an answer is not how a conversation with the answer begins")
    if whole.count(PROBE) != 1:
        _refuse("an answer is not written once")
    header = prompt.removeprefix(question) if prompt.startswith(question) else ""
    return Frame(header, whole[len(prompt) : whole.index(PROBE)])


def _by_header(text: str, frame: Frame, closing: str, answers: Sequence[Any]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    at = 0
    while (found := text.find(frame.header, at)) >= 0:
        begin = found + len(frame.header)
        at = text.find(closing, begin) + len(closing)
        if at < begin:
            _refuse(f"no '{closing}' comes after an answer")
        spans.append((begin, at))
    if len(spans) != len(answers):
        _refuse(f"{len(answers)} answers were given and {len(spans)} found")
    for (begin, end), answer in zip(spans, answers, strict=True):
        said = answer["content"].rsplit(THOUGHT, 1)[-1].strip()
        if not answer.get("tool_calls") and not text[begin : end - len(closing)].rstrip().endswith(said):
            _refuse("the words of an answer are not written as they are")
    return spans


def _by_writing_twice(
    writer: Writer, text: str, turns: Sequence[Any], tools: Sequence[Any], frame: Frame, closing: str
) -> list[tuple[int, int]]:
    if frame.lead.strip():
        _refuse(f"'{frame.lead.strip()}' stands between the prompt and the answer")
    start, stop = writer.marks
    for trimmed in (False, True):  # a template that trims would leave white space inside our characters
        said = [turn["content"].strip() if trimmed else turn["content"] for turn in turns]
        marked = [
            {**turn, "content": start + words + stop} if turn["role"] == "assistant" else turn
            for turn, words in zip(turns, said, strict=True)
        ]
        again = writer(marked, tools)
        if again.replace(start, "").replace(stop, "") == text:
            break
    else:
        _refuse("what the template writes depends on more than the words of the answer")
    spans: list[tuple[int, int]] = []
    at = 0
    for number, part in enumerate(again.split(start)):
        if number:
            words, _, after = part.partition(stop)
            ends = re.match(rf"\s*{re.escape(closing)}", after)
            if ends is None:
                _refuse(f"no '{closing}' comes after an answer")
            if not text.startswith(frame.lead, at - len(frame.lead)):
                _refuse("not every answer begins as the first one does")
            spans.append((at - len(frame.lead), at + len(words) + ends.end()))
        at += len(part) - part.count(stop)
    if len(spans) != sum(turn["role"] == "assistant" for turn in turns):
        _refuse("an answer is left out")
    return spans
