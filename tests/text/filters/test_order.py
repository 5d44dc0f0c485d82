"""The filters share what they know of a text, and no filter's decision may depend on who asked before it."""

from itertools import permutations

import pytest

from danlu.text.filters.advertising import Advertising
from danlu.text.filters.c4 import C4Paragraphs, C4Quality
from danlu.text.filters.fineweb import FineWebQuality, mandarin
from danlu.text.filters.garbled import Garbled
from danlu.text.filters.gopher_quality import GopherQuality
from danlu.text.filters.gopher_repetition import GopherRepetition
from danlu.text.filters.words import lines, words
from tests.text.filters.judged import reason
from tests.text.filters.texts import TEXTS

STEPS = (
    GopherRepetition(),
    GopherQuality(),
    C4Quality(),
    FineWebQuality(),
    mandarin(),
    C4Paragraphs(),
    Garbled(),
    Advertising(),
)


@pytest.mark.parametrize(
    "name", ["prose", "five words", "figures", "mandarin in english", "citations", "hashes", "empty"]
)
def test_the_order_of_filters_changes_no_decision(name: str) -> None:
    alone = []
    for step in STEPS:
        words.cache_clear()
        lines.cache_clear()
        alone.append(reason(step, TEXTS[name], language="zh"))
    for order in list(permutations(range(len(STEPS))))[:: 40320 // 60]:
        assert [reason(STEPS[index], TEXTS[name], language="zh") for index in order] == [
            alone[index] for index in order
        ]
