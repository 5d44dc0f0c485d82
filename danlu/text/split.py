"""Train or validation, decided by what a document says and not by where it stands.

Each text has a `position` in [0, 1), a hash of its fingerprint and the seed; below the share it is validation.
So the same text lies on the same side in every run, whatever the order and whatever is added later.

It tells exact copies apart from nothing: a near-duplicate (one word changed) has another position and may sit on
the other side. Where that matters, near-duplicates have to be removed before the split.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

from danlu.text.document import Document, fingerprint

Side = Literal["train", "validation"]
OTHER: dict[Side, Side] = {"train": "validation", "validation": "train"}


def position(text: str, seed: int) -> float:
    """Where ``text`` lies in [0, 1)."""
    digest = hashlib.blake2b(fingerprint(text), digest_size=8, salt=(seed % 2**64).to_bytes(8, "big")).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split(documents: Iterable[Document], share: float, seed: int) -> Iterator[tuple[Side, Document]]:
    """Each document with its side. With a share above 0 and two different texts, neither side stays empty.

    The document nearest to the border is held back on each side; where the other side got none by the end, it goes
    there. The choice depends on the texts alone, copies of one text move together, and the price is that the held
    documents come last.
    """
    if share <= 0:
        yield from (("train", document) for document in documents)
        return
    held: dict[Side, tuple[float, list[Document]]] = {"train": (2.0, []), "validation": (2.0, [])}
    released: dict[Side, int] = {"train": 0, "validation": 0}
    for document in documents:
        place = position(document.text, seed)
        side: Side = "validation" if place < share else "train"
        gap, nearest = held[side]
        if abs(place - share) == gap:
            nearest.append(document)
            continue
        out = [document]
        if abs(place - share) < gap:
            held[side], out = (abs(place - share), out), nearest
        released[side] += len(out)
        yield from ((side, item) for item in out)
    empty = {side: not held[side][1] for side in OTHER}
    for side, (_, nearest) in held.items():
        goes: Side = OTHER[side] if empty[OTHER[side]] and released[side] else side
        yield from ((goes, item) for item in nearest)
