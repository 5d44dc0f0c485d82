"""A place is cut only where no piece of the vocabulary, wherever it is laid, covers bytes on both sides."""

import pytest

from danlu.tokens.encoding.crossings import Crossings, _inner


def spelled(data: bytes) -> str:
    """Bytes as GPT-2 writes them in a vocabulary, by transformers."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table = bytes_to_unicode()
    return "".join(table[byte] for byte in data)


# Two characters; one and the first byte of the next; the end of one and a whole one; the middle of two; Latin.
PIECES = [
    "天下".encode(),
    "大".encode() + b"\xe5",
    "合".encode()[1:] + "久".encode(),
    b"\x86\xe5\xbf",
    b"the",
    b"\xe5\x88",
]
TEXT = "天下大势分久必合合久必分天大下中国"


def covered(left: str, right: str) -> bool:
    """By definition: does some piece lie over the border of ``left`` and ``right``, agreeing with all bytes it meets?"""
    whole, border = (left + right).encode(), len(left.encode())
    for piece in PIECES:
        for start in range(border - len(piece) + 1, border):
            end = start + len(piece)
            here = range(max(start, 0), min(end, len(whole)))
            if start < border < end and all(whole[i] == piece[i - start] for i in here):
                return True
    return False


def test_pairs_are_judged_by_the_bytes_of_the_pieces() -> None:
    crossings = Crossings(map(spelled, PIECES), 0)
    pairs = [(a, b) for a in TEXT for b in TEXT]
    found = {(a, b) for a, b in pairs if crossings.crossed(a, b)}
    assert found == {(a, b) for a, b in pairs if covered(a, b)}
    assert ("天", "下") in found
    assert ("下", "天") not in found


def test_a_text_is_cut_where_nothing_is_crossed() -> None:
    crossings = Crossings(map(spelled, ["天下".encode(), "分久".encode()]), 0)
    assert crossings.cut("，天下大势分久必合a天b") == ["，", "天下", "大", "势", "分久", "必", "合a天b"]
    assert crossings.piece.findall("，天下大势分久必合a天 b") == ["，", "天下", "大", "势", "分久", "必", "合a天", " b"]


def test_a_bounded_word_begins_with_its_run() -> None:
    crossings = Crossings([spelled(TEXT.encode())], 4)  # one piece over all of it: nothing is cut but the words
    assert crossings.cut("a" + TEXT) == ["a", "天下大势", "分久必合", "合久必分", "天大下中", "国"]
    assert crossings.cut("々" + TEXT) == ["々" + TEXT]  # nobody says whether 々 is of the run
    assert crossings.cut(TEXT + "々") == [TEXT + "々"]


@pytest.mark.parametrize(
    ("piece", "places"),
    [
        (b"ab", [(b"a", b"b")]),
        ("天下".encode(), [("天".encode(), "下".encode())]),
        (b"\xa9\xe4\xb8", [(b"\xa9", b"\xe4\xb8")]),
        (b"\xa9\xb8", []),
        (b"", []),
    ],
)
def test_the_places_inside_a_piece(piece: bytes, places: list[tuple[bytes, bytes]]) -> None:
    assert list(_inner(piece)) == places
