"""Groups of near-duplicate questions: what is found is what true Jaccard similarity says."""

import random

import numpy as np
import pytest

from danlu.text.dedup.alike import WIDTH, alike

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


def shingled(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[i : i + WIDTH]) for i in range(max(len(words) - WIDTH + 1, 1))}


def by_hand(texts: list[str], threshold: float) -> list[int]:
    """Groups by comparing every pair."""
    sets, groups = [shingled(text) for text in texts], list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]):
                low, high = sorted((groups[i], groups[j]))
                groups = [low if group == high else group for group in groups]
    return groups


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_groups_are_those_of_every_pair_compared(threshold: float) -> None:
    draw = random.Random(3)
    texts = []
    for _ in range(60):
        words = draw.choices(WORDS, k=draw.randrange(2, 60))
        texts.append(" ".join(words))
        for _ in range(draw.randrange(3)):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
            texts.append(" ".join(words))
    draw.shuffle(texts)
    found, wanted = alike(texts, threshold).tolist(), by_hand(texts, threshold)
    assert found == wanted
    assert 60 < len(set(found)) < len(texts) - 15


def test_what_makes_no_difference_and_what_does() -> None:
    long = (
        "Explain in your own words and without any formula why the sky above the old harbour looks red in the evening "
        "of a clear winter day when the ships come home"
    )
    texts = [
        "What is the capital of France?", "what is the capital of  france", "What is the capital of Spain?",
        long, long.replace("clear ", ""), long.replace("sky", "sea").replace("clear", "cold"), "分久必合，合久必分吗？", "分久必合, 合久必分吗",
        "?!", "", "?!", "hi", "Hi!",
    ]  # fmt: skip
    assert alike(texts).tolist() == [0, 0, 2, 3, 3, 5, 6, 6, 8, 9, 10, 11, 11]
    assert alike([]).tolist() == []
    assert alike(["one"]).dtype == np.int64
