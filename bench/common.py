"""What the comparisons share: alternating timing, environments for peers, and the record of what came out.

A record's ``ratio`` is above 1 where Danlu is better, whatever is measured, and ``target`` is the ratio that was
aimed at. Where there is no peer but an aim (a time, a share), the aim stands in the peer's place.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
RESULTS = BENCH / "results"
OURS = ("danlu", "torch", "numpy", "tokenizers", "safetensors")
SMALLEST = 1e-12  # stands for zero where a ratio would divide by it


@dataclass(frozen=True)
class Record:
    """One comparison. ``runs`` is what each side's number is the median of; ``details`` is for people."""

    what: str
    peer: str
    ours: float
    theirs: float
    unit: str
    better: Literal["more", "less"]
    target: float | None = 1.0
    runs: int = 1
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Above 1 where Danlu is better."""
        high, low = (self.ours, self.theirs) if self.better == "more" else (self.theirs, self.ours)
        return high / max(low, SMALLEST)


def options(what: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """A script's flags; each has ``--quick``, which proves in a minute that it runs and writes no result."""
    parser = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs; no result is written")
    for name, how in more:
        parser.add_argument(name, **how)
    return parser.parse_args()


def alternate(
    sides: Mapping[str, Callable[[], Sequence[float]]], *, rounds: int, warm_up: int = 0
) -> dict[str, list[float]]:
    """Run every side in turn, ``rounds`` times over, so that a machine that slows down slows all of them.

    A side returns its measurements; those of the first ``warm_up`` rounds are thrown away.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + rounds):
        for name, run in sides.items():
            measured = run()
            if turn >= warm_up:
                found[name] += measured
    return found


def timed(work: Callable[[], object]) -> Callable[[], list[float]]:
    """A side for `alternate` out of a function: how many seconds it took."""

    def run() -> list[float]:
        began = time.perf_counter()
        work()
        return [time.perf_counter() - began]

    return run


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 7, warm_up: int = 2
) -> tuple[float, float]:
    """Median seconds of two functions, called in turn in this process."""
    found = alternate({"ours": timed(ours), "theirs": timed(theirs)}, rounds=rounds, warm_up=warm_up)
    return statistics.median(found["ours"]), statistics.median(found["theirs"])


def matmul_peak(precision: str = "bf16") -> float:
    """Floating-point operations a second of the fastest of a few products, each the median of several.

    A square of 2048 is the usual one; the others are there because no single shape is best on every machine.
    """
    import torch

    from danlu.base.device import multiply, torch_dtype

    dtype, best = torch_dtype(precision), 0.0
    for rows, inner, columns in ((2048, 2048, 2048), (1024, 1024, 1024), (4096, 512, 1408), (4096, 512, 8192)):
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        out = torch.empty(rows, columns, dtype=dtype)
        for way in (lambda a=a, b=b, out=out: torch.mm(a, b, out=out), lambda a=a, b=b: multiply(a, b.t())):
            seconds = [timed(way)()[0] for _ in range(12)]
            best = max(best, 2 * rows * inner * columns / statistics.median(seconds[2:]))
    return best


def peer_python(name: str) -> Path:
    """The interpreter of a peer's own environment, made from ``bench/requirements-NAME.txt`` when that is new.

    It stands at the root of the repository and not in ``bench/``, whose every file the laws of the house read.
    """
    requirements, home = BENCH / f"requirements-{name}.txt", ROOT / f".venv-{name}"
    python, stamp = home / "bin" / "python", home / ".made"
    constraints = ROOT / "constraints.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + constraints.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"making {home.name} for {name}", flush=True)
        venv.create(home, clear=True, with_pip=True, symlinks=os.name != "nt")
        kept = home / "constraints.txt"
        kept.write_text("\n".join(unnamed(constraints, requirements)) + "\n", encoding="utf-8")
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "-c", str(kept), "-r", str(requirements)], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def unnamed(constraints: Path, requirements: Path) -> list[str]:
    """The constraints without those of packages that a peer's requirements name: what it asks for itself, it gets."""
    lines = [file.read_text(encoding="utf-8").splitlines() for file in (constraints, requirements)]
    own = {line.partition("==")[0].lower() for line in lines[1] if not line.startswith("#")}
    return [line for line in lines[0] if line.partition("==")[0].lower() not in own]


def answer(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Any:
    """Run a process and read the JSON of its last line; its own words are shown if it fails."""
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\n{Path(str(command[1])).name} failed ({done.returncode})")
    return json.loads(done.stdout.splitlines()[-1])


def versions() -> dict[str, str]:
    """Versions of what our side depends on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in OURS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(name: str, records: Sequence[Record], *, peers: Mapping[str, str] | None = None, quick: bool = False) -> None:
    """Write ``bench/results/NAME.json`` and BENCHMARKS.md, and say what came out. A quick run only says it."""
    import report

    from danlu.base.device import describe
    from danlu.base.files import write_text

    words = [word for word in sys.argv[1:] if word != "--quick"]
    if "--out" in words:  # where a run is kept says nothing about it, and names somebody's machine
        at = words.index("--out")
        del words[at : at + 2]
    arguments = f' ARGS="{" ".join(words)}"' if words else ""
    common = {
        "machine": describe(),
        "versions": {**versions(), **(peers or {})},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": f"make bench NAME={Path(sys.argv[0]).stem}{arguments}",
    }
    plain = [{"name": name, **dataclasses.asdict(r), "ratio": round(r.ratio, 4), **common} for r in records]
    for row in plain:
        print(f"{report.times(row):>10}  {report.verdict(row):<8} {row['what']}: {report.versus(row)}", flush=True)
    if quick:
        print("quick: nothing was written")
        return
    RESULTS.mkdir(exist_ok=True)
    found = plain[0] if len(plain) == 1 else plain
    write_text(RESULTS / f"{name}.json", json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    report.write()


if __name__ == "__main__":
    sys.exit("This is what the comparisons share; name one of them.")
