"""What the demo must reach: `danlu demo` in an empty directory, once more, and once more with a stage deleted.

    make bench NAME=demo       (ARGS="--out DIR" keeps what it made; by default it is removed)

Seconds are those of the whole command, installation aside; memory is the resident memory of the command and all its
children together, looked at five times a second, shared pages counted once for each process, so never too little.
The rest is read from the demo's own evaluation.json.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import ROOT, Record, options, write

sys.path.insert(0, str(ROOT / "tests"))
from killing import CHANGES, write_material

MINUTES, MEMORY_GB, AGAIN_SECONDS = 8, 3.0, 10.0
STOP_RATE, CHANCE = 0.95, 0.5
DELETED = "dpo"
LOOK_SECONDS = 0.2
STATE = re.compile(r"^(\w+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    seconds: float
    peak_bytes: int
    stages: dict[str, bool]  # in order; True if it ran
    said: str

    @property
    def ran(self) -> list[str]:
        """The stages that ran."""
        return [name for name, did in self.stages.items() if did]


def run(command: Sequence[str]) -> Run:
    """Run to the end; what it says is shown as it says it."""
    began, lines, peak = time.perf_counter(), list[str](), 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None

    def listen() -> None:
        for line in process.stderr or ():
            lines.append(line)
            print(f"  | {line}", end="", flush=True)

    listener = threading.Thread(target=listen)
    listener.start()
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began
    listener.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    said = "".join(lines)
    return Run(seconds, max(peak, largest), stages(said), said)


def resident(session: int) -> int:
    """Bytes in memory of all processes of a session; 0 where there is no /proc, and the kernel's own count remains."""
    total, page = 0, os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").glob("[0-9]*") if os.path.isdir("/proc") else ():
        try:
            after_name = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(after_name[3]) == session:
                total += int((entry / "statm").read_text(encoding="utf-8").split()[1]) * page
        except (OSError, ValueError, IndexError):  # it ended between the two looks
            continue
    return total


def stages(said: str) -> dict[str, bool]:
    """'sft: up to date' → {"sft": False}. Only names from the plan count, which comes first and has no colons."""
    plan = re.split(r"^in all", said, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    known = {line.split()[0] for line in plan if line.strip()}
    return {name: state != "up to date" for name, state in STATE.findall(said) if name in known}


def commands(quick: bool, folder: Path, out: Path) -> list[str]:
    """`danlu demo`, or for a quick look a chain that takes a minute."""
    danlu = [sys.executable, "-m", "danlu"]
    if not quick:
        return [*danlu, "demo", "--out", str(out)]
    write_material(folder)
    data = ["--text", str(folder / "text"), "--chats", str(folder / "chats.jsonl"), "--preferences", "sampled"]
    small = ["--vocab-size", "400", "--length", "64", "--tokens", "20K", "--precision", "fp32"]
    few = ["preferences.prompts=8", "preferences.max_new_tokens=8", "preferences.temperature=2.0"]
    changes = [*CHANGES, *few, "preferences.least_difference=0.0"]
    return [*danlu, "chain", *data, *small, "--out", str(out), "--set", *changes]


def costs(first: Run, second: Run, third: Run) -> list[Record]:
    """Time, memory, and which stages ran."""
    after = list(first.stages)[list(first.stages).index(DELETED) :]
    as_told = [name for name in first.stages if third.stages.get(name) == (name in after)]
    limit = f"the aim: within {MINUTES} minutes"
    details = {"minutes": first.seconds / 60, "stages": first.ran}
    gb, again = first.peak_bytes / 1e9, f"the aim: under {AGAIN_SECONDS:.0f} s"
    nothing = {"stages that ran": second.ran or "none"}
    chosen = {"stages that ran": third.ran, "should have run": after, "seconds": third.seconds}
    what = f"stages that do as they should after {DELETED}/ was deleted: it and those after it run, no other"
    idle = len(second.stages) - len(second.ran)
    return [
        Record("danlu demo, from nothing", limit, first.seconds, MINUTES * 60, "s", "less", details=details),
        Record("danlu demo, peak memory", f"the aim: under {MEMORY_GB:g} GB", gb, MEMORY_GB, "GB", "less"),
        Record("danlu demo, a second time", again, second.seconds, AGAIN_SECONDS, "s", "less", details=nothing),
        Record("stages left alone by a second danlu demo", "all", idle, len(second.stages), "stages", "more"),
        Record(what, "all", len(as_told), len(first.stages), "stages", "more", details=chosen),
    ]


def qualities(found: dict[str, Any]) -> list[Record]:
    """What the model can do, from evaluation.json."""
    text, choice = found["text"], found["preference"]
    xz = "xz -9e, given the training text first"
    interval = [choice["low"], choice["high"]]
    preference = {
        "accuracy": choice["accuracy"],
        "95 % interval": interval,
        "pairs": choice["pairs"],
        "margin": choice["margin"],
        "log-probability of the chosen answers": choice["chosen_logprob"],
        "its change by DPO": choice["chosen_shift"],
    }
    sources = {name.rsplit("/", 1)[-1]: value for name, value in list(text["sources"].items())[:4]}
    held_out = {"documents": text["documents"], "bytes": text["bytes"], **sources}
    talk, same = "small talk answered in the language of the question", "all"
    low = "preference accuracy on held-out pairs, lower end of its 95 % interval"
    bits, xz_bits = text["bits_per_byte"], text["xz_bits_per_byte"]
    stopped = {"questions": found["questions"], "95 % interval": list(found["stop_rate_interval"])}
    return [
        Record("held-out documents", xz, bits, xz_bits, "bits a byte", "less", details=held_out),
        Record(
            "held-out questions whose answer stops by itself",
            f"the aim: at least {STOP_RATE:.0%}",
            found["stop_rate"],
            STOP_RATE,
            "of the answers",
            "more",
            details=stopped,
        ),
        Record(talk, same, found["small_talk_language"], 1.0, "of the answers", "more"),
        Record(low, "chance", choice["low"], CHANCE, "of the pairs", "more", details=preference),
    ]


def main() -> None:
    """Three runs, then the evaluation of the last."""
    given = options(__doc__, ("--out", {"type": Path, "default": None, "help": "where; must not be there yet"}))
    with TemporaryDirectory(prefix="danlu-demo-") as folder:
        out = (given.out or Path(folder) / "demo").resolve()
        if out.exists():
            raise SystemExit(f"{out} is there already, and the first run has to begin with nothing")
        command = commands(given.quick, Path(folder), out)
        first, second = run(command), run(command)
        shutil.rmtree(out / DELETED)
        third = run(command)
        found = json.loads((out / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    write("demo", [*costs(first, second, third), *qualities(found)], quick=given.quick)


if __name__ == "__main__":
    main()
