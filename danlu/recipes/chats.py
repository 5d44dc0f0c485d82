"""Conversations and preference pairs as the training stages take them: read, split without leaks, rendered."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.base.progress import say
from danlu.text import packages
from danlu.text.document import Chat, Preference
from danlu.text.records import read_chats, read_preferences
from danlu.tokens.chat import Rendered, render, to_training_item
from danlu.tokens.tokenizer import Tokenizer

HELD_OUT = "heldout.jsonl"
SMALLEST = 2


def chats_from(given: Sequence[str], bad_share: float, most: int = 0) -> list[Chat]:
    """The conversations of files, folders and ``package:NAME``, copies left out.

    Of each source at most ``most``, taken evenly; 0 takes all.
    """
    found: list[Chat] = []
    for source in given:
        chats = _unlike(list(read_chats(source, bad_share=bad_share)))
        step = max(len(chats) / most, 1.0) if most else 1.0
        found += [chats[int(i * step)] for i in range(int(len(chats) / step))]
    return _unlike(found)


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
    training, held_out = split(rest, [first_question(pair["prompt"]) for pair in rest], share, seed)
    training += preferences_from([str(folder / "train.jsonl") for folder in made], bad_share)
    return training, held_out + preferences_from([str(folder / HELD_OUT) for folder in made], bad_share)


def paths_of(given: Sequence[str]) -> dict[str, Path]:
    """What of ``given`` lies on disk, for the manifest."""
    return {source: Path(source) for source in given if not packages.is_package(source)}


def _unlike(records: list[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for record in records:
        seen.setdefault(json.dumps(record, ensure_ascii=False, sort_keys=True).casefold(), record)
    return list(seen.values())


def first_question(messages: Chat) -> str:
    """The first user turn: conversations that begin alike stay on one side of a split."""
    return " ".join(next((m["content"] for m in messages if m["role"] == "user"), "").casefold().split())


def split(records: list[Any], keys: Sequence[str], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """(training, held out) by a hash of each record's key; at least one of each if there are two keys."""
    ranks = {key: hashlib.sha256(f"{seed}\x1f{key}".encode()).digest() for key in keys}
    limit = int(share * 2**32)
    out = {key for key, rank in ranks.items() if int.from_bytes(rank[:4], "big") < limit}
    if share > 0 and not out and len(ranks) >= SMALLEST:
        out = {min(ranks, key=lambda key: ranks[key])}
    if len(out) == len(ranks) and len(ranks) >= SMALLEST:
        out.remove(max(out, key=lambda key: ranks[key]))
    pairs = list(zip(records, keys, strict=True))
    return [r for r, key in pairs if key not in out], [r for r, key in pairs if key in out]


@dataclass(frozen=True)
class Dialogues:
    """Conversations ready for training, and those held out."""

    training: list[Rendered]
    held_out: list[Rendered]
    held_out_chats: list[Chat]
    dropped: int

    @property
    def tokens(self) -> int:
        """Of the training side, prompts included."""
        return sum(len(item) for item in self.training)


def dialogues(chats: list[Chat], tokenizer: Tokenizer, length: int, share: float, seed: int) -> Dialogues:
    """Split and render; what does not fit even after its first answer is dropped, counted and said."""
    kept, out = split(chats, [first_question(chat) for chat in chats], share, seed)
    rendered = [[to_training_item(tokenizer, chat, length) for chat in side] for side in (kept, out)]
    training, held = ([item for item in side if item is not None] for side in rendered)
    dropped = len(chats) - len(training) - len(held)
    if dropped:
        say(f"  {dropped} of {len(chats)} conversations do not fit in {length} tokens and are left out")
    if not training:
        raise UserError("no conversation is left to train on", remedy=f"Raise the length ({length}) or check the chats")
    return Dialogues(training, held, out, dropped)


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
