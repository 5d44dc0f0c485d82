"""Near-duplicates: how fast signatures are made, and how many true near-duplicates are found.

    make bench NAME=dedup

Speed is one core's, over the same English documents, files written and all. The rest is counted against brute force:
real passages with copies of them, words changed until their true Jaccard similarity lies anywhere from 0.66 to 1, and
the true similarity of every pair that has a 5-gram in common, by counting. Theory is 1 - (1 - s^rows)^bands, averaged
over the true pairs' own similarities.
"""

import json
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, Record, alternate, answer, options, peer_python, timed, write
from real_documents import documents

from danlu.text.dedup.lsh import catch_probability
from danlu.text.dedup.minhash import MinHash
from danlu.text.document import Document, Dropped

MEGABYTES, BASES, WORDS, ROUNDS, TASKS, SEED = 12, 10_000, 200, 3, 4, 0
LEAST, STEP = 0.66, 0.05
Pairs = dict[tuple[int, int], float]  # two documents by number → their similarity


def main() -> None:
    """Measure, count, write."""
    given = options(__doc__)
    real = [document for document in documents() if document.language == "en"]
    random.Random(SEED).shuffle(real)
    python = peer_python("datatrove")
    with TemporaryDirectory(prefix="danlu-dedup-") as folder:
        place = Path(folder)
        records, versions = _speed([document.text for document in real], python, place, given.quick)
        texts = planted([document.text for document in real], 300 if given.quick else BASES)
        print(f"  {len(texts)} documents; counting shared 5-grams", flush=True)
        true = similarities(texts)
        theirs = set(_peer(python, texts, place / "whole", whole=True)["removed"])
        for step in (MinHash(0.7), MinHash(0.8), MinHash(0.7, bands=14, rows=8)):
            records += _counted(step, texts, true, theirs, place)
    write("dedup", records, peers=versions, quick=given.quick)


def _speed(texts: Sequence[str], python: Path, place: Path, quick: bool) -> tuple[list[Record], dict[str, str]]:
    """Signatures of the first few megabytes, both sides with 14 bands of 8."""
    chosen, size = list[str](), 0
    for text in texts:
        chosen.append(text)
        size += len(text.encode("utf-8", "replace"))
        if size > (1 if quick else MEGABYTES) * 1e6:
            break
    given = [Document(text.encode("utf-8", "replace").decode(), str(n), "bench") for n, text in enumerate(chosen)]
    found: list[dict[str, Any]] = []

    def ours(step: MinHash) -> Callable[[], Sequence[float]]:
        return timed(lambda: step.look(given, place / "ours", 0))

    def theirs() -> list[float]:
        found.append(_peer(python, [document.text for document in given], place / f"theirs{len(found)}"))
        return [float(found[-1]["seconds"])]

    sides = {"ours": ours(MinHash(bands=14, rows=8)), "default": ours(MinHash()), "theirs": theirs}
    seconds = {
        name: statistics.median(taken) for name, taken in alternate(sides, rounds=1 if quick else ROUNDS).items()
    }
    rate = {name: size / 1e6 / taken for name, taken in seconds.items()}
    details = {"documents": len(given), "megabytes": size / 1e6, "with the default of 21 bands of 6": rate["default"]}
    what, peer = "MinHash signatures, 14 x 8, word 5-grams, one core", "datatrove"
    record = Record(what, peer, rate["ours"], rate["theirs"], "MB/s", "more", 10.0, 1 if quick else ROUNDS, details)
    return [record], dict(found[0]["versions"])


def _peer(python: Path, texts: Sequence[str], folder: Path, *, whole: bool = False) -> dict[str, Any]:
    folder.mkdir(parents=True)
    (folder / "documents.jsonl").write_text("".join(f"{json.dumps(text)}\n" for text in texts), encoding="utf-8")
    work = {"documents": str(folder / "documents.jsonl"), "folder": str(folder), "whole": whole}
    (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
    side = BENCH / "sides" / "datatrove_minhash.py"
    found: dict[str, Any] = answer([python, side, folder / "work.json"], {"OMP_NUM_THREADS": "1"})
    return found


def planted(texts: Sequence[str], bases: int) -> list[str]:
    """Different passages of `WORDS` plain words, a changed copy of each, in random order.

    Changing m of n words far apart leaves 5m of n - 4 shingles on both sides: J = (n - 4 - 5m) / (n - 4 + 5m).
    """
    rng, found = random.Random(SEED), dict[str, None]()
    for text in texts:
        words = re.findall(r"[a-z]+", text.lower()) if text.isascii() else []
        for start in range(0, len(words) - WORDS, WORDS):
            found.setdefault(" ".join(words[start : start + WORDS]))
        if len(found) >= bases:
            break
    chosen = list(found)[:bases]
    vocabulary = sorted({word for passage in chosen[:1000] for word in passage.split()})
    copies = []
    for passage in chosen:
        words, similarity = passage.split(), rng.uniform(LEAST, 1.0)
        changes = round((len(words) - 4) * (1 - similarity) / (5 * (1 + similarity)))
        for place in rng.sample(range(len(words)), changes):
            words[place] = rng.choice(vocabulary)
        copies.append(" ".join(words))
    together = chosen + copies
    rng.shuffle(together)
    return together


def similarities(texts: Sequence[str]) -> Pairs:
    """The true similarity of every pair with at least one word 5-gram in common: counted, nothing is hashed away."""
    sizes, holders = list[int](), defaultdict[tuple[str, ...], list[int]](list)
    for number, text in enumerate(texts):
        words = text.split()
        shingles = {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
        sizes.append(len(shingles))
        for shingle in shingles:
            holders[shingle].append(number)
    shared = Counter[tuple[int, int]]()
    for numbers in holders.values():
        shared.update(combinations(numbers, 2))
    return {(a, b): both / (sizes[a] + sizes[b] - both) for (a, b), both in shared.items()}


def _counted(step: MinHash, texts: Sequence[str], true: Pairs, theirs: set[int], place: Path) -> list[Record]:
    """What the step drops and joins, against the true pairs at its threshold."""
    bands, rows = step.shape()
    name = f"threshold {step.threshold:g}, {bands} x {rows}"
    roots, facts = _run(step, texts, place / name)
    pairs = {pair: s for pair, s in true.items() if s >= step.threshold}
    wrong = {n for n, root in enumerate(roots) if root != n} - _later(pairs, len(texts))
    dropped = sum(root != n for n, root in enumerate(roots))
    joined = {pair: roots[pair[0]] == roots[pair[1]] for pair in pairs}
    recall = sum(joined.values()) / len(pairs)
    theory = sum(catch_probability(s, bands, rows) for s in pairs.values()) / len(pairs)
    table = {}
    for low in range(70, 100, 5):
        of = [pair for pair, s in pairs.items() if low / 100 <= s < low / 100 + STEP]
        if of:
            expected = sum(catch_probability(pairs[pair], bands, rows) for pair in of) / len(of)
            table[f"at {low / 100:.2f}"] = f"{sum(joined[p] for p in of) / len(of):.4f} ({expected:.4f}) of {len(of)}"
    details = {
        "documents": len(texts),
        "true pairs": len(pairs),
        "dropped": dropped,
        "compared": facts["pairs_compared"],
    }
    both = details | table
    found = [
        Record(f"precision of what is dropped, {name}", "aim", 1 - len(wrong) / dropped, 1.0, "share", "more", 1.0, 1),
        Record(f"true pairs found, {name}", "theory", recall, theory, "share", "more", 0.99, 1, both),
    ]
    if (bands, rows) == (14, 8):
        should, ours = _later(pairs, len(texts)), {n for n, root in enumerate(roots) if root != n}
        details = {
            "datatrove's precision": len(theirs & should) / len(theirs),
            "its false ones": len(theirs - should),
            "default of Danlu at this threshold": f"{step.threshold:g} gives {MinHash(step.threshold).shape()}",
        }
        what = f"documents dropped of those with an earlier near-duplicate, {name}"
        share = len(ours & should) / len(should), len(theirs & should) / len(should)
        found.append(Record(what, "datatrove, unverified", *share, "share", "more", None, 1, details))
    return found


def _later(pairs: Pairs, number: int) -> set[int]:
    """The documents that are not the first of their cluster."""
    roots = list(range(number))

    def root(n: int) -> int:
        while roots[n] != n:
            roots[n] = roots[roots[n]]
            n = roots[n]
        return n

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        roots[high] = low
    return {n for n in range(number) if root(n) != n}


def _run(step: MinHash, texts: Sequence[str], folder: Path) -> tuple[list[int], dict[str, Any]]:
    """For each document the number of the one that stays for it."""
    given = [Document(text, str(number), "bench") for number, text in enumerate(texts)]
    size = -(-len(given) // TASKS)
    parts = [given[task * size : (task + 1) * size] for task in range(TASKS)]
    for task, part in enumerate(parts):
        step.look(part, folder, task)
    facts = step.decide(folder, TASKS)
    verdicts = [after for task, part in enumerate(parts) for _, after in step.apply(part, folder, task)]
    return [int(after.detail if isinstance(after, Dropped) else after.id) for after in verdicts], facts


if __name__ == "__main__":
    main()
