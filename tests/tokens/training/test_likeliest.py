"""Pieces by likelihood: what the library learns, and each step against its definition."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from danlu.tokens.training.likeliest import ROUNDS, Model, _seeds, digamma, learn
from tests.tokens.conftest import CORPUS

STEP = 1e-4  # between the scores that the library makes up for characters that it takes back
WORDS = st.dictionaries(st.text("ab天c", min_size=1, max_size=7), st.integers(1, 9), min_size=1, max_size=6)


def made_up() -> list[str]:
    """3,000 words of four syllables and less, some common and most not."""
    draw = np.random.default_rng(0)
    syllables = ["".join(draw.choice(list("abcdefghij天下大势"), size=draw.integers(1, 5))) for _ in range(90)]
    words = ["".join(draw.choice(syllables, size=draw.integers(1, 5))) for _ in range(3000)]
    return [word for rank, word in enumerate(words, 1) for _ in range(9000 // rank)]


@pytest.mark.parametrize(
    ("words", "size"), [(" ".join(CORPUS).split(), 300), (made_up(), 400)], ids=["text", "made up"]
)
def test_it_is_what_the_library_learns(words: list[str], size: int) -> None:
    core = tokenizers.Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Split(" ", behavior="removed")
    trainer = trainers.UnigramTrainer(vocab_size=size, show_progress=False)
    core.train_from_iterator([" ".join(words)], trainer)
    theirs = dict(json.loads(core.to_str())["model"]["vocab"])
    counts = Counter(words)
    ours = dict(learn(sorted(counts), [counts[word] for word in sorted(counts)], size))
    assert ours.keys() == theirs.keys()
    least, back = min(ours.values()), 0
    for piece, score in ours.items():
        if len(piece) == 1 and score == least:
            back += 1
        else:
            assert score == pytest.approx(theirs[piece], abs=1e-9)
    assert all(theirs[piece] <= least + back * STEP for piece, score in ours.items() if score == least)


def cuts(word: str, pieces: dict[str, float]) -> Iterator[list[str]]:
    """Every way to cut a word."""
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        if word[:end] in pieces:
            yield from ([word[:end], *rest] for rest in cuts(word[end:], pieces))


@settings(max_examples=60)
@given(words=WORDS, seed=st.integers(0, 5))
def test_expectation_and_best_cuts_by_definition(words: dict[str, int], seed: int) -> None:
    listed, counts = list(words), np.array(list(words.values()), float)
    state = _seeds(listed, counts.astype(np.int64))
    names = state.model.names
    state.model = Model(
        names, state.model.single, np.log(np.random.default_rng(seed).dirichlet(np.ones(len(names)) * 2))
    )
    pieces = dict(zip(names, state.model.scores.tolist(), strict=True))
    expected, best = Counter[str](), []
    for word, times in words.items():
        ways = [(sum(pieces[piece] for piece in way), way) for way in cuts(word, pieces)]
        whole = np.logaddexp.reduce([score for score, _ in ways])
        best.append(max(score for score, _ in ways))
        for score, way in ways:
            for piece in way:
                expected[piece] += times * float(np.exp(score - whole))
    np.testing.assert_allclose(state.expected(counts), [expected[name] for name in names], rtol=1e-9, atol=1e-12)
    found, back = state.words.best(state.model.table, state.words.edges)
    np.testing.assert_allclose(found, best, rtol=1e-12)
    total = np.zeros(len(listed))
    for word, piece in state.words.cuts(state.words.edges, back):
        total[word] += state.model.scores[piece]
    np.testing.assert_allclose(total, best, rtol=1e-12)


def test_seeds_go_on_in_two_ways() -> None:
    """``ab`` is followed by c and by an end, ``bc`` by an end each time, ``abc`` is in one word only."""
    model = _seeds(["abcx", "ab", "zbcx"], np.array([1, 5, 2])).model
    assert set(model.names) == {*"abcxz", "ab"} | {name for name in model.names if name in ("bcx", "b")}
    assert "bc" not in model.names
    assert model.single.tolist() == [len(name) == 1 for name in model.names]


def test_a_character_that_is_dropped_is_unknown_and_comes_back_last() -> None:
    state = _seeds(["ab", "b"], np.array([1, 3]))
    kept = np.array([i for i, name in enumerate(state.model.names) if name != "a"])
    state.keep(kept, state.model.scores[kept])
    assert state.model.names == [name for name in state.model.names if name != "a"]
    assert state.expected(np.array([1.0, 3.0])).tolist() == [4.0]


def test_digamma() -> None:
    x = np.array([0.5, 0.7, 1.0, 3.3, 7.0, 1e3, 1e9])
    np.testing.assert_allclose(digamma(x), torch.digamma(torch.tensor(x, dtype=torch.float64)).numpy(), rtol=1e-9)
    assert ROUNDS == 2
