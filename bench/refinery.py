"""`danlu clean` as a whole: the same output whoever works, memory when the input grows tenfold, what a kill costs.

    make bench NAME=refinery                                  (about ten minutes; 0.1 GB and 1 GB)
    make bench NAME=refinery ARGS="--gigabytes 1 10"          (an hour on two cores)

The documents are paragraphs of the documentation inside installed packages, put together anew with words exchanged, so
that there are as many as wanted, some of them copies and near-duplicates. Memory is that of the command and all its
workers together, shared pages counted once for each, looked at five times a second.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from common import Record, options, write
from demo import resident

STEPS = (
    "normalize",
    "language",
    "gopher_repetition",
    "gopher_quality",
    "fineweb",
    "redact",
    "exact",
    "minhash",
    "lines",
)
SCALED = ("normalize", "length", "exact", "minhash")
FLAT, KILLS = 1.2, 5
TELLING = 32_000_000  # bytes; of a few megabytes the time is that of starting
BASE = 200_000_000  # bytes that are written from scratch
COMMON = re.compile(r" (the|of|a|to|in|is|and|for|be) ")


def paragraphs() -> list[str]:
    """Real prose, a paragraph each."""
    from danlu.text import packages

    found = [block for name in ("python", "numpy", "torch") for document in packages.documents(name)
             for block in document.text.split("\n\n") if len(block) > 150 and _is_prose(block)]  # fmt: skip
    return sorted(set(found))


def _is_prose(block: str) -> bool:
    """Words, and not code or a table of parameters: the heuristics would drop those, and little would be left to do."""
    words = block.split()
    return sum(word.strip(".,;:()'\"").isalpha() for word in words) > 0.9 * len(words)


def documents(size: int, seed: int = 0) -> Iterator[str]:
    """JSONL lines of about ``size`` bytes in all: a tenth copies, a tenth near-duplicates of a recent document."""
    rng, blocks, recent, made = random.Random(seed), paragraphs(), list[str](), 0
    words = sorted({word for block in blocks for word in block.split() if word.isalpha()})
    number = 0
    while made < size:
        kind = rng.random()
        if recent and kind < 0.1:
            text = rng.choice(recent)
        elif recent and kind < 0.2:
            old = rng.choice(recent).split(" ")
            for _ in range(max(len(old) // 100, 1)):
                old[rng.randrange(len(old))] = rng.choice(words)
            text = " ".join(old)
        else:
            chosen = [rng.choice(blocks).split(" ") for _ in range(rng.randrange(3, 12))]
            for block in chosen:  # without it the paragraphs themselves would be duplicates of one another
                for place in range(0, len(block), 4):
                    block[place] = rng.choice(words)
            text = "\n\n".join(" ".join(block) for block in chosen)
        recent = [*recent[-200:], text]
        line = json.dumps({"text": text, "url": f"https://example.org/{number}"}) + "\n"
        made, number = made + len(line), number + 1
        yield line


def generate(file: Path, size: int) -> Path:
    """A JSONL file of ``size`` bytes: from ``BASE`` on the same documents, the commonest words others in each pass.

    That leaves a quarter of the 5-grams in common, so that no document is a near-duplicate of itself a pass before.
    """
    made, passes = 0, 1
    with open(file, "w", encoding="utf-8") as handle:
        for line in documents(min(size, BASE)):
            made += handle.write(line)
    with open(file, encoding="utf-8") as again, open(file, "a", encoding="utf-8") as handle:
        while made < size:
            again.seek(0)
            read = 0
            while made < size and read < BASE:
                line = again.readline()
                read += len(line)
                made += handle.write(COMMON.sub(rf" \g<1>{passes} ", line))
            passes += 1
    return file


def command(data: Path, out: Path, *more: str, steps: Sequence[str] = STEPS) -> list[str]:
    """``danlu clean`` over the data."""
    chosen = ["--steps", *steps]
    return [
        sys.executable,
        "-m",
        "danlu",
        "clean",
        str(data),
        "--out",
        str(out),
        "--task-megabytes",
        "16",
        *chosen,
        *more,
    ]


def digest(out: Path) -> str:
    """One hash over every output but the report."""
    total = hashlib.sha256()
    for file in sorted(out.rglob("*.parquet")):
        total.update(str(file.relative_to(out)).encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def measured(words: Sequence[str]) -> tuple[float, int]:
    """(seconds, most bytes in memory) of a command."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - began, peak


def engines(place: Path, size: int) -> list[Record]:
    """One process, two workers, Ray: the same bytes."""
    data = generate(place / "engines.jsonl", size)
    found, seconds = dict[str, str](), dict[str, float]()
    for name, more in {
        "one worker": ("--workers", "1"),
        "two workers": ("--workers", "2"),
        "Ray, two cores": ("--engine", "ray", "--workers", "2"),
    }.items():
        out = place / name.replace(" ", "-").replace(",", "")
        seconds[name], _ = measured(command(data, out, *more))
        found[name] = digest(out)
        print(f"  {name}: {seconds[name]:.1f} s, {found[name][:16]}", flush=True)
    same = sum(value == found["one worker"] for value in found.values())
    details = {"megabytes": size / 1e6, **{f"seconds, {name}": round(value, 1) for name, value in seconds.items()}}
    speed = size / 1e6 / seconds["two workers"]
    equal = Record(
        f"engines with the same bytes ({', '.join(found)})", "all", same, 3, "engines", "more", details=details
    )
    rate = Record(
        "a chain of nine steps on two cores", "no peer has them all", speed, speed, "MB/s", "more", target=None
    )
    return [equal, rate] if size >= TELLING else [equal]


def kills(place: Path, size: int) -> Record:
    """SIGKILL to the whole session at random moments, started again each time: the same bytes."""
    data, rng = generate(place / "kills.jsonl", size), random.Random(0)
    whole = place / "undisturbed"
    busy, _ = measured(command(data, whole, "--workers", "2"))
    out, done = place / "killed", 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(data, out, "--workers", "2"), stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(0.2, 0.6) * busy)
        done += process.poll() is None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    measured(command(data, out, "--workers", "2"))
    same = int(digest(out) == digest(whole))
    what = f"a clean run after {done} kills: outputs byte-identical to those of an undisturbed run"
    return Record(what, "the undisturbed run", same, 1, "runs", "more")


def scale(place: Path, sizes: Sequence[float]) -> Record:
    """Memory of a tenth of the input and of all of it, the deduplication's files included."""
    peaks, rates = [], []
    for size in sizes:
        data = generate(place / "scale.jsonl", int(size * 1e9))
        seconds, peak = measured(command(data, place / "scaled", "--workers", "2", "--no-report", steps=SCALED))
        peaks.append(peak / 1e6)
        rates.append(size * 1e3 / seconds)
        print(f"  {size:g} GB: {peak / 1e6:.0f} MB, {rates[-1]:.1f} MB/s", flush=True)
        shutil.rmtree(place / "scaled")
    details = {
        f"{size:g} GB": f"{peak:.0f} MB at {rate:.1f} MB/s"
        for size, peak, rate in zip(sizes, peaks, rates, strict=True)
    }
    what = f"peak memory at {sizes[1]:g} GB of input over that at {sizes[0]:g} GB, two workers"
    return Record(what, f"the aim: at most {FLAT} times", peaks[1] / peaks[0], FLAT, "times", "less", details=details)


def main() -> None:
    """All of it."""
    given = options(
        __doc__,
        ("--gigabytes", {"nargs": 2, "type": float, "default": [0.1, 1.0], "help": "the two sizes"}),
        ("--megabytes", {"type": float, "default": 64.0, "help": "of the other comparisons"}),
        ("--only", {"nargs": "+", "default": ["engines", "kills", "scale"], "choices": ["engines", "kills", "scale"]}),
    )
    size = int((4 if given.quick else given.megabytes) * 1e6)
    records: list[Record] = []
    with TemporaryDirectory(prefix="danlu-refinery-") as folder:
        place = Path(folder)
        if "engines" in given.only:
            records += engines(place, size)
        if "kills" in given.only:
            records.append(kills(place, size))
        if records:
            write("refinery", records, quick=given.quick)
        if "scale" in given.only:  # an hour, and a record of its own
            write(
                "refinery_scale", [scale(place, [0.004, 0.04] if given.quick else given.gigabytes)], quick=given.quick
            )


if __name__ == "__main__":
    main()
