"""Perplexity, answers, intervals, compression, preference: against definitions, hand counts and references."""

import lzma
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from danlu.evaluate.answers import Answer, language, quality, repetition, same_language_rate, similarity, stop_rate
from danlu.evaluate.compression import xz_bits_per_byte
from danlu.evaluate.perplexity import by_source, fit, total, windows
from danlu.evaluate.preference import preference
from danlu.evaluate.stats import wilson
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.tokens.chat import Rendered
from danlu.tokens.shards import Encoded, write_shards


@pytest.fixture
def model() -> Transformer:
    """Random weights that reach the output."""
    shape = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "feedforward": 64}
    made = Transformer(ModelConfig(vocab_size=50, max_length=16, **shape))  # type: ignore[arg-type]
    torch.manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 24, 25, 60])
def test_every_token_but_the_first_counts_once_with_half_a_window_before_it(length: int) -> None:
    ids = np.arange(length)
    counted: list[int] = []
    for piece, mask in windows(ids, 16):
        assert len(piece) == len(mask) <= 16
        scored = piece[mask == 1].tolist()
        counted += scored
        if scored and piece[0] != 0:
            assert scored[0] - piece[0] >= 8
    assert counted == list(range(1, length))


def test_a_short_document_against_the_definition(model: Transformer) -> None:
    ids = np.array([3, 10, 20, 30, 40, 3])
    with torch.no_grad():
        logp = torch.log_softmax(model(torch.tensor(ids)[None])[0].float(), -1)
    nats = -float(sum(logp[t, ids[t + 1]] for t in range(5)))
    found = fit(model, [(ids, 12), (ids, 12)], pad_id=1)
    assert found.nats == pytest.approx(2 * nats, rel=1e-5)
    assert (found.tokens, found.bytes) == (10, 24)
    assert found.bits_per_byte == pytest.approx(2 * nats / math.log(2) / 24, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / 5), rel=1e-5)
    assert found.bits_per_character(8) == pytest.approx(3 * found.bits_per_byte)


def test_sources_add_up(model: Transformer, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    documents = [Encoded([0, *draw.integers(2, 50, 20).tolist(), 0], 30, f"s{i % 2}") for i in range(6)]
    shards = write_shards(documents, tmp_path / "shards", 50)
    fits = by_source(model, shards, pad_id=1)
    assert sorted(fits) == ["s0", "s1"]
    everything = fit(model, [(shards[i], shards.bytes_of(i)) for i in range(6)], pad_id=1)
    assert total(fits).nats == pytest.approx(everything.nats, rel=1e-5)
    assert total(by_source(model, shards, pad_id=1, most_bytes=1)).bytes == 60


def test_wilson_against_its_published_values() -> None:
    """4 of 4 and 500 of 1000, as computed with scipy.stats.binomtest(...).proportion_ci(method='wilson')."""
    assert wilson(4, 4) == pytest.approx((0.5101, 1.0), abs=1e-4)
    assert wilson(500, 1000) == pytest.approx((0.4691, 0.5309), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_xz_is_told_the_training_text() -> None:
    text = "".join(chr(97 + value) for value in np.random.default_rng(0).integers(0, 26, 4000))
    assert xz_bits_per_byte([text], [text]) < 0.2
    alone = xz_bits_per_byte([""], [text])
    assert alone == pytest.approx(math.log2(26), rel=0.1)
    expected = 8 * (
        len(lzma.compress(f"\n{text}".encode(), preset=9 | lzma.PRESET_EXTREME))
        - len(lzma.compress(b"", preset=9 | lzma.PRESET_EXTREME))
    )
    assert alone == pytest.approx(expected / 4000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there", "en"),
        ("你好", "zh"),
        ("我喜欢 Python 和 numpy", "zh"),
        ("123 !?", ""),
        ("the character 你", "en"),
    ],
)
def test_languages(text: str, expected: str) -> None:
    assert language(text) == expected


def test_rates() -> None:
    answers = [
        Answer("你好", "你好！", True),
        Answer("你好", "Hello", True),
        Answer("Hi", "Hi", False),
        Answer("?", "x", True),
    ]
    assert stop_rate(answers) == 0.75
    assert same_language_rate(answers) == pytest.approx(2 / 3)


def test_repetition_and_similarity() -> None:
    assert repetition("abcdefgh") == 0
    assert repetition("ab " * 50) > 0.9
    assert repetition("") == 0
    assert similarity("Hello World", "hello world") == 1
    assert similarity("abc", "xyz") == 0
    assert similarity("你好吗", "你好") == pytest.approx(2 / 3)


def test_quality_orders_answers() -> None:
    good = Answer("你好", "你好，我很好。", True)
    worse = [
        Answer("你好", "你好，我很好。", False),
        Answer("你好", "I am fine, thank you.", True),
        Answer("你好", "好好好好好好好好好好好好", True),
        Answer("你好", "", True),
    ]
    assert all(quality(good, "你好，我很好。") > quality(answer, "你好，我很好。") + 0.5 for answer in worse)
    assert quality(good, "你好，我很好。") == pytest.approx(4.0)


def test_preference_without_training_is_a_tie(model: Transformer) -> None:
    pair = (Rendered([3, 4, 5, 6], [0, 0, 1, 1]), Rendered([3, 4, 9], [0, 0, 1]))
    found = preference(model, model, [pair] * 5, beta=0.1, pad_id=1)
    assert (found.pairs, found.accuracy, found.margin, found.chosen_shift) == (5, 0.5, 0.0, 0.0)
    assert found.low < 0.5 < found.high
    assert found.chosen_logprob < 0
