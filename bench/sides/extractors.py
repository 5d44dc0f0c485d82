"""Both sides of extract: the pages with their known texts, and what an extractor makes of them.

    python extractors.py pages CACHE PAGES.jsonl        prints how many pages each set has
    python extractors.py NAME PAGES.jsonl TEXTS.jsonl   prints the seconds of the extraction alone

NAME is ``builtin``, ``resiliparse``, ``trafilatura`` or ``trafilatura-recall``.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Extract = Callable[[str], str]


def extractor(name: str) -> Extract:
    """The function from HTML to text, settings as their makers advise them for the text of a page."""
    if name == "builtin":
        from danlu.text.extract import extract

        return lambda html: extract(html)[0]
    if name == "resiliparse":
        from resiliparse.extract.html2text import extract_plain_text

        return lambda html: extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)
    import trafilatura

    recall = name == "trafilatura-recall"
    return lambda html: trafilatura.extract(html, include_comments=False, favor_recall=recall) or ""


def pages(cache: Path, out: Path) -> dict[str, int]:
    """Write every page of every set that can be had."""
    import extract_truths

    extract_truths.fetch(cache)
    counts = Counter[str]()
    with out.open("w", encoding="utf-8") as handle:
        for name, read in extract_truths.sets(cache).items():
            for page, html, text in read():
                counts[name] += 1
                row = {"set": name, "name": page, "html": html, "text": text}
                handle.write(json.dumps(row) + "\n")
    return dict(counts)


def texts(name: str, source: Path, out: Path) -> float:
    """Write the text of every page; the seconds of the extraction, the first page's apart."""
    take = extractor(name)
    rows = [json.loads(line)["html"] for line in source.read_text(encoding="utf-8").splitlines()]
    take(rows[0])
    began = time.perf_counter()
    found = [take(html) for html in rows]
    seconds = time.perf_counter() - began
    out.write_text("".join(f"{json.dumps(text)}\n" for text in found), encoding="utf-8")
    return seconds


if __name__ == "__main__":
    what, first, second = sys.argv[1:]
    print(json.dumps(pages(Path(first), Path(second)) if what == "pages" else texts(what, Path(first), Path(second))))
