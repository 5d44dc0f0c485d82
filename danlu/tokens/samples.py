"""Conversations as items to train on: which answers are learned, and what does not fit, counted.

A conversation of several turns can be learned in three ways. ``all``: every answer in one pass. ``each``: an item for
every answer, with what came before it and nothing after, as at inference; for a template that writes a beginning of a
conversation as the conversation begins (nearly all do) the loss and its gradient are those of ``all``, at several times
the cost. ``last``: the last answer only. A plain text is learned whole, begun and ended as a document in pretraining.

What is too long is never cut inside an answer: the model would learn that answers stop there. ``all`` leaves out whole
turns from the end, ``each`` the items that do not fit, ``last`` the conversation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.base.errors import UserError
from danlu.text.document import Conversation
from danlu.tokens.chat import Rendered, check_messages, render
from danlu.tokens.templates import Learn
from danlu.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Built:
    """The items of one conversation; ``answers`` were to be learned, ``lost`` of them did not fit. A text has none."""

    items: list[Rendered]
    answers: int
    lost: int


def build(tokenizer: Tokenizer, conversation: Conversation, length: int, learn: Learn = "all") -> Built:
    """The items of at most ``length`` tokens that a conversation becomes; a `UserError` names its record."""
    if conversation.text:
        return Built(_pieces(tokenizer, conversation.text, length), 0, 0)
    try:
        return _LEARNING[learn](tokenizer, conversation, length)
    except UserError as error:
        where = f"{conversation.where}, {error.where}" if error.where and conversation.where else error.where
        raise UserError(error.what, where=where or conversation.where or None, remedy=error.remedy) from None


def to_training_item(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    max_length: int,
    tools: Sequence[Mapping[str, Any]] = (),
) -> Rendered | None:
    """`render` for training, at most ``max_length`` ids long; None if the conversation has to be dropped.

    What is too long is cut at whole turns from the end, down to the first assistant's turn. The caller counts.
    """
    return _fitting(tokenizer, messages, max_length, tools)[0]


def _fitting(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    length: int,
    tools: Sequence[Mapping[str, Any]],
) -> tuple[Rendered | None, int]:
    """As `to_training_item`, and how many answers were kept."""
    kept = list(messages)
    check_messages(kept, prompt=False)
    while answers := sum(m["role"] == "assistant" for m in kept):
        rendered = render(tokenizer, kept, tools=tools)
        if len(rendered) <= length:
            if not any(rendered.mask):
                what = "the chat template marks nothing of the conversation as an answer, so nothing would be learned"
                raise UserError(what, remedy="Use --template NAME, or mend the template")
            return rendered, answers
        kept.pop()
        while kept and kept[-1]["role"] != "assistant":  # a question without its answer teaches nothing
            kept.pop()
    return None, 0


def _all(tokenizer: Tokenizer, conversation: Conversation, length: int) -> Built:
    wanted = _wanted(conversation)
    rendered, there = _fitting(tokenizer, conversation.turns, length, conversation.tools)
    kept = [number for number in wanted if number < there]
    if rendered is None or not kept:
        return Built([], len(wanted), len(wanted))
    if len(kept) < there:
        rendered = _only(rendered, kept, there)
    return Built([rendered], len(wanted), len(wanted) - len(kept))


def _last(tokenizer: Tokenizer, conversation: Conversation, length: int) -> Built:
    return _one(tokenizer, conversation, length, _wanted(conversation)[-1:])


def _each(tokenizer: Tokenizer, conversation: Conversation, length: int) -> Built:
    return _one(tokenizer, conversation, length, _wanted(conversation))


def _one(tokenizer: Tokenizer, conversation: Conversation, length: int, wanted: Sequence[int]) -> Built:
    """An item for each of the answers ``wanted``: the conversation up to it, and only it to be learned."""
    ends = [place for place, turn in enumerate(conversation.turns, 1) if turn["role"] == "assistant"]
    items = []
    for number in wanted:
        turns = conversation.turns[: ends[number]]
        rendered = render(tokenizer, turns, tools=conversation.tools)
        if len(rendered) <= length:
            items.append(_only(rendered, [number], number + 1))
    return Built(items, len(wanted), len(wanted) - len(items))


_LEARNING = {"all": _all, "each": _each, "last": _last}


def _wanted(conversation: Conversation) -> list[int]:
    """The numbers of the answers that are to be learned, counted from 0."""
    answers = [turn for turn in conversation.turns if turn["role"] == "assistant"]
    return [number for number, turn in enumerate(answers) if turn.get("weight", 1)]


def _only(rendered: Rendered, numbers: Collection[int], answers: int) -> Rendered:
    """The same ids, with these of its ``answers`` alone to be learned."""
    if len(rendered.answers) != answers:
        what = f"the chat template marks {len(rendered.answers)} stretches as answers, and {answers} are there"
        raise UserError(what, remedy="Mark each answer once, and whole, or learn all of them")
    mask = [0] * len(rendered)
    for number in numbers:
        begin, end = rendered.answers[number]
        mask[begin:end] = [1] * (end - begin)
    return Rendered(rendered.ids, mask, [rendered.answers[number] for number in numbers])


def _pieces(tokenizer: Tokenizer, text: str, length: int) -> list[Rendered]:
    """A text, cut where a piece is full; the next one begins with the last token again, to predict from."""
    ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
    pieces = [ids[start : start + length] for start in range(0, len(ids) - 1, max(length - 1, 1))]
    return [Rendered(piece, [0] + [1] * (len(piece) - 1), [(1, len(piece))]) for piece in pieces]
