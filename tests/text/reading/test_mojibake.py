"""Double encoding is undone, and text that only looks like it is left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.reading.mojibake import repair
from tests.text.reading.test_decode import SAMPLES

SOUND = [
    "Il a dit «\xa0liberté\xa0», «\xa0voilà\xa0» et «\xa0été\xa0».",  # é, NBSP, » are the bytes of a Chinese character
    "liberté\xa0»",
    "„Spaß“ und „Fuß“ – das heißt „Straß“",  # ß and “ are those of a letter of N'Ko
    "CAFÉ» «É» ”Å” ”Ä” och ”Ö” – ÖSTERREICH „Ü“",
    "25\xa0°C à\xa0«\xa0midi\xa0», là\xa0: déjà\xa0!",
    "São João, coração; niño, ¿qué?; Ångström; œuvre; İstanbul’da şık",
    *SAMPLES.values(),
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_text_is_left_alone(text: str) -> None:
    assert repair(text) == text


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "text", ["café", "“quoted” – it’s", "naïve façade → 5 €", "中文，标点。", "👍 ok", "kawałek", *SAMPLES.values()]
)
def test_double_encoding_is_undone(text: str, encoding: str) -> None:
    wrong = "".join(bytes([b]).decode(encoding, "ignore") or chr(b) for b in text.encode())  # as browsers do it
    assert wrong != text
    assert repair(wrong) == text
    assert repair(f"{text}\n{wrong}\nplain") == f"{text}\n{text}\nplain"


def test_what_cannot_have_been_utf8_stays() -> None:
    assert repair("Ã") == "Ã"
    assert repair("TRÃS COISAS") == "TRÃS COISAS"
    assert repair("â€") == "â€"


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2122), max_size=40) | st.text(max_size=40))
def test_any_text_may_come(text: str) -> None:
    repair(text)


def test_a_long_line_of_half_sequences() -> None:
    """Anything quadratic would take hours."""
    assert repair("\xe2\x80" * 500_000) == "\xe2\x80" * 500_000
    assert repair("Ã©é" * 300_000) == "éé" * 300_000
