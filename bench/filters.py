"""The chain Gopher repetition, Gopher quality, C4, FineWeb: Danlu against datatrove, in speed and in every decision.

    make bench NAME=filters

Speed: one core, the same documents, both sides in turn. Each pass of ours begins with an empty vocabulary, which is
then filled with other documents, because that is what it is like in the middle of a long run; the peer is warmed up as
well. Decisions: filter by filter and for the chain, on real documents, on edits of them that provoke each reason, and
on the texts of the tests. What the peer decided is kept in ``runs/bench`` under the hash of the texts, since it takes
a quarter of an hour. ``docs/CONFORMANCE.md`` is written anew by every whole run.
"""

import hashlib
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import BENCH, ROOT, Record, alternate, answer, options, peer_python, write
from filter_edits import edited
from real_documents import PACKAGES, Real, documents

sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

ENGLISH_CHAIN = ("gopher repetition", "gopher quality", "c4 (as in fineweb)", "fineweb")
MANDARIN_CHAIN = ("gopher repetition", "fineweb", "gopher quality")  # FineWeb-2's order
# FineWeb-2, configs/cmn_Hani.yml (commit 05e6729), as the peer's side takes it.
MANDARIN = {
    "dup_line_frac": 0.287,
    "dup_n_grams": [[5, 0.198], [6, 0.182], [7, 0.167], [8, 0.154], [9, 0.14], [10, 0.127]],
    "top_n_grams": [[2, 0.256], [3, 0.201], [4, 0.171]],
    "line_punct_thr": 0.106,
    "new_line_ratio": 0.178,
    "max_avg_word_length": 5,
    "min_avg_word_length": 1,
    "max_non_alpha_words_ratio": 0.735,
    "stopwords": list("的年在月是和日了於·為有被人中为他與後也而由"),
}
ROW = re.compile(r"^``(\w+)``\s+``([^`]+)``", re.MULTILINE)
AIM, SPEED = 0.999, 10.0
Steps = Mapping[str, Callable[[Any], Any]]
Decision = tuple[str, str | None]  # the reason or '', and the text that is left if it is another


@dataclass(frozen=True)
class Case:
    """A text to decide on, where it is from, and whether it is real, edited or written."""

    id: str
    kind: str
    text: str


@dataclass
class Comparison:
    """One filter's decisions on both sides."""

    name: str
    cases: Sequence[Case]
    ours: list[Decision]
    theirs: list[Decision]

    @property
    def same(self) -> list[bool]:
        """Case by case: the same reason, and where it is kept the same text left."""
        return [a == b if not b[0] else a[0] == b[0] for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def share(self) -> float:
        """The share of cases decided alike."""
        return sum(self.same) / len(self.same)

    @property
    def kept_alike(self) -> float:
        """The share of cases kept or dropped alike, for whatever reason."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return sum(bool(a[0]) == bool(b[0]) for a, b in pairs) / len(self.same)


def english() -> Steps:
    """Our filters under the names of the peer's side."""
    from danlu.text.filters import c4, fineweb
    from danlu.text.filters.gopher_quality import GopherQuality
    from danlu.text.filters.gopher_repetition import GopherRepetition

    return {
        "gopher repetition": GopherRepetition(),
        "gopher quality": GopherQuality(),
        "c4 (as in fineweb)": c4.fineweb(),
        "fineweb": fineweb.FineWebQuality(),
        "c4": c4.C4Quality(),
        "c4 by sentence": c4.C4Quality(by_sentence=True),
        "mc4 paragraphs": c4.C4Paragraphs(),
        "fineweb (paper)": fineweb.paper(),
    }


def mandarin(words: Any) -> Steps:
    """FineWeb-2's for Mandarin, the words cut by ``words``."""
    from danlu.text.filters import fineweb, gopher_quality, gopher_repetition

    return {
        "gopher repetition": gopher_repetition.mandarin(words),
        "fineweb": fineweb.mandarin(words),
        "gopher quality": gopher_quality.mandarin(words),
    }


def reasons() -> dict[str, str]:
    """datatrove's reason → ours, read off the tables in the filters' own pages."""
    from danlu.text.filters import c4, fineweb, gopher_quality, gopher_repetition

    pages = [module.__doc__ or "" for module in (gopher_repetition, gopher_quality, c4, fineweb)]
    return {theirs: ours for page in pages for ours, theirs in ROW.findall(page)}


def judge(steps: Steps, names: Sequence[str], text: str) -> Decision:
    """What the chain of ``names`` decides."""
    from danlu.text.document import Document, Dropped

    document = Document(text, "", "", {"language": "zh"})
    for name in names:
        found = steps[name](document)
        if isinstance(found, Dropped):
            return found.reason, None
        document = found
    return "", document.text if document.text != text else None


def peer(texts: Sequence[str], chain: Sequence[str], *, decide: bool, chinese: bool) -> dict[str, Any]:
    """Have the peer decide on ``texts``, or time it: its answer, and ``decisions`` row by row."""
    python, side = peer_python("datatrove"), BENCH / "sides" / "datatrove_filters.py"
    folder = PACKAGES.parent
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps({'text': text})}\n" for text in texts)
    settings = {"chain": chain, "mandarin": MANDARIN if chinese else None, "each": True}
    given = lines + json.dumps(settings) + (BENCH / "requirements-datatrove.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256(given.encode()).hexdigest()[:12]
    source, decisions = folder / f"texts-{digest}.jsonl", folder / f"decisions-{digest}.jsonl"
    known = folder / f"answer-{digest}.json"
    if not (decide and known.exists()):
        source.write_text(lines, encoding="utf-8")
        work = {"documents": str(source), "decisions": str(decisions) if decide else None, **settings}
        (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
        found = answer([python, side, folder / "work.json"], {"OMP_NUM_THREADS": "1"})
        source.unlink()
        if not decide:
            return dict(found)
        known.write_text(json.dumps(found), encoding="utf-8")
    rows = [json.loads(line) for line in decisions.read_text(encoding="utf-8").splitlines()]
    return {**json.loads(known.read_text(encoding="utf-8")), "decisions": rows}


def compare(cases: Sequence[Case], steps: Steps, chain: Sequence[str], theirs: dict[str, Any]) -> list[Comparison]:
    """Every filter alone, then the chain."""
    named, found = {"": "", **reasons()}, []
    for name in (*steps, "chain"):
        alone = chain if name == "chain" else (name,)
        ours = [judge(steps, alone, case.text) for case in cases]
        rows = [row[name] for row in theirs["decisions"]]
        peers = [(named.get(reason, reason), left if not reason else None) for reason, left in rows]
        found.append(Comparison(name, cases, ours, peers))
        print(f"  {name:<20} {100 * found[-1].share:.3f} % of {len(cases)} decided alike", flush=True)
    return found


def english_cases(real: Sequence[Real], number: int) -> list[Case]:
    """Real documents in random order, edits of others, and the texts of the tests."""
    from tests.text.filters.texts import TEXTS

    chosen = [document for document in real if document.language != "zh"]
    random.Random(0).shuffle(chosen)
    cases = [Case(document.id, "real", document.text) for document in chosen[:number]]
    rest = [document.text for document in chosen[number:] if 1500 < len(document.text) < 6000]
    cases += [Case(name, "edited", text) for name, text in edited(rest, number // 8)]
    return cases + [Case(name, "written", text) for name, text in TEXTS.items()]


def chinese_cases(real: Sequence[Real], number: int) -> list[Case]:
    """Chinese documents in random order, and the texts of the tests."""
    from tests.text.filters.texts import MANDARIN_TEXTS

    chosen = [document for document in real if document.language == "zh"]
    random.Random(0).shuffle(chosen)
    cases = [Case(document.id, "real", document.text) for document in chosen[:number]]
    return cases + [Case(name, "written", text) for name, text in MANDARIN_TEXTS.items()]


def speed(
    texts: Sequence[str], others: Sequence[str], steps: Steps, chain: Sequence[str], rounds: int, *, chinese: bool
) -> dict[str, tuple[float, float]]:
    """Name → median seconds of ours and theirs for all ``texts``: each filter of the chain, and the chain."""
    found: dict[str, list[float]] = {}
    theirs: list[dict[str, float]] = []

    def ours() -> list[float]:
        for name in (*chain, "chain"):
            found.setdefault(name, []).append(pass_over(texts, others, steps, chain if name == "chain" else (name,)))
        return []

    def peers() -> list[float]:
        theirs.append(peer(texts, chain, decide=False, chinese=chinese)["seconds"])
        return []

    alternate({"ours": ours, "theirs": peers}, rounds=rounds)
    return {
        name: (statistics.median(found[name]), statistics.median(taken[name] for taken in theirs)) for name in found
    }


def pass_over(texts: Sequence[str], others: Sequence[str], steps: Steps, names: Sequence[str]) -> float:
    """Seconds for ``texts``, with a vocabulary that has met ``others`` and nothing else."""
    from danlu.text.filters import words

    words._vocabulary.cache_clear()
    for text in others:
        judge(steps, names, text)
    words.words.cache_clear()
    began = time.perf_counter()
    for text in texts:
        judge(steps, names, text)
    return time.perf_counter() - began


def false_alarms(real: Sequence[Real]) -> dict[str, dict[str, Any]]:
    """By source: how many documents, and how many `Garbled` and `Advertising` drop, for which reasons."""
    from collections import Counter

    from danlu.text.document import Document, Dropped
    from danlu.text.filters.advertising import Advertising
    from danlu.text.filters.garbled import Garbled

    found: dict[str, dict[str, Any]] = {}
    for document in real:
        source = "mail labelled as spam" if "/data/spam-" in document.id else document.source
        source = "other mail" if "ham-" in document.id and "spam-assassin" in document.id else source
        row = found.setdefault(source, {"documents": 0, "garbled": Counter(), "advertising": Counter()})
        row["documents"] += 1
        for name, step in (("garbled", Garbled()), ("advertising", Advertising())):
            verdict = step(Document(document.text, document.id, source))
            if isinstance(verdict, Dropped):
                row[name][verdict.reason] += 1
    return found


def records(
    whole: list[Comparison],
    chinese: dict[str, list[Comparison]],
    seconds: dict[str, Any],
    sizes: dict[str, float],
    runs: int,
) -> list[Record]:
    """Speed of the chain and of each filter, agreement of both languages."""
    made = []
    for language, taken in seconds.items():
        for name, (ours, theirs) in sorted(taken.items(), key=lambda item: item[0] != "chain"):
            what = f"filters, {language}, {name}, one core"
            target = SPEED if (language, name) == ("English", "chain") else None
            size = sizes[language] / 1e6
            details = {"megabytes": size, "seconds": [ours, theirs]}
            made.append(Record(what, "datatrove", size / ours, size / theirs, "MB/s", "more", target, runs, details))
    aim = "the aim: 99.9 % of documents"
    for name, found in (("English", whole), ("Mandarin, jieba", chinese["jieba"])):
        chain = found[-1]
        details = {one.name: one.share for one in found} | {"documents": len(chain.cases)}
        what = f"filters, {name}: chain, same decision and reason"
        made.append(Record(what, aim, chain.share, AIM, "share", "more", 1.0, 1, details))
    pairs = chinese["chinese"][-1]
    what = "filters, Mandarin without jieba: chain, same decision"
    details = {"same decision and reason": pairs.share, "documents": len(pairs.cases)}
    return [*made, Record(what, "datatrove with jieba", pairs.kept_alike, 1.0, "share", "more", None, 1, details)]


def main() -> None:
    """Decide, time, write."""
    import conformance

    given = options(
        __doc__,
        ("--documents", {"type": int, "default": 6000, "help": "real English documents to decide on"}),
        ("--rounds", {"type": int, "default": 3, "help": "how often each side is timed"}),
    )
    number, rounds = (60, 1) if given.quick else (given.documents, given.rounds)
    real = documents()
    cases, chinese = english_cases(real, number), chinese_cases(real, number // 3)
    print(f"{len(cases)} English and {len(chinese)} Chinese texts; datatrove decides", flush=True)
    theirs = peer([case.text for case in cases], ENGLISH_CHAIN, decide=True, chinese=False)
    whole = compare(cases, english(), ENGLISH_CHAIN, theirs)
    theirs_zh = peer([case.text for case in chinese], MANDARIN_CHAIN, decide=True, chinese=True)
    both = {words: compare(chinese, mandarin(words), MANDARIN_CHAIN, theirs_zh) for words in ("jieba", "chinese")}
    seconds, sizes = {}, {}
    for language, steps, chain, of in (
        ("English", english(), ENGLISH_CHAIN, cases),
        ("Mandarin, jieba", mandarin("jieba"), MANDARIN_CHAIN, chinese),
        ("Mandarin without jieba", mandarin("chinese"), MANDARIN_CHAIN, chinese),
    ):
        texts = [case.text for case in of if case.kind == "real"]
        timed, others = texts[: number // 6], texts[number // 6 : number]
        sizes[language] = sum(len(text.encode("utf-8", "replace")) for text in timed)
        seconds[language] = speed(timed, others, steps, chain, rounds, chinese=language != "English")
    found = records(whole, both, seconds, sizes, rounds)
    alarms = false_alarms(real[:: 40 if given.quick else 1])
    if not given.quick:
        conformance.write(whole, both, alarms, reasons(), theirs["versions"])
    write("filters", found, peers=theirs["versions"], quick=given.quick)


if __name__ == "__main__":
    main()
