"""Conversations and preference pairs as the training stages take them: read, and split without leaks."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base.files import write_text
from danlu.base.progress import say
from danlu.recipes.sides import grouped, normalized, sides
from danlu.text import packages, saved
from danlu.text.conversations import read_chats, read_conversations
from danlu.text.document import Chat, Conversation, Preference
from danlu.text.pairs import read_preferences
from danlu.tokens.chat import Rendered, render
from danlu.tokens.tokenizer import Tokenizer

HELD_OUT, TEST = "heldout.jsonl", "test.jsonl"


def chats_from(given: Sequence[str], bad_share: float, most: int = 0) -> list[Chat]:
    """The turns of the conversations of files, folders and ``package:NAME``, copies left out.

    Of each source at most ``most``, taken evenly; 0 takes all.
    """
    return _taken(given, lambda source: list(read_chats(source, bad_share=bad_share)), most, lambda chat: chat)


def conversations_from(given: Sequence[str], bad_share: float, most: int = 0) -> list[Conversation]:
    """As `chats_from`, with the tools that may be called, and plain texts."""
    return _taken(
        given, lambda source: list(read_conversations(source, bad_share=bad_share)), most, Conversation.record
    )


def _taken(given: Sequence[str], read: Callable[[str], list[Any]], most: int, key: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    for source in given:
        chats = _unlike(read(source), key)
        step = max(len(chats) / most, 1.0) if most else 1.0
        found += [chats[int(i * step)] for i in range(int(len(chats) / step))]
    return _unlike(found, key)


def preferences_from(given: Sequence[str], bad_share: float) -> list[Preference]:
    """All preference pairs of files and folders, copies left out."""
    return _unlike([pair for source in given for pair in read_preferences(source, bad_share=bad_share)])


def preference_sides(
    given: Sequence[str], bad_share: float, share: float, seed: int
) -> tuple[list[Preference], list[Preference]]:
    """(training, held-out) pairs: by the files ``train.jsonl`` and ``heldout.jsonl`` of a folder that has both, else
    by a hash of the prompt."""
    made = [Path(source) for source in given if (Path(source) / HELD_OUT).is_file()]
    rest = preferences_from([source for source in given if Path(source) not in made], bad_share)
    training, held_out = split(rest, grouped([first_question(pair["prompt"]) for pair in rest]), share, seed)
    training += preferences_from([str(folder / "train.jsonl") for folder in made], bad_share)
    return training, held_out + preferences_from([str(folder / HELD_OUT) for folder in made], bad_share)


def paths_of(given: Sequence[str]) -> dict[str, Path]:
    """What of ``given`` lies on disk, for the manifest."""
    return {source: Path(source) for source in given if not packages.is_package(source) and not saved.is_named(source)}


def _unlike(records: list[Any], key: Callable[[Any], Any] = lambda record: record) -> list[Any]:
    seen: dict[str, Any] = {}
    for record in records:
        seen.setdefault(json.dumps(key(record), ensure_ascii=False, sort_keys=True).casefold(), record)
    return list(seen.values())


def first_question(messages: Chat) -> str:
    """The first user turn: conversations that begin alike stay on one side of a split."""
    return normalized(str(next((m["content"] for m in messages if m["role"] == "user"), "")))


def split(records: list[Any], keys: Sequence[str], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """(training, held out) by a hash of each record's key; at least one of each if there are two keys."""
    found = sides(keys, share, 0.0, seed)
    pairs = list(zip(records, found, strict=True))
    return [r for r, side in pairs if side == "train"], [r for r, side in pairs if side == "heldout"]


def render_pairs(pairs: Sequence[Preference], tokenizer: Tokenizer, length: int) -> list[tuple[Rendered, Rendered]]:
    """(chosen, rejected) of each pair whose two conversations fit; the mask covers the last answer only."""
    done = []
    for pair in pairs:
        both = [_last_answer(tokenizer, pair["prompt"], answer) for answer in (pair["chosen"], pair["rejected"])]
        if all(len(item) <= length for item in both):
            done.append((both[0], both[1]))
    if len(done) < len(pairs):
        say(f"  {len(pairs) - len(done)} of {len(pairs)} pairs do not fit in {length} tokens and are left out")
    return done


def _last_answer(tokenizer: Tokenizer, prompt: Chat, answer: str) -> Rendered:
    rendered = render(tokenizer, [*prompt, {"role": "assistant", "content": answer}])
    start = len(render(tokenizer, prompt, add_generation_prompt=True).ids)
    return Rendered(rendered.ids, [0] * start + rendered.mask[start:])


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines, atomically."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
