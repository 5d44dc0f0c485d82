"""`danlu ladder --check` on real text: how far the predicted loss of the next size is from the one that it reaches.

    make bench NAME=ladder       (10 to 15 minutes on two cores; ARGS="--out DIR" keeps what it made)

Four models of 0.4M to 3.4M parameters read the documentation of Python and of PyTorch, a token for each weight that
multiplies; the law through their held-out losses says what 5M parameters will reach, and then they are trained. The
tokenizer has 2,048 pieces, so that of small models most is layers, and all have three layers and grow in width: with
depth growing as well, four sizes would not fit into a quarter of an hour.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import ROOT, Record, options, write

sys.path.insert(0, str(ROOT / "tests"))
from killing import write_material

AIM = 0.02
TEXT = ("package:python", "package:torch")
SIZES, AHEAD, IDS, LENGTH, RATIO = ("400K", "1.1M", "2.1M", "3.4M"), "5M", 2048, 512, 1.0
SMALL = ("shape.width=16", "shape.head_width=16", "optimizer.lr=0.01", "batch_tokens=256")


def danlu(*words: object) -> None:
    """One command; what it says is shown."""
    command = [sys.executable, "-m", "danlu", *map(str, words)]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit(f"{' '.join(command)} failed")


def prepare(folder: Path, quick: bool) -> Path:
    """Token shards."""
    text: tuple[object, ...] = TEXT
    if quick:
        write_material(folder)
        text = (folder / "text",)
    danlu("clean", *text, "--out", folder / "clean", "--validation-share", 0.05)
    danlu("tokenizer", "train", folder / "clean", "--out", folder / "words", "--vocab-size", 300 if quick else IDS)
    danlu("tokenize", "--data", folder / "clean", "--tokenizer", folder / "words", "--out", folder / "tokens")
    return folder / "tokens"


def climb(tokens: Path, out: Path, quick: bool) -> dict[str, Any]:
    """The ladder, its check included; what law/ladder.json says."""
    row: list[object] = ["--sizes", *SIZES, "--predict", AHEAD, "--length", LENGTH, "--tokens-per-parameter", RATIO]
    row += ["--set", "shape.layers=3"]
    if quick:
        row = ["--sizes", "15K", "20K", "25K", "--predict", "30K", "--length", 32, "--tokens-per-parameter", 1]
        row += ["--precision", "fp32", "--set", *SMALL]
    danlu("ladder", "--data", tokens, "--out", out, "--check", *row)
    found: dict[str, Any] = json.loads((out / "law" / "ladder.json").read_text(encoding="utf-8"))
    return found


def record(found: dict[str, Any], seconds: float) -> Record:
    """The error against the aim."""
    said, check = found["prediction"], found["check"]
    details = {
        "predicted": said["loss"],
        "interval": said["interval"],
        "reached": check["loss"],
        "inside the interval": check["inside"],
        "bits per byte": [said["bits_per_byte"], check["bits_per_byte"]],
        "law": found["law"]["formula"],
        "losses": {run["name"]: run["loss"] for run in found["runs"]},
        "compute over the largest model's of the ladder": said["flops"] / found["runs"][-1]["flops"],
        "minutes": seconds / 60,
    }
    what = f"the loss of {said['name']} predicted from {len(found['runs'])} smaller models, relative error"
    return Record(what, f"the aim: at most {AIM:.0%}", abs(check["error"]), AIM, "of the loss", "less", details=details)


def main() -> None:
    """Data, ladder, record."""
    given = options(__doc__, ("--out", {"type": Path, "default": None, "help": "where; kept and gone on with"}))
    with TemporaryDirectory(prefix="danlu-ladder-") as temporary:
        folder = (given.out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        tokens, began = prepare(folder, given.quick), time.perf_counter()
        found = climb(tokens, folder / "ladder", given.quick)
    write("ladder", [record(found, time.perf_counter() - began)], quick=given.quick)


if __name__ == "__main__":
    main()
