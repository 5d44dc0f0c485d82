"""Windows that are equal have equal hashes and keep the same place."""

import random

import numpy as np
import pytest

from danlu.text.dedup import rolling as module
from danlu.text.dedup.rolling import SECOND, pieces, runs, whole
from danlu.text.dedup.shingles import codes


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 64)
    monkeypatch.setattr(module, "PLACE", np.uint64(63))


def test_pieces_cover_every_window_once() -> None:
    points = codes(["x" * 400])[0]
    seen = [piece.start + n for piece in pieces(points, 20) for n in range(piece.windows)]
    assert seen == list(range(len(points) - 19))
    assert not list(pieces(points[:19], 20))


@pytest.mark.parametrize("length", [2, 3, 10, 31])
def test_equal_windows_have_one_hash_and_one_anchor(length: int) -> None:
    rng = random.Random(length)
    words = ["".join(rng.choice("ab字") for _ in range(40)) for _ in range(3)]
    text = "".join(rng.choice([*words, "a", "aaaaaaaaa"]) for _ in range(60))
    points = codes([text])[0]
    windows, anchors = dict[str, tuple[int, int]](), dict[str, int]()
    for piece in pieces(points, length):
        at = np.arange(piece.windows)
        for place, one, two, anchor in zip(
            at, piece.hashes(at, at + length), piece.hashes(at, at + length, SECOND), piece.anchors(), strict=True
        ):
            window = text[piece.start + place : piece.start + place + length]
            if len(window) == length:
                assert windows.setdefault(window, (int(one), int(two))) == (one, two)
                assert anchors.setdefault(window, int(anchor - place)) == anchor - place
                assert 0 <= anchor - place <= length - length // 2
    assert len(windows) == len({one for one, _ in windows.values()}) == len({two for _, two in windows.values()})


def test_whole_windows_are_those_inside_a_text() -> None:
    texts = ["abcdef", "", "ab", "abc", "xyzw"]
    flags = whole(codes(texts)[1], 3)
    begins = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    wanted = {int(begin) + n for begin, text in zip(begins, texts, strict=True) for n in range(len(text) - 2)}
    assert set(np.flatnonzero(flags).tolist()) == wanted
    assert len(flags) == sum(map(len, texts)) + len(texts)


def test_runs_are_stretches_of_one_label() -> None:
    flags = np.array([1, 1, 1, 0, 1, 1, 0], bool)
    first, last = runs(flags, np.array([4, 4, 5, 5, 5, 5, 5]))
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [(0, 1), (2, 2), (4, 5)]
