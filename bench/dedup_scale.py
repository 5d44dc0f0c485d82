"""Does deduplication's memory stay flat when its input grows tenfold?

    make bench NAME=dedup_scale                     (ARGS="--megabytes 1000 10000 --steps minhash substring" for others)

Documents are made from real ones by edits, as they are asked for, so no size has to lie on the disk first: of every
twenty, one is a document from elsewhere in the corpus, five are such a document with a few words changed, two end with
a passage of one, and the rest are made new by changing a third of a real document's words. Each step, with an index on
disk where it has one, looks at, decides and applies all tasks in a process of its own; what is compared is the most
memory that each process ever held.
"""

import json
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import Record, answer, options, write

TASK = 64 * 10**6  # bytes, about, as the engine cuts them
BASES, LENGTH = 1000, 3000  # real documents, and characters of the longest
STEPS = ("exact", "minhash", "simhash", "substring", "lines")


def main() -> None:
    """Measure every step at both sizes, or be the process that does one."""
    given = options(
        __doc__,
        ("--megabytes", {"type": int, "nargs": 2, "default": [1000, 10_000], "help": "the two sizes"}),
        ("--steps", {"nargs": "+", "default": STEPS, "choices": STEPS, "help": "only these"}),
        (
            "--alone",
            {"nargs": 3, "metavar": ("STEP", "MEGABYTES", "BASES"), "help": "one step at one size; used by the script"},
        ),
    )
    if given.alone:
        print(json.dumps(measured(given.alone[0], int(float(given.alone[1]) * 1e6), Path(given.alone[2]))))
        return
    sizes, records = [1, 10] if given.quick else given.megabytes, []
    with TemporaryDirectory(prefix="danlu-scale-") as folder:
        bases = Path(folder) / "bases.json"
        bases.write_text(json.dumps(real()), encoding="utf-8")
        for name in given.steps:
            found = []
            for size in sizes:
                command = [sys.executable, __file__, "--alone", name, size, bases]
                found.append(answer(command, {"OMP_NUM_THREADS": "1"}))
                print(f"  {name} {size} MB: {found[-1]}", flush=True)
            details = {f"at {size} MB": seen for size, seen in zip(sizes, found, strict=True)}
            what = f"peak memory of {name} at {sizes[1]} MB against {sizes[0]} MB"
            growth = found[1]["peak_megabytes"] / found[0]["peak_megabytes"]
            records.append(Record(what, "aim", growth, 1.2, "times", "less", 1.0, 1, details))
    write("dedup_scale", records, quick=given.quick)


def real() -> list[str]:
    """Real documents, English and Chinese, none of them long."""
    from real_documents import documents

    found = [document.text[:LENGTH] for document in documents() if len(document.text) > LENGTH / 3]
    random.Random(0).shuffle(found)
    return found[:BASES]


def measured(name: str, size: int, given: Path) -> dict[str, Any]:
    """Run a step over ``size`` bytes; what it took, and what it found."""
    from danlu.text.dedup.exact import Exact
    from danlu.text.dedup.lines import Lines
    from danlu.text.dedup.minhash import MinHash
    from danlu.text.dedup.simhash import SimHash
    from danlu.text.dedup.substring import Substring

    tasks, began, counts, laps = -(-size // TASK), time.monotonic(), {"kept": 0, "dropped": 0}, list[float]()
    bases = [re.split(r"(\s+)", text) for text in json.loads(given.read_text(encoding="utf-8"))]
    with TemporaryDirectory(prefix=f"danlu-{name}-", dir=Path.cwd() / "runs") as folder:
        index = Path(folder) / "index"
        steps = {
            "exact": lambda: Exact(index=index),
            "minhash": lambda: MinHash(index=index),
            "simhash": lambda: SimHash(index=index),
            "substring": Substring,
            "lines": Lines,
        }
        step, place, share = steps[name](), Path(folder) / "work", size // tasks
        for task in range(tasks):
            step.look(made(bases, task, share), place, task)
        laps.append(time.monotonic() - began)
        facts = step.decide(place, tasks)
        laps.append(time.monotonic() - began)
        for task in range(tasks):
            for before, after in step.apply(made(bases, task, share), place, task):
                counts["kept" if type(after) is type(before) else "dropped"] += 1
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    laps.append(time.monotonic() - began)
    facts = {key: value for key, value in facts.items() if isinstance(value, int)}
    return {
        "peak_megabytes": round(peak(), 1),
        "disk_megabytes": round(disk / 1e6),
        "seconds": [round(b - a) for a, b in zip([0.0, *laps], laps, strict=False)],
        **counts,
        **facts,
    }


def peak() -> float:
    """The most memory this process held, in MB. What getrusage says begins with its parent's, so Linux is asked."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024 / 1e6


def made(bases: list[list[str]], task: int, size: int) -> Iterator[Any]:
    """The documents of a task, the same whenever they are asked for; about ``size`` bytes."""
    from danlu.text.document import Document

    done, number = 0, 0
    while done < size:
        text = _text(bases, task, number)
        yield Document(text, f"{task}:{number}", "made")
        done, number = done + len(text), number + 1


def _text(bases: list[list[str]], task: int, number: int) -> str:
    rng = random.Random(task << 32 | number)
    kind, elsewhere = rng.randrange(20), rng.randrange(task + 1) << 32 | rng.randrange(max(number, 1))
    parts = _new(bases, elsewhere if kind < 6 else task << 32 | number)
    if 0 < kind < 6:
        for place in rng.sample(range(0, len(parts), 2), 1 + len(parts) // 200):
            parts[place] = f"z{rng.getrandbits(20):x}"
    if kind in (6, 7):
        parts += ["\n\n", "".join(_new(bases, elsewhere))[: rng.randrange(300, 1000)]]
    return "".join(parts)


def _new(bases: list[list[str]], key: int) -> list[str]:
    rng = random.Random(key)
    parts = list(rng.choice(bases))
    for place in range(0, len(parts), 2):
        if rng.random() < 0.33:
            parts[place] = f"{parts[place][:3]}{rng.getrandbits(24):x}"
    return parts


if __name__ == "__main__":
    main()
