"""A hundred times `kill -9`, and the weights are those of a run that nobody touched, bit for bit.

    make bench-kill            (the same as make bench NAME=kill; ARGS="--kills 20 --seed 1" for others)

Pretraining, SFT, DPO and a whole chain of a tiny model with a checkpoint every second step, through the real
command line. Each is run once undisturbed; then it is killed at random moments, saves included, started again by
the same command, and the SHA-256 of its model.safetensors compared. How and when it kills: ``tests/killing.py``.
"""

import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import ROOT, Record, options, write

sys.path.insert(0, str(ROOT / "tests"))
from killing import Survival, stages, survive, undisturbed

KILLS, AT_A_TIME = 100, 5
STAGES = ("pretrain", "continued", "sft", "lora", "dpo", "chain")


def main() -> None:
    """Kill, compare, write; the exit code is 1 if any run ended in other weights."""
    given = options(
        __doc__,
        ("--kills", {"type": int, "default": KILLS, "help": "how often to kill, over all stages"}),
        ("--seed", {"type": int, "default": 0, "help": "of the moments"}),
        ("--stages", {"nargs": "+", "default": STAGES, "choices": STAGES, "help": "only these"}),
    )
    wanted, rng, began = 8 if given.quick else given.kills, random.Random(given.seed), time.monotonic()
    share = 2 if given.quick else AT_A_TIME
    with TemporaryDirectory(prefix="danlu-kill-") as folder:
        place = Path(folder)
        commands = {name: words for name, words in stages(place).items() if name in given.stages}
        commands = {name: [*words, "--out", str(place / f"{name}-run")] for name, words in commands.items()}
        alone = {name: undisturbed(words, place / f"{name}-run") for name, words in commands.items()}
        print("  undisturbed: " + ", ".join(f"{name} {busy:.1f} s" for name, (_, busy) in alone.items()), flush=True)
        found: dict[str, list[Survival]] = {name: [] for name in commands}
        done = 0
        while done < wanted:
            for name, words in commands.items():
                kills = min(share, wanted - done)
                if kills:
                    found[name].append(survive(words, place / f"{name}-run", kills, rng, alone[name][1]))
                    done += kills
                    print(
                        f"  {done:4} kills, {time.monotonic() - began:5.0f} s: {name} {_said(found[name][-1])}",
                        flush=True,
                    )
    records = [_record(name, runs, alone[name][0]) for name, runs in found.items() if runs]
    write("kill", records, quick=given.quick)
    sys.exit(any(record.ours < record.theirs for record in records))


def _said(seen: Survival) -> str:
    return f"killed {seen.kills}, {seen.in_save} in a save, {seen.taken_up} taken up, {len(seen.digests)} completed"


def _record(name: str, runs: list[Survival], wanted: str) -> Record:
    digests = [digest for run in runs for digest in run.digests]
    details = {
        "kills": sum(run.kills for run in runs),
        "of them during a save": sum(run.in_save for run in runs),
        "starts that took up a checkpoint": sum(run.taken_up for run in runs),
        "sha256 undisturbed": wanted[:16],
    }
    identical = sum(digest == wanted for digest in digests)
    what = f"{name} after {details['kills']} kills: runs that end in the same weights"
    peer = "all that were completed"
    return Record(what, peer, identical, len(digests), "runs", "more", 1.0, len(digests), details)


if __name__ == "__main__":
    main()
