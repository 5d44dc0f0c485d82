"""Plain text and single HTML pages.

A text file longer than ``piece_characters`` comes as several documents, cut at blank lines: memory stays bounded, and
a corpus that is one big file still has a validation split. A page is one document; its text is the page's HTML,
decoded, and ``meta["format"]`` says so: extraction is a later step.
"""

from collections.abc import Iterable, Iterator

from danlu.text.document import Document
from danlu.text.reading.decode import Decoder, binary, page
from danlu.text.reading.faults import Faults
from danlu.text.reading.mojibake import repair
from danlu.text.reading.parts import BLOCK, Part
from danlu.text.reading.settings import Reading
from danlu.text.reading.stream import blocks, narrow


def plain(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The documents of a text file."""
    decoder = Decoder(reading.encoding)
    for number, text in enumerate(pieces(texts(part, reading, faults, decoder), reading.piece_characters), 1):
        mended = repair(text) if reading.repair else text
        yield Document(mended, f"{part.path}:{number}", part.path, decoder.found)
    decoder.tell(faults)


def texts(part: Part, reading: Reading, faults: Faults, decoder: Decoder) -> Iterator[str]:
    """A text file decoded in blocks of bounded size, cut after line ends where there are any, with line feeds only."""
    rest = b""
    for number, block in enumerate(narrow(blocks(part, reading, faults), reading.encoding, faults)):
        if number == 0 and binary(block):
            faults.file("not text; skipped")
            return
        rest += block
        cut = rest.rfind(b"\n") + 1
        if not cut and len(rest) >= BLOCK:  # one long line
            cut = decoder.whole(rest)
        if cut:
            yield _feeds(decoder(rest[:cut]))
            rest = rest[cut:]
    if rest:
        yield _feeds(decoder(rest))


def _feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def pieces(texts: Iterable[str], size: int) -> Iterator[str]:
    """A text in parts of about ``size`` characters, cut after a blank line, else a line, else a space."""
    held = ""
    for text in texts:
        held += text
        start = 0
        while len(held) - start > size + size // 4:  # the quarter keeps the last part from being a scrap
            low = start + size // 2
            cuts = (held.rfind(mark, low, start + size) + len(mark) for mark in ("\n\n", "\n", " "))
            cut = next((place for place in cuts if place > low), start + size)
            yield held[start:cut]
            start = cut
        held = held[start:]
    if held:
        yield held


def html(part: Part, reading: Reading, faults: Faults) -> Iterator[Document]:
    """The one document of a page."""
    held: list[bytes] = []
    size = 0
    for block in blocks(part, reading, faults):
        held.append(block)
        size += len(block)
        if size > reading.max_record_bytes:
            faults.file(f"a page of more than max_record_bytes={reading.max_record_bytes}; skipped")
            return
    document = web_text(b"".join(held), f"{part.path}:1", part, reading, faults, "", {"format": "html"})
    if isinstance(document, str):
        faults.file(f"{document}; skipped")
    else:
        yield document


def web_text(
    data: bytes, name: str, part: Part, reading: Reading, faults: Faults, charset: str, meta: dict[str, str]
) -> Document | str:
    """A page or text of any origin as a document, or why it is none. ``charset`` is what its HTTP header says."""
    data = b"".join(narrow([data], reading.encoding, faults))
    if binary(data):
        return "not text"
    text, found = page(data, reading.encoding, charset, faults)
    text = repair(text) if reading.repair else text
    return Document(text, name, part.path, {key: value for key, value in meta.items() if value} | found)
