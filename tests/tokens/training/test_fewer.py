"""Fewer words: what may be lost is what the docstring says."""

from pathlib import Path

import numpy as np

from danlu.tokens.training.counts import Counts, Table, count_words, total
from danlu.tokens.training.fewer import few_words, neighbours, shorten, thin, thin_level

from .test_counts import as_counter, corpus


def table_of(texts: list[str], folder: Path) -> Table:
    counts = Counts(folder, 1 << 40)
    count_words(texts, counts)
    return next(counts.parts())


def test_words_are_cut_between_rare_neighbours_alone(tmp_path: Path) -> None:
    table = table_of(["天下大势。", "天下分合。", "大势分合。", "天下，大势，分合"], tmp_path)
    pairs, size = neighbours([table])
    assert size == sum(len(word.encode()) + 1 for word in as_counter([table]))
    assert pairs.sum() == sum((len(word) - 1) * n for word, n in as_counter([table]).items())
    cut = as_counter([total(list(shorten(table, pairs, 2)))])
    assert cut == {"天下": 3, "大势": 3, "分合": 3, "。": 3, "，": 2}
    assert as_counter(shorten(table, pairs, 1)) == as_counter([table])


def test_nothing_commoner_than_the_border_is_lost(tmp_path: Path) -> None:
    """Every stretch of a word that is seen ``rare`` times in the corpus is as common after cutting."""

    def stretches(words: dict[str, int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for word, n in words.items():
            for begin in range(len(word)):
                for end in range(begin + 2, len(word) + 1):
                    found[word[begin:end]] = found.get(word[begin:end], 0) + n
        return found

    table = table_of(corpus(300), tmp_path)
    before = stretches(as_counter([table]))
    parts = as_counter([total(list(shorten(table, neighbours([table])[0], 20)))])
    after = stretches(parts)
    assert sum(map(len, parts)) < 0.8 * sum(map(len, as_counter([table])))
    common = {stretch: n for stretch, n in before.items() if n >= 20}
    assert len(common) > 50
    assert all(after[stretch] == n for stretch, n in common.items())


def test_thinning_keeps_sums_right(tmp_path: Path) -> None:
    table = table_of(corpus(3000), tmp_path)
    level = 5
    thinned = thin(table, level)
    assert len(thinned.hashes) < len(table.hashes) / 2
    assert thinned.counts.min() == level
    before, after = as_counter([table]), as_counter([thinned])
    assert all(after[word] == n for word, n in before.items() if n >= level)
    error = (level * before.total()) ** 0.5
    assert 0 < abs(after.total() - before.total()) < 3 * error
    assert thin(table, 1) is table


def test_the_level_is_the_lowest_that_fits(tmp_path: Path) -> None:
    table = table_of(corpus(3000), tmp_path)
    size = sum(len(word.encode()) + 1 for word in as_counter([table]))
    assert thin_level([table], size) == 1
    level = thin_level([table], size // 3)
    sizes = [sum(len(word.encode()) + 1 for word in as_counter([thin(table, n)])) for n in (level - 1, level)]
    assert sizes[1] < 1.1 * size / 3
    assert sizes[0] > 0.9 * size / 3
    assert sizes[1] < sizes[0]


def test_few_words_come_commonest_first_as_bytes(tmp_path: Path) -> None:
    counts = Counts(tmp_path, 1 << 40)
    count_words(["天下 a a\U0001f600"], counts)
    few = few_words(counts, counts, whole=1 << 20, most=1 << 20, rare=lambda _: 0)
    text = few.text.tobytes()
    ends = np.cumsum(few.sizes)
    found = [(text[end - size : end].decode(), n) for end, size, n in zip(ends, few.sizes, few.counts.tolist())]
    assert found[0] == (" a", 2)
    assert set(found) == {(" a", 2), ("天下", 1), ("\U0001f600", 1)}
    assert (few.rare, few.level) == (0, 1)
