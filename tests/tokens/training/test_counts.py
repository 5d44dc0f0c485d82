"""Counts are those of a plain `Counter`, wherever they lie and whoever counts."""

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from danlu.tokens.training import counts as module
from danlu.tokens.training.counts import Counts, Table, count_words, stretches
from danlu.tokens.training.words import pattern

WORDS = ["天下", "大势", "分久必合", "合久必分", "the", "fox", " jumps", "12", "!", "\n", "话说", "𠀀"]


def as_counter(parts: Iterable[Table]) -> Counter[str]:
    found: Counter[str] = Counter()
    for table in parts:
        text = table.points.tobytes().decode("utf-32-le")
        ends = np.cumsum(table.sizes).tolist()
        for begin, end, count in zip([0, *ends], ends, table.counts.tolist()):
            assert text[begin:end] not in found, "a word came twice"
            found[text[begin:end]] = count
    return found


def by_hand(texts: Iterable[str]) -> Counter[str]:
    law = pre_tokenizers.Split(tokenizers.Regex(pattern(2)), behavior="isolated")
    return Counter(word for text in texts for word, _ in law.pre_tokenize_str(text))


def corpus(documents: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choices([*WORDS, chr(rng.randint(0x4E00, 0x9FFF))], k=rng.randint(0, 60))) for _ in range(documents)
    ]


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=20) | st.text("中人 a1\n", max_size=20)))
def test_counts_are_those_of_a_counter(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    counts = Counts(tmp_path_factory.mktemp("counts"), 1 << 40)
    count_words(texts, counts)
    assert as_counter(counts.parts()) == by_hand(texts)


@pytest.mark.parametrize("workers", [1, 3])
def test_spilling_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(module, "STRETCH", 500)
    texts = corpus(300)
    counts = Counts(tmp_path, 20_000)
    count_words(texts, counts, workers=workers)
    parts = list(counts.parts())
    assert counts.spilled > 20_000
    assert len(list(tmp_path.iterdir())) > 3
    assert len(parts) > 3
    assert as_counter(parts) == as_counter(counts.parts()) == by_hand(texts)
    assert max(part.bytes for part in parts) < 20_000


def test_order_of_documents_and_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH", 500)
    texts = corpus(200)
    found = []
    for n, (order, workers) in enumerate([(texts, 1), (texts[::-1], 1), (texts, 4)]):
        counts = Counts(tmp_path / str(n), 1 << 40)
        seen = count_words(order, counts, workers=workers)
        (table,) = counts.parts()
        found.append((seen, *(array.tobytes() for array in table)))
    assert found[0] == found[1] == found[2]


def test_a_long_text_is_parted_where_no_word_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH", 400)
    text = "\n".join(corpus(40, seed=1)) + "\n\n  end"
    parts = [part for stretch in stretches([text]) for part in stretch]
    assert "".join(parts) == text
    assert len(parts) > 5
    assert by_hand(parts) == by_hand([text])


def test_a_text_without_any_border_is_parted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRETCH", 100)
    assert [len(part) for stretch in stretches(["a" * 250]) for part in stretch] == [100, 100, 50]


def test_what_a_corpus_held_is_told(tmp_path: Path) -> None:
    seen = count_words(["a bb", " \n", "wonderful\x00"], Counts(tmp_path, 1 << 40))
    assert seen == (16, 1, True, (9, "wonderful"))
    assert not count_words([" ", ""], Counts(tmp_path, 1 << 40)).solid
