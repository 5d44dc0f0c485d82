"""HTML to text: Danlu's extractor against trafilatura and resiliparse, on pages whose text is known.

    make bench NAME=extract

Word-level F1 of each page (a Chinese character is a word, words count as often as they stand there, capitals do not
matter), its mean over the pages of each set; `sides/extract_truths` says what the sets are. The peer that is compared
with is, set by set, the best of three: resiliparse, trafilatura, and trafilatura favouring recall. Speed is that of
the extraction alone, one core. What no set holds: a sample of the open web, which no package ships.
"""

import json
import os
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import BENCH, ROOT, Record, alternate, answer, options, peer_python, write

PEERS = ("resiliparse", "trafilatura", "trafilatura-recall")
WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")
SIDE = BENCH / "sides" / "extractors.py"
FOLDER = ROOT / "runs" / "bench"


def words(text: str) -> Counter[str]:
    """Each word, and how often it stands there."""
    return Counter(WORD.findall(text.lower()))


def f1(found: str, known: str) -> float:
    """Of a page; what stands after a form feed in ``known`` is neither missed nor held against ``found``."""
    wanted, _, either = known.partition("\f")
    truth, text = words(wanted), words(found)
    right = (truth & text).total()
    wrong = (text - truth - words(either)).total()
    return 2 * right / max(2 * right + wrong + (truth - text).total(), 1)


def rows(path: Path) -> Iterator[Any]:
    """The JSON of each line."""
    with path.open(encoding="utf-8") as handle:
        yield from map(json.loads, handle)


def scores(pages: Path, texts: Path) -> dict[str, float]:
    """Set → mean F1."""
    found: dict[str, list[float]] = {}
    for page, text in zip(rows(pages), rows(texts), strict=True):
        found.setdefault(page["set"], []).append(f1(text, page["text"]))
    return {name: statistics.fmean(each) for name, each in found.items()}


def quality(
    counts: Mapping[str, int], found: Mapping[str, Mapping[str, float]], versions: Mapping[str, str]
) -> list[Record]:
    """A record for each set, against the best of the peers there."""
    made = []
    for name, count in counts.items():
        best = max(PEERS, key=lambda peer: found[peer][name])
        details = {**{side: found[side][name] for side in ("builtin", *PEERS)}, "pages": count, "peers": dict(versions)}
        what = f"extraction, word F1, {name}"
        made.append(Record(what, best, found["builtin"][name], found[best][name], "F1", "more", 1.0, count, details))
    return made


def speed(seconds: Mapping[str, Sequence[float]], size: int, rounds: int) -> list[Record]:
    """A record for each peer."""
    rate = {side: size / 1e6 / statistics.median(taken) for side, taken in seconds.items()}
    what = "extraction, HTML read, one core"
    return [
        Record(what, peer, rate["builtin"], rate[peer], "MB/s", "more", None, rounds, {"megabytes": size / 1e6})
        for peer in PEERS
    ]


def main() -> None:
    """Gather the pages, extract on every side, compare, write."""
    given = options(__doc__, ("--rounds", {"type": int, "default": 3, "help": "how often each side is timed"}))
    python, environment = peer_python("extraction"), {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = FOLDER / "extract-pages.jsonl"
    counts: dict[str, int] = answer([python, SIDE, "pages", FOLDER / "debian", pages], environment)
    print(", ".join(f"{name} {count}" for name, count in counts.items()), flush=True)
    if given.quick:
        few = [line for n, line in enumerate(pages.read_text(encoding="utf-8").splitlines()) if n % 20 == 0]
        pages.write_text("\n".join(few) + "\n", encoding="utf-8")
        counts = Counter(json.loads(line)["set"] for line in few)

    def side(name: str) -> list[float]:
        interpreter = sys.executable if name == "builtin" else python
        return [answer([interpreter, SIDE, name, pages, FOLDER / f"extract-{name}.jsonl"], environment)]

    sides = {name: (lambda name=name: side(name)) for name in ("builtin", *PEERS)}
    seconds = alternate(sides, rounds=1 if given.quick else given.rounds)
    found = {name: scores(pages, FOLDER / f"extract-{name}.jsonl") for name in sides}
    versions = peers(python)
    size = sum(len(page["html"].encode("utf-8", "replace")) for page in rows(pages))
    made = quality(counts, found, versions) + speed(seconds, size, given.rounds)
    write("extract", made, peers=versions, quick=given.quick)


def peers(python: Path) -> dict[str, str]:
    """The versions of the libraries on the other side."""
    code = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in %r}))"
    found: dict[str, str] = answer([python, "-c", code % (("trafilatura", "resiliparse", "docutils"),)])
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
