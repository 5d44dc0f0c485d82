"""Parts tile the text and end where a sentence does."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.text.dedup.sentences import sentences


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(st.text(st.sampled_from("aB .!?…\n\t'\")。！」甲\u0301\ud800"), max_size=60))
def test_parts_tile_the_text(text: str) -> None:
    assert "".join(parts(text)) == text
    assert all(parts(text))


@pytest.mark.parametrize(
    "wanted",
    [
        ["One. ", "Two! ", "Three?"],
        ["He said \"no.\" ", "She left."],
        ["See e.g. this one, i.e. that, at 3.14 and v1.2.3."],
        ["It was J. Smith who came. ", "Then he went."],
        ["A line that is\nwrapped goes on. ", "Next."],
        ["A heading\n\n", "Text below it.\n", "More."],
        ["天下大势，分久必合。", "合久必分！”", "他说：“好。”\n", "完"],
        ["Well... ", "Then", ],
        ["  \n", "Text"],
        ["日本語。", "English. ", "中文"],
    ],
)  # fmt: skip
def test_borders(wanted: list[str]) -> None:
    assert parts("".join(wanted)) == wanted


@pytest.mark.parametrize("unit", ["!", "\n", ". ", "。", " ", "'", "A.", '."', "\n a", "!a"])
def test_no_text_takes_long(unit: str) -> None:
    """Patterns that look again at what they looked at take hours here; there is room for a slow machine."""
    began = time.process_time()
    sentences(unit * 300_000)
    assert time.process_time() - began < 5
