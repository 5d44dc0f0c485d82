"""Our side of tokenizer_training: one training in a process of its own."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from danlu.tokens.training.train import train_bpe_reporting


def texts(path: str) -> Iterator[str]:
    """One a line."""
    with Path(path).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def peak() -> float:
    """The most memory that this process held, in MB; getrusage would count what its parent held when it was made."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1.024e-3


def main() -> None:
    """Train, save, say what it took."""
    work = json.loads(sys.argv[1])
    began = time.perf_counter()
    trained = train_bpe_reporting(texts(work["texts"]), work["pieces"], memory=work["memory"])
    seconds = time.perf_counter() - began
    trained.tokenizer.save(Path(work["out"]))
    print(json.dumps({"seconds": seconds, "megabytes": peak(), "facts": trained.facts}))


if __name__ == "__main__":
    main()
