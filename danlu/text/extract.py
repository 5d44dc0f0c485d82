"""HTML to text: the step `Extract`, and the function `extract` that it runs in a process of its own.

Danlu's extractor (`danlu.text.extraction`) is the default: `bench/extract.py` measured it against trafilatura and
resiliparse on nine sets of pages with known text, and it was the best on eight (on the ninth 0.9871 against 0.9879); it
needs no library. The two are here on request.
"""

import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

from danlu.base.errors import UserError, require
from danlu.text.document import Document, Dropped
from danlu.text.extraction import content, worker
from danlu.text.extraction.facts import facts
from danlu.text.extraction.markup import parse
from danlu.text.extraction.render import render

Extractor = Literal["builtin", "trafilatura", "resiliparse"]
Favour = content.Favour

PIP = {
    "trafilatura": "pip install trafilatura lxml_html_clean",  # the second is what it forgets to ask for
    "resiliparse": "pip install resiliparse",
}


@dataclass(frozen=True)
class Extract:
    """Turn pages (documents whose ``meta["format"]`` is ``html``) into the text that a reader came for.

    The page's title, declared language and date go into ``meta`` as ``title``, ``declared_language`` and ``date``.
    """

    extractor: Extractor = "builtin"
    """What finds the text: Danlu's own, or a library that has to be installed."""
    favour: Favour = "balanced"
    """What to favour in doubt: precision (leave out what may be no contents) or recall (keep what may be)."""
    seconds: float = 10.0
    """Processor time that a page may take; one that takes longer is dropped."""
    megabytes: int = 4096
    """Memory that extraction may take; a page that needs more is dropped."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("extractor", self.extractor in get_args(Extractor), f"must be one of {', '.join(get_args(Extractor))}"),
            ("favour", self.favour in get_args(Favour), f"must be one of {', '.join(get_args(Favour))}"),
            ("seconds", self.seconds > 0, "must be above 0"),
            ("megabytes", self.megabytes >= 256, "must be at least 256"),
        )

    def __call__(self, document: Document) -> Document | Dropped:
        """The text, or ``extract_timeout``, ``extract_failed`` or ``no_content``; no page stays as it is."""
        if document.meta.get("format") != "html":
            return document
        child = _child(self.extractor, self.favour, self.seconds, self.megabytes)
        try:
            text, *found = child.ask([document.text])
        except worker.Timeout:
            return Dropped("extract_timeout", f"{self.seconds:g} s were not enough")
        except worker.Crash as crash:
            return Dropped("extract_failed", str(crash))
        if not text:
            return Dropped("no_content")
        meta = {key: value for key, value in document.meta.items() if key != "format"}
        return replace(document, text=text, meta={**meta, **dict(zip(found[::2], found[1::2], strict=True))})

    @property
    def restarts(self) -> int:
        """How often a page ended the process that extracts for this step in this process."""
        return _child(self.extractor, self.favour, self.seconds, self.megabytes).restarts


@lru_cache(maxsize=8)
def _child(extractor: Extractor, favour: Favour, seconds: float, megabytes: int) -> worker.Child:
    _check(extractor)
    return worker.Child((extractor, favour, str(seconds), str(megabytes)))


def serve() -> None:
    """What the process runs that `Extract` starts."""
    extractor, favour, seconds, megabytes = worker.receive(sys.stdin.buffer) or ("builtin", "balanced", "1", "256")
    _page("<p>warm", extractor, favour)  # the limits are for a page and not for imports
    worker.answer_all(lambda question: _page(question[0], extractor, favour), float(seconds), int(megabytes))


def _page(html: str, extractor: str, favour: str) -> list[str]:
    """The text of a page, then names and values of what it says about itself."""
    text, found = _extracted(html, extractor, favour)
    return [text, *(string for pair in found.items() for string in pair)]


def extract(html: str, extractor: Extractor = "builtin", favour: Favour = "balanced") -> tuple[str, str]:
    """(text, title) of a page, in this process and without limits; either may be empty. Broken markup never raises."""
    _check(extractor)
    text, found = _extracted(html, extractor, favour)
    return text, found.get("title", "")


def _extracted(html: str, extractor: str, favour: str) -> tuple[str, dict[str, str]]:
    if not html.strip():
        return "", {}
    tree = parse(html)
    found = facts(html, tree)
    if extractor == "trafilatura":
        return _trafilatura(html, favour), found
    if extractor == "resiliparse":
        return _resiliparse(html, favour), found
    return render(tree, content.select(tree, favour)), found  # type: ignore[arg-type]


def _check(extractor: str) -> None:
    """A `UserError` with the pip line if the library is not installed, or is and cannot be imported."""
    try:
        if extractor == "trafilatura":
            import trafilatura  # noqa: F401
        elif extractor == "resiliparse":
            import resiliparse  # noqa: F401
    except ImportError as error:
        remedy = f"Install it with: {PIP[extractor]}"
        raise UserError(f"extractor '{extractor}' is not installed ({error})", remedy=remedy) from None


def _trafilatura(html: str, favour: str) -> str:
    import trafilatura

    text = trafilatura.extract(
        html,
        include_comments=False,
        favor_precision=favour == "precision",
        favor_recall=favour == "recall",
    )
    return text or ""


def _resiliparse(html: str, favour: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    text: str = extract_plain_text(html, main_content=favour != "recall", alt_texts=False, preserve_formatting=True)
    return text.strip()
