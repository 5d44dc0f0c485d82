"""docs/CONFORMANCE.md, written by `filters` from what it found: where decisions agree with datatrove, and where not."""

import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filters import Comparison

PAGE = Path(__file__).resolve().parent.parent / "docs" / "CONFORMANCE.md"
HEAD = """# Conformance of the heuristic filters

"Gopher", "C4" and "FineWeb" are not one thing: papers leave out what a word is, and every implementation fills that in.
Danlu decides as datatrove does, whose filters made FineWeb. This page says on how many documents both decide alike,
filter by filter and reason by reason, and what differs elsewhere. It is generated: `make bench NAME=filters`.
"""
DOLMA = """## What dolma does otherwise

Read off dolma 1.2.1's taggers, not measured. Thresholds of one do not carry over to the other.

| | datatrove and Danlu | dolma |
|---|---|---|
| a word | spaCy's English words: punctuation and contractions are words of their own | what stands between spaces |
| length of words | mean | median |
| copies of a line or paragraph | from the second on | all of them, the first as well |
| bullets | `•` and `-` | `*` and `-` |
| ellipsis at the end of a line | `...` and `…` | `…` |
| C4's bad words | left out (Danlu: the toxicity filter) | counted |
| what a filter does | drops | tags; thresholds are set when mixing |
"""
WORDS = """## What is known to differ

- English words: symbols newer than Unicode 11 (many emoji since 2019) are words of their own here and parts of words in
  spaCy 3.8; an exception spelt across a space (`( :)`) can hide the one behind it in spaCy. On 600,000 distinct pieces
  of the documents below, and on 200,000 put together at random from marks and exceptions, no cut differed (2026-11-22).
- Runs of words are compared by 64-bit hashes here and by strings there.
- Where datatrove raises (a text without words when `min_doc_words` is 0), Danlu keeps or drops.
- The lists of languages, URLs and bad words are not part of these filters.
"""
UNCUT = """The same thresholds; words are function words and pairs of characters (`words: chinese`, the default),
theirs jieba's. Texts of a few characters, such as single poems, differ most: one run more or less decides there. The
function words were chosen on documents of these packages."""
ALARMS = """`Garbled` and `Advertising` have no counterpart; this is what they drop of all documents. The pages of
apache2-doc that count as garbled are Korean in EUC-KR, read as UTF-8; nobody wrote the mail to be read as prose."""


def _table(head: Sequence[str], rows: Iterator[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows)


def _percent(share: float) -> str:
    """Never rounded up to 100."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def _agreement(found: Sequence["Comparison"]) -> Iterator[str]:
    def row(one: "Comparison") -> tuple[object, ...]:
        kinds = Counter(case.kind for case in one.cases)
        dropped = sum(bool(reason) for reason, _ in one.theirs)
        differ = len(one.same) - sum(one.same)
        counted = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
        return one.name, counted, f"{dropped:,}", _percent(one.share), _percent(one.kept_alike), differ

    head = ("filter", "texts", "dropped by datatrove", "same decision, reason and text", "same decision", "differ")
    yield from _table(head, map(row, found))


def _reasons(found: Sequence["Comparison"], named: Mapping[str, str]) -> Iterator[str]:
    """How often each reason was given, counted filter by filter."""
    theirs = {ours: reason for reason, ours in named.items()}
    given, agreed = Counter[str](), Counter[str]()
    for one in found:
        if one.name != "chain":
            for (reason, _), same in zip(one.theirs, one.same, strict=True):
                given[reason] += 1
                agreed[reason] += same
    rows = ((ours, theirs[ours], f"{given[ours]:,}", f"{agreed[ours]:,}") for ours in theirs)
    yield from _table(("reason", "datatrove's", "times given by datatrove", "by both"), rows)


def _differences(found: Sequence["Comparison"]) -> Iterator[str]:
    """Each pair of reasons that differ, how often, and one text."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        pairs: dict[tuple[str, str], list[str]] = {}
        for case, ours, theirs, same in zip(one.cases, one.ours, one.theirs, one.same, strict=True):
            if not same:
                pairs.setdefault((theirs[0] or "kept", ours[0] or "kept"), []).append(case.id)
        ordered = sorted(pairs.items(), key=lambda item: -len(item[1]))
        rows += [(one.name, theirs, ours, len(ids), f"`{ids[0]}`") for (theirs, ours), ids in ordered]
    if not rows:
        yield "None: every text was decided alike, for the same reason, and where it was kept the same text was left."
        return
    yield from _table(("filter", "datatrove", "Danlu", "texts", "for example"), iter(rows))


def _alarms(alarms: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    def shown(counts: Counter[str]) -> str:
        return ", ".join(f"{number} {reason}" for reason, number in counts.most_common()) or "none"

    rows = (
        (source, f"{row['documents']:,}", shown(row["garbled"]), shown(row["advertising"]))
        for source, row in alarms.items()
    )
    yield from _table(("source", "documents", "dropped as garbled", "dropped as advertising"), rows)


def page(
    english: Sequence["Comparison"],
    mandarin: Mapping[str, Sequence["Comparison"]],
    alarms: Mapping[str, Mapping[str, Any]],
    named: Mapping[str, str],
    versions: Mapping[str, str],
) -> Iterator[str]:
    """The lines of the page."""
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    date = time.strftime("%Y-%m-%d", time.gmtime())
    yield from (HEAD, f"Compared on {date} with {peers}, Python {platform.python_version()}.", "")
    yield from ("## English", "", "Defaults on both sides; the chain is FineWeb's: the first four in this order.", "")
    yield from (*_agreement(english), "", "### Reason by reason", "", *_reasons(english, named), "")
    yield from ("### Where they differ", "", *_differences(english), "")
    yield from ("## Mandarin with jieba", "", "FineWeb-2's thresholds, order and words (`words: jieba`).", "")
    yield from (*_agreement(mandarin["jieba"]), "", "### Where they differ", "", *_differences(mandarin["jieba"]), "")
    yield "## Mandarin without a library"
    yield ""
    yield UNCUT
    yield from (
        "",
        *_agreement(mandarin["chinese"]),
        "",
        "### Where they differ",
        "",
        *_differences(mandarin["chinese"]),
    )
    yield from ("", WORDS, DOLMA, "## Damage and advertising", "")
    yield ALARMS
    yield from ("", *_alarms(alarms))


def write(*given: Any) -> None:
    """Write the page."""
    PAGE.write_text("\n".join(page(*given)).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {PAGE.name}", flush=True)


if __name__ == "__main__":
    sys.exit("filters writes this page; run filters.")
