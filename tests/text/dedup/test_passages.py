"""Repeated passages are those that comparing every window with every other finds."""

import random
from pathlib import Path

import numpy as np
import pytest

from danlu.text.dedup import rolling, spill
from danlu.text.dedup.columns import prefixes
from danlu.text.dedup.passages import CUT
from danlu.text.dedup.substring import Substring
from tests.text.dedup.running import documents, passages


def by_hand(texts: list[str], length: int) -> list[list[bool]]:
    """Which characters stand in a window that an equal one precedes without overlapping it."""
    seen, found = dict[str, tuple[int, int]](), list[list[bool]]()
    for number, text in enumerate(texts):
        flags = [False] * len(text)
        for at in range(len(text) - length + 1):
            other, place = seen.setdefault(text[at : at + length], (number, at))
            if other != number or at >= place + length:
                flags[at : at + length] = [True] * length
        found.append(flags)
    return found


def found_in(texts: list[str], length: int, folder: Path, tasks: int) -> tuple[list[list[bool]], dict[str, int]]:
    step, given, size = Substring(length), documents(texts), -(-len(texts) // tasks)
    for task in range(tasks):
        step.look(given[task * size : (task + 1) * size], folder, task)
    facts = step.decide(folder, tasks)
    flags = [[False] * len(text) for text in texts]
    for task, prefix in enumerate(prefixes(folder, tasks)):
        for row, at, count in np.fromfile(f"{prefix}.cuts", CUT).tolist():
            flags[task * size + row][at : at + count + length - 1] = [True] * (count + length - 1)
    return flags, facts


def made_up(rng: random.Random) -> list[str]:
    """Pieces of one string among noise and periodic text."""
    base = "".join(rng.choice(rng.choice(["ab", "abcdefgh 甲乙丙𠀀"])) for _ in range(400))
    texts = list[str]()
    for _ in range(rng.randint(1, 12)):
        text, size = "", rng.randint(0, 600)
        while len(text) < size:
            at = rng.randrange(400)
            noise = "".join(rng.choice("xyzw\n\0\ud800") for _ in range(rng.randint(1, 60)))
            text += rng.choice([base[at : at + rng.randint(1, 120)], "ab" * rng.randint(1, 60), noise])
        texts.append(text)
    return texts


@pytest.mark.parametrize("seed", range(40))
def test_it_is_brute_force(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # pieces and buckets so small that every seam is crossed
        monkeypatch.setattr(rolling, "PIECE", 64)
        monkeypatch.setattr(rolling, "PLACE", np.uint64(63))
        monkeypatch.setattr(spill, "BUCKET", 2000)
    rng = random.Random(seed)
    texts, length = made_up(rng), rng.choice([10, 11, 20, 37])
    flags, facts = found_in(texts, length, tmp_path, rng.randint(1, 3))
    wanted = by_hand(texts, length)
    assert flags == wanted
    assert facts["repeated_characters"] == sum(map(sum, wanted))


@pytest.mark.parametrize("tasks", [1, 4])
def test_it_is_brute_force_on_real_text(tasks: int, tmp_path: Path) -> None:
    rng, texts = random.Random(tasks), list(passages(120, 80))
    for _ in range(40):  # passages copied into others
        source, target, at = rng.choice(texts), rng.randrange(80), rng.randrange(400)
        texts[target] = texts[target][:at] + source[100 : rng.randint(180, 700)] + texts[target][at:]
    wanted = by_hand(texts, 100)
    assert found_in(texts, 100, tmp_path, tasks)[0] == wanted
    assert sum(map(sum, wanted)) > 5000


def test_copies_of_a_page_are_compared_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the second step is for: of 300 copies, one goes on to the comparison of single windows."""
    singles = 0
    add = spill.Spill.add

    def counting(self: spill.Spill, records: np.ndarray) -> None:
        nonlocal singles
        singles += len(records) if self._folder.name == "windows" else 0
        add(self, records)

    monkeypatch.setattr(spill.Spill, "add", counting)
    page = " ".join(passages(120, 5))
    flags, _ = found_in([page] * 300, 200, tmp_path, 2)
    assert [all(row) for row in flags] == [False] + [True] * 299
    assert singles <= 1.1 * len(page)  # pieces begin elsewhere in each copy, which costs a few
