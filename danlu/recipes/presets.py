"""Named recipes of `danlu clean`: ``--preset NAME`` starts from one, and flags given beside it win."""

from collections.abc import Callable
from dataclasses import replace

from danlu.recipes.clean import Clean
from danlu.text.dedup.minhash import MinHash
from danlu.text.filters import c4, fineweb
from danlu.text.filters.fineweb import FineWebQuality
from danlu.text.filters.gopher_quality import GopherQuality
from danlu.text.filters.gopher_repetition import GopherRepetition
from danlu.text.filters.language import Language
from danlu.text.filters.length import Length

FINEWEB = ("url", "extract", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb", "minhash", "redact")
ENGLISH = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
MANDARIN = ("gopher_repetition_zh", "gopher_quality_zh", "fineweb_zh")
MINHASH_OF_FINEWEB = MinHash(bands=14, rows=8)


def fineweb_code() -> Clean:
    """FineWeb as its published code makes it, datatrove's examples/fineweb.py."""
    return Clean(steps=FINEWEB, language=Language(keep=("en",)), c4=c4.fineweb(), minhash=MINHASH_OF_FINEWEB)


def fineweb_of_the_paper() -> Clean:
    """FineWeb as its paper describes it: repeated lines may make up 10 % of the characters, not 1 %."""
    return replace(fineweb_code(), fineweb=fineweb.paper())


def web_en() -> Clean:
    """English web pages: FineWeb's rules, damaged text and advertising out, normalised, copies out."""
    before = ("url", "extract", "language", "normalize", "garbled", "advertising")
    return Clean(
        steps=(*before, *ENGLISH, "exact", "minhash", "redact"), language=Language(keep=("en",)), c4=c4.fineweb()
    )


def web_zh() -> Clean:
    """Chinese web pages: FineWeb-2's thresholds for Mandarin, and the same around them."""
    before = ("url", "extract", "language", "normalize", "garbled", "advertising")
    return Clean(steps=(*before, *MANDARIN, "exact", "minhash", "redact"), language=Language(keep=("zh",)))


def web() -> Clean:
    """Web pages in both languages: each document goes through the rules of its own."""
    before = ("url", "extract", "language", "normalize", "garbled", "advertising")
    return Clean(
        steps=(*before, *ENGLISH, *MANDARIN, "exact", "minhash", "redact"),
        language=Language(keep=("en", "zh")),
        gopher_repetition=GopherRepetition(language="en"),
        gopher_quality=GopherQuality(language="en"),
        c4=c4.fineweb("en"),
        fineweb=FineWebQuality(language="en"),
    )


def books() -> Clean:
    """Long prose: nothing is judged by the shape of its lines, copies of whole passages go."""
    return Clean(
        steps=("extract", "normalize", "garbled", "length", "language", "exact", "minhash", "substring"),
        length=Length(minimum=500),
    )


def code_docs() -> Clean:
    """Documentation with code in it: no rule about braces, bullets or line ends; repeated licence headers go."""
    return Clean(steps=("extract", "normalize", "garbled", "length", "exact", "minhash", "lines"))


PRESETS: dict[str, Callable[[], Clean]] = {
    "none": Clean,
    "web-en": web_en,
    "web-zh": web_zh,
    "web": web,
    "books": books,
    "code-docs": code_docs,
    "fineweb-code": fineweb_code,
    "fineweb-paper": fineweb_of_the_paper,
}
