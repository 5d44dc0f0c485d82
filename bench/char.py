"""tinyshakespeare at character level: Danlu against a GPT of nanoGPT's shape, for the same time on the same cores.

    make bench NAME=char ARGS="--text tinyshakespeare.txt"       (ARGS="--ablate" tries the switches instead)

nanoGPT's README publishes a validation loss of 1.88 after 2,000 iterations in about 3 minutes on a MacBook's CPU: 4
layers, 4 heads, width 128, context 64, batch 12, no dropout. That model, written anew in plain torch
(`sides/char_gpt.py`), is trained first; Danlu gets 95 % of the seconds that took, so that a bad guess of how many steps
fit cannot give it more. Both are measured on the whole last tenth in windows of 64 characters, in nats a character;
measuring does not count. The text is not in the repository: name the file, plain or gzipped (1,115,394 characters).
"""

import gzip
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from budget import HOME, changed, last, part, table, work, write_stream
from common import Record, options, write

PUBLISHED, CHARACTERS, CONTEXT = 1.88, 1_115_394, 64
SHARE = 0.95  # of the peer's seconds: the steps that fit are told by a trial
PEER = {"vocab_size": 0, "layers": 4, "heads": 4, "width": 128}
BASE: dict[str, Any] = {
    "model": {"layers": 4, "width": 128, "heads": 2, "kv_heads": 2, "head_width": 64, "feedforward": 384},
    "optimizer": {"name": "muon", "lr": 8e-3, "embedding_scale": 8.0},
    "schedule": {"warmup": 0.02, "decay": 0.6},
    "rows": 16,
    "length": CONTEXT + 1,  # as many targets a row as the peer's: the first token is none
    "precision": "fp32",
}
ABLATION: dict[str, dict[str, Any]] = {
    "as it is": {},
    "AdamW, 2e-3": {"optimizer": {"name": "adamw", "lr": 2e-3, "embedding_scale": 1.0}},
    "AdamW, 4e-3": {"optimizer": {"name": "adamw", "lr": 4e-3, "embedding_scale": 1.0}},
    "learning rate 4e-3": {"optimizer": {"lr": 4e-3}},
    "learning rate 1.6e-2": {"optimizer": {"lr": 1.6e-2}},
    "embedding as the rest": {"optimizer": {"embedding_scale": 1.0}},
    "no weight decay": {"optimizer": {"weight_decay": 0.0}},
    "tied": {"model": {"tied": True}},
    "8 rows": {"rows": 8},
    "32 rows": {"rows": 32},
    "length 129": {"length": 129},
    "3 layers": {"model": {"layers": 3}},
    "6 layers": {"model": {"layers": 6}},
    "width 192, 3 heads": {"model": {"width": 192, "heads": 3, "kv_heads": 3, "feedforward": 512}},
    "4 heads of 32": {"model": {"heads": 4, "kv_heads": 4, "head_width": 32}},
    "QK-norm": {"model": {"qk_norm": True}},
    "value embeddings": {"model": {"value_embeddings": True}},
    "residual scalars": {"model": {"residual_scalars": True}},
    "half the batch for half of the steps": {"ramp": 0.5},
    "relu2": {"model": {"activation": "relu2", "feedforward": 512}},
    "decay over all": {"schedule": {"decay": 0.98}},
    "cosine": {"schedule": {"name": "cosine", "decay": 0.0}},
    "bf16": {"precision": "bf16"},
}


def read(given: Namespace) -> str:
    """The text; a quick run without one makes its own."""
    if not given.text:
        if not given.quick:
            raise SystemExit("Name tinyshakespeare: ARGS='--text FILE', plain or gzipped")
        return "To be, or not to be: that is the question. " * 500
    raw = Path(given.text).read_bytes()
    text = (gzip.decompress(raw) if given.text.endswith(".gz") else raw).decode("utf-8")
    if len(text) != CHARACTERS:
        print(f"  {len(text):,} characters, not tinyshakespeare's {CHARACTERS:,}: 1.88 is no comparison", flush=True)
    return text


def ours(files: dict[str, str], vocabulary: int, change: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Danlu's work with the changes of one row of the ablation."""
    told = changed(BASE, change)
    told["model"] = {"vocab_size": vocabulary, "max_length": told["length"], "tied": False, **told["model"]}
    return work(files, **told, **more)


def ablate(home: Path, files: dict[str, str], vocabulary: int, targets: int, given: Namespace) -> None:
    """Every switch for the same time; a table for LOG.md."""
    rows = [["change", "nats a character", "steps", "seconds"]]
    names = list(ABLATION)[:3] if given.quick else given.only or list(ABLATION)
    for name in names:
        told = ours(files, vocabulary, ABLATION[name], seconds=given.seconds, evaluations=1)
        found = part(home, "danlu_budget.py", Path(sys.executable), told)
        rows.append([name, f"{last(found) / targets:.4f}", f"{found['steps']:,}", f"{found['seconds']:.0f}"])
        print("  " + "  ".join(rows[-1]), flush=True)
    print(table(rows))


def main() -> None:
    """Train both, in turn, over the seeds; write."""
    given = options(
        __doc__,
        ("--text", {"default": "", "help": "tinyshakespeare, plain or gzipped"}),
        ("--seeds", {"type": int, "default": 3, "help": "runs of each side"}),
        ("--ablate", {"action": "store_true", "help": "try the switches instead, and print a table"}),
        ("--only", {"nargs": "+", "choices": list(ABLATION), "help": "with --ablate: only these"}),
        ("--seconds", {"type": float, "default": 30.0, "help": "with --ablate: of each run"}),
    )
    text, home = read(given), HOME / "char"
    if given.quick:
        given.seeds, given.seconds, home = 1, 1.0, HOME / "char-quick"
    letters = {letter: i for i, letter in enumerate(sorted(set(text)))}
    ids = [letters[letter] for letter in text]
    cut = int(0.9 * len(ids))
    files = write_stream(home, ids[:cut], ids[cut:], CONTEXT)
    targets = (len(ids) - cut - 1) // CONTEXT * CONTEXT
    if given.ablate:
        ablate(home, files, len(letters), targets, given)
        return
    us, them, python = list[dict[str, Any]](), list[dict[str, Any]](), Path(sys.executable)
    for seed in range(given.seeds):
        shape, steps = {**PEER, "vocab_size": len(letters)}, 40 if given.quick else 2000
        theirs = work(files, shape, rows=12, length=CONTEXT, steps=steps, seed=seed)
        them.append(part(home, "char_gpt.py", python, theirs))
        told = ours(files, len(letters), {}, seconds=them[-1]["seconds"] * SHARE, seed=seed)
        us.append(part(home, "danlu_budget.py", python, told))
        pair = [last(side[-1]) / targets for side in (us, them)]
        print(f"  seed {seed}: {pair[0]:.4f} in {us[-1]['seconds']:.0f} s, {pair[1]:.4f} in "
              f"{them[-1]['seconds']:.0f} s", flush=True)  # fmt: skip
        if us[-1]["seconds"] > them[-1]["seconds"] and not given.quick:
            raise SystemExit("Danlu took longer than its peer: a busy machine. Run it again; what is done is kept")
    write("char", records(us, them, targets), quick=given.quick)


def records(us: list[dict[str, Any]], them: list[dict[str, Any]], targets: int) -> list[Record]:
    """Against the peer's model, and against the number that nanoGPT published."""
    nats = [[last(found) / targets for found in side] for side in (us, them)]
    details = {
        "seconds": [found["seconds"] for side in (us, them) for found in side],
        "each seed's": nats[0] + nats[1],
        "parameters": [side[0]["parameters"] for side in (us, them)],
        "characters read": [side[0]["tokens"] for side in (us, them)],
    }
    middle = [statistics.median(values) for values in nats]
    what, runs = "tinyshakespeare, characters, validation loss at equal wall-clock", len(us)
    return [
        Record(what, "nanoGPT's shape in plain torch", middle[0], middle[1], "nats a character", "less", 1.0, runs,
               details),
        Record("tinyshakespeare, characters, validation loss", "published by nanoGPT, MacBook CPU", middle[0],
               PUBLISHED, "nats a character", "less", 1.0, runs),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
