"""Records as preference pairs: a prompt, and two answers of which one is better."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.text.conversations import LISTS, messages
from danlu.text.document import Chat, Preference, misplaced
from danlu.text.records import rows
from danlu.text.report import Funnel


def read_preferences(
    source: str | Path, tally: Funnel | None = None, *, bad_share: float = 0.01
) -> Iterator[Preference]:
    """Validated preference pairs from a file, a folder or ``datasets:NAME[:SPLIT]``.

    Known shapes: ``{"prompt", "chosen", "rejected"}``, each a string or a list of messages; conversations ``chosen``
    and ``rejected`` without a prompt, which then is what they have in common before the last turn; and LLaMA-Factory's
    ``{"conversations", "chosen", "rejected"}``, the prompt a list of turns and each answer one turn.
    """
    for where, record in rows(source, tally if tally is not None else Funnel(), bad_share):
        yield preference(record, where)


def preference(record: dict[str, Any], where: str) -> Preference:
    """One record as a preference pair, or a `UserError` that names it."""
    for key in ("chosen", "rejected"):
        if key not in record:
            raise UserError(f"no key '{key}'", where=where, remedy='Use {"prompt", "chosen", "rejected"}')
    prompt = next((record[key] for key in ("prompt", *LISTS) if record.get(key) is not None), None)
    given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    asked = messages(given, where) if given else []
    before_chosen, chosen = _answer(record["chosen"], where, "chosen")
    before_rejected, rejected = _answer(record["rejected"], where, "rejected")
    asked = asked or before_chosen or before_rejected
    if any(before and before != asked for before in (before_chosen, before_rejected)):
        remedy = "The two may differ in the last turn only"
        raise UserError("chosen and rejected answer different prompts", where=where, remedy=remedy)
    if not asked or asked[-1]["role"] != "user":
        raise UserError("the prompt does not end with a user turn", where=where, remedy="Add 'prompt'")
    if wrong := misplaced(asked):
        raise UserError(f"prompt, turn {wrong[0]}: {wrong[1]}", where=where, remedy="Turns alternate: user, assistant")
    if chosen.strip() == rejected.strip():
        remedy = "Delete the pair, or make the answers differ"
        raise UserError("chosen and rejected are equal", where=where, remedy=remedy)
    return {"prompt": asked, "chosen": chosen, "rejected": rejected}


def _answer(value: Any, where: str, key: str) -> tuple[Chat, str]:
    """What comes before the answer, if the record repeats it, and the answer."""
    given = [{"role": "assistant", "content": value}] if isinstance(value, str) else value
    turns = messages([given] if isinstance(given, dict) else given, where)
    if turns[-1]["role"] != "assistant":
        raise UserError(f"'{key}' does not end with an assistant turn", where=where, remedy="Add the answer")
    return turns[:-1], str(turns[-1]["content"])
