"""Spelling correction, off unless asked for: every corrector makes mistakes, and a corpus is full of rare right words.

    file          a person's table of wrong → right, as for `danlu.text.terms`: right as often as its author
    symspell      English, symspellpy with its dictionary of 82,834 words: unknown small words one edit from a known one
    pycorrector   Chinese, the n-gram corrector of pycorrector with a KenLM model of one's own (it brings none)

Measured (`bench/spelling.py`): symspell on everyday sentences with one word in ten mistyped finds 67 % of the wrong
words; 86 % of what it changes becomes right, and of 10,000 right words it spoils 9. pycorrector on SIGHAN-2015, with a
trigram model made of 50,000 sentences, finds 15 % of the wrong characters; 32 % of what it changes becomes right, and
it spoils 45 of 334 sentences that had no error. A large model does better; look at what it changes before using it.

Whatever the corrector says, code, addresses, numbers and words with a capital are kept as they are, and each change is
counted (``spelling``). A corrector of one's own is any function from a line to a line: `corrected`.
"""

import difflib
import importlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import existing
from danlu.text.document import Document, Dropped, changed
from danlu.text.prose import HAN, Lines, code_in, in_address
from danlu.text.terms import load

Corrector = Literal["", "file", "symspell", "pycorrector"]
TOKEN = re.compile(rf"[^\W\d_{HAN}]+(?:['’][^\W\d_{HAN}]+)?|\d[\d.,:/-]*|[\s\S]")
SENTENCE = re.compile(r"[^。！？!?\n]{1,400}[。！？!?\n]?|[。！？!?\n]")  # a stretch that a corrector sees at once
WORD = re.compile(r"(?<![\w'’.@/\\-])[a-z]{4,24}(?![\w'’@/\\-]|\.\w)", re.ASCII)
TERM = 3  # a word that a document has so often is meant
COMMON = 1_000_000  # times that a correction has to stand in the dictionary's trillion words
CHINESE = re.compile(f"[{HAN}]")


@dataclass(frozen=True)
class Spelling:
    """Correct spelling; the report counts the corrections as ``spelling``."""

    corrector: Corrector = ""
    """A table ('file'), English ('symspell') or Chinese ('pycorrector'); '' corrects nothing."""
    file: Path | None = None
    """For 'file' the table of wrong → right; for 'pycorrector' a KenLM model over single characters."""

    def __post_init__(self) -> None:
        """A `UserError` for a wrong setting or a file that is missing, before the first document."""
        if self.corrector not in get_args(Corrector):
            rule = f"must be one of {', '.join(map(repr, get_args(Corrector)))}"
            raise UserError(f"{rule}, found {self.corrector!r}", where="recipe: corrector")
        if self.corrector in ("file", "pycorrector") and not self.file:
            raise UserError(f"is needed for corrector '{self.corrector}'", where="recipe: file")
        if self.corrector == "file" and self.file:
            load(self.file, "exact")
        elif self.file:
            existing(self.file)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document with what the corrector found corrected."""
        language = document.meta.get("language", "")
        match self.corrector:
            case "file" if self.file:
                text, count = load(self.file, "exact").apply(document.text)
                return changed(document, text, {"spelling": count})
            case "symspell" if language in ("", "en"):
                words = Counter(WORD.findall(document.text))
                meant = frozenset(word for word, number in words.items() if number >= TERM)
                return corrected(document, partial(_english, meant=meant))
            case "pycorrector" if self.file and language in ("", "zh") and CHINESE.search(document.text):
                return corrected(document, partial(_chinese, model=self.file))
        return document


def corrected(document: Document, corrector: Callable[[str], str]) -> Document:
    """``document`` with ``corrector`` applied to each sentence of prose; what must stay stays, changes are counted."""
    text, parts, total = document.text, [], 0
    lines, code = Lines(text), code_in(text)
    for found in SENTENCE.finditer(text):
        sentence, start = found.group(), found.start()
        written = sentence if lines.is_code(start) else corrector(sentence)
        if written != sentence:
            written, number = _merged(sentence, written, lambda at: code.touches(at, at + 1), start, text)
            total += number
        parts.append(written)
    return changed(document, "".join(parts), {"spelling": total})


def _merged(old: str, new: str, in_code: Callable[[int], bool], start: int, text: str) -> tuple[str, int]:
    """``old`` with those changes of ``new`` that touch nothing that has to stay, and how many they are."""
    before, after = TOKEN.findall(old), TOKEN.findall(new)
    places = [start]
    for token in before:
        places.append(places[-1] + len(token))
    parts, number = list[str](), 0
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        fixed = kind != "equal" and (
            any(_stays(token) for token in before[a:b] + after[c:d])
            or any(in_code(place) for place in places[a : max(b, a + 1)])
            or in_address(text, places[a], places[b])
        )
        parts += before[a:b] if kind == "equal" or fixed else after[c:d]
        number += kind != "equal" and not fixed
    return "".join(parts), number


def _stays(token: str) -> bool:
    """Is it a number, a word with a capital, or the end of a line?"""
    return token == "\n" or any(character.isdigit() or character.isupper() for character in token)


def _english(sentence: str, meant: frozenset[str]) -> str:
    speller, top = _symspell()

    def correct(found: re.Match[str]) -> str:
        word = found.group()
        if word in meant or word in speller.words:
            return word
        likely = speller.lookup(word, top, 1)
        return str(likely[0].term) if likely and likely[0].count >= COMMON else word

    return WORD.sub(correct, sentence)


@lru_cache(maxsize=1)
def _symspell() -> tuple[Any, Any]:
    try:
        library = importlib.import_module("symspellpy")
    except ImportError:
        raise MissingExtra("symspellpy", "spelling", "corrector 'symspell'") from None
    speller = library.SymSpell(max_dictionary_edit_distance=1, prefix_length=7)
    with resources.as_file(resources.files("symspellpy") / "frequency_dictionary_en_82_765.txt") as path:
        speller.load_dictionary(path, 0, 1)
    return speller, library.Verbosity.TOP


def _chinese(sentence: str, model: Path) -> str:
    return str(_pycorrector(model).correct(sentence)["target"]) if CHINESE.search(sentence) else sentence


@lru_cache(maxsize=2)
def _pycorrector(model: Path) -> Any:
    purpose = "corrector 'pycorrector'"
    try:
        importlib.import_module("kenlm")
    except ImportError:
        raise MissingExtra("kenlm", "pycorrector", purpose) from None
    try:
        importlib.import_module("loguru").logger.disable("pycorrector")  # it reports every word that it looks at
        return importlib.import_module("pycorrector").Corrector(language_model_path=str(model))
    except ImportError:
        raise MissingExtra("pycorrector", "pycorrector", purpose) from None
