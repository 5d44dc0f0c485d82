"""Running a corpus step as the engine does: look at each task, decide once, apply to each task."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from danlu.text import packages
from danlu.text.corpus import CorpusStep
from danlu.text.document import Document, Dropped


def documents(texts: Sequence[str], name: str = "d") -> list[Document]:
    return [Document(text, f"{name}:{number}", name) for number, text in enumerate(texts)]


def run(
    step: CorpusStep, given: Sequence[Document], folder: Path, tasks: int = 1
) -> tuple[list[Document | Dropped], dict[str, Any]]:
    """What became of each document, and the facts for the report."""
    size = -(-len(given) // tasks) or 1
    parts = [given[task * size : (task + 1) * size] for task in range(tasks)]
    for task in reversed(range(tasks)):  # in whatever order they are done
        step.look(iter(parts[task]), folder, task)
    facts = step.decide(folder, tasks)
    found = list[Document | Dropped]()
    for task, part in enumerate(parts):
        for before, (same, after) in zip(part, step.apply(iter(part), folder, task), strict=True):
            assert same is before
            found.append(after)
    return found, facts


def dropped(found: Sequence[Document | Dropped]) -> dict[int, tuple[str, str]]:
    """Place → reason and detail of those that went."""
    return {n: (after.reason, after.detail) for n, after in enumerate(found) if isinstance(after, Dropped)}


@cache
def passages(words: int = 120, number: int = 400) -> tuple[str, ...]:
    """Real English: passages of the standard library's documentation, all different."""
    found = dict[str, None]()
    for document in packages.documents("python"):
        parts = document.text.split()
        for start in range(0, len(parts) - words, words):
            found[" ".join(parts[start : start + words])] = None
            if len(found) == number:
                return tuple(found)
    return tuple(found)


def edited(text: str, changes: int, rng: random.Random) -> str:
    """``text`` with some words replaced by words that are in no text."""
    words = text.split()
    for place in rng.sample(range(len(words)), changes):
        words[place] = f"zq{rng.randrange(10**6)}"
    return " ".join(words)
