"""Merges are those that the trainer of `tokenizers` learns from the same words, ties included."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from danlu.tokens.tokenizer import SPECIAL
from danlu.tokens.training import merges as module
from danlu.tokens.training import train
from danlu.tokens.training.merges import Merges, learn
from danlu.tokens.training.train import pattern, train_bpe, train_bpe_reporting

SMALL = st.sampled_from(["ab", "abc", "aab中", "中国人民", "abcd "])


def reference(texts: list[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    """What `tokenizers` saves after training with our words and our special tokens."""
    core = tokenizers.Tokenizer(models.BPE())
    law = pre_tokenizers.Split(tokenizers.Regex(pattern()), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([law, bytes_])
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[tokenizers.AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    saved: dict[str, Any] = json.loads(core.to_str())
    return saved


def ours(texts: list[str], vocab_size: int, min_frequency: int, **how: Any) -> dict[str, Any]:
    state = train_bpe(texts, vocab_size, min_frequency=min_frequency, **how).__reduce__()[1]
    saved: dict[str, Any] = json.loads(state[0])
    return saved


@settings(max_examples=80, deadline=None)
@given(data=st.data(), vocab_size=st.integers(261, 420), least=st.integers(0, 4))
def test_all_is_as_tokenizers_has_it(data: st.DataObject, vocab_size: int, least: int) -> None:
    """Texts of few letters: ties everywhere, overlaps (aaaa), pieces that come about in more than one way."""
    letters = data.draw(SMALL)
    texts = data.draw(st.lists(st.text(letters, min_size=1, max_size=30), min_size=1, max_size=25))
    if "".join(texts).strip():
        assert ours(texts, vocab_size, least) == reference(texts, vocab_size, least)


def prose(seed: int, words: int) -> list[str]:
    from tests.tokens.conftest import CORPUS

    rng = random.Random(seed)
    parts = [part for text in CORPUS[:4] for part in (text.split(" ") if " " in text else text.split("，"))]
    syllables = ["lo", "rem", "ip", "sum", "do", "天", "下", "分", "合", "大", "势"]
    made = ["".join(rng.choices(syllables, k=rng.randint(1, 5))) for _ in range(300)]
    return [" ".join(rng.choices(parts + made, weights=range(len(parts + made), 0, -1), k=words)) for _ in range(8)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("pairs", [4, 64])
def test_reading_again_with_a_lower_floor_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int, pairs: int
) -> None:
    texts = prose(seed, 300)
    whole = reference(texts, 900, 2)
    assert len(whole["model"]["merges"]) > 250
    for name, value in (("ALL_AT_ONCE", 0), ("PAIRS", pairs), ("BLOCK", 300), ("DEPTH", 4), ("BUCKETS", 1 << 12)):
        monkeypatch.setattr(module, name, value)
    floors = list[int]()
    read = module._Learner.read
    monkeypatch.setattr(module._Learner, "read", lambda self: (read(self), floors.append(self.floor))[0])
    assert ours(texts, 900, 2) == whole
    assert len(floors) > 3
    assert floors == sorted(floors, reverse=True)


def learned(words: dict[bytes, int], vocab_size: int, min_frequency: int = 2) -> Merges:
    ordered = sorted(words.items(), key=lambda item: -item[1])
    text = np.frombuffer(b"".join(word for word, _ in ordered), np.uint8)
    sizes = np.array([len(word) for word, _ in ordered], np.int32)
    counts = np.array([count for _, count in ordered], np.int64)
    return learn(text, sizes, counts, vocab_size, first=1, min_frequency=min_frequency)


def test_counts_above_32_bits_do_not_overflow() -> None:
    """`tokenizers` 0.23.3 counts pairs in 32 bits: the commonest pair of all would be lost."""
    found = learned({b"ab": 5_000_000_000, b"cd": 3_000_000_000, b"ef": 4}, 260)
    assert found.pieces[256:] == [b"ab", b"cd", b"ef"]
    assert found.rarest == 4


def test_more_ids_than_16_bits_hold() -> None:
    words = {bytes([97 + n % 26, 97 + n // 26 % 26, 65 + n // 676]): 10 for n in range(26 * 26 * 4)}
    found = learned(words, 70_000, 1)
    assert found.pieces == learned(words, 60_000, 1).pieces
    assert len(found.pieces) > 2000


def test_learning_stops_at_the_size_or_the_rarest_pair() -> None:
    words = {b"abcd": 3, b"xy": 2, b"z": 9}
    assert [p for p in learned(words, 300).pieces if len(p) > 1] == [b"ab", b"cd", b"abcd", b"xy"]
    assert learned(words, 258).pieces[256:] == [b"ab"]
    assert learned(words, 300, 3).pieces[256:] == [b"ab", b"cd", b"abcd"]
    assert learned({}, 300).merges == [] == learned({b"a": 5}, 300).merges


def made_up(lines: int) -> Iterator[str]:
    """Lines of a hundred words or so of which most are new; the common ones are short."""
    rng = random.Random(0)
    for _ in range(lines):
        yield "".join(rng.choices(" etaoinshrdlucmfwypvbgkjqxz", range(27, 0, -1), k=1000)).replace("u", " ")


def test_spilling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LEAST_MEMORY", 0)
    texts = list(made_up(500))
    free = train_bpe_reporting(texts, 400)
    bounded = train_bpe_reporting(texts, 400, memory=train.FIXED + 13_000_000)
    assert bounded.facts["spilled_bytes"] > 500_000
    assert free.facts["spilled_bytes"] == 0
    assert bounded.facts["words_sampled_below"] == 1
    assert bounded.tokenizer.__reduce__()[1] == free.tokenizer.__reduce__()[1]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_ceiling_is_kept() -> None:
    """A corpus that would take more, in a process of its own."""
    code = r"""
import json, re
from danlu.tokens.training.train import LEAST_MEMORY, train_bpe_reporting
from tests.tokens.training.test_merges import made_up
found = train_bpe_reporting(made_up(5000), 262, memory=LEAST_MEMORY, workers=2)
peak = int(re.findall("VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[0]) << 10
print(json.dumps([found.facts["spilled_bytes"], peak / LEAST_MEMORY]))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    spilled, share = json.loads(done.stdout)
    assert spilled > 5_000_000
    assert share < 1
