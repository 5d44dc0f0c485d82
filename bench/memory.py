"""Peak memory of training at a vocabulary of 150k and 8k context: Danlu's loop against Hugging Face Trainer.

    make bench NAME=memory

A small trunk (4 layers of width 256) under a large vocabulary, one row of 8,192 tokens a step, bf16, AdamW: what is
measured is what logits, attention and the state of the optimizer take. Both sides read the same weights and the same
batches; each is a process of its own, and its peak is the kernel's count of what it had resident at once, libraries
included. `import torch` alone, measured beside them, is in all of them. Trainer is run as it comes and with gradient
checkpointing; so is Danlu. Trainer holds 1.2 billion logits in bf16 and float32, their softmax and their gradients:
have 20 GB free, or measure at a shorter context (ARGS="--context 2048").
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import BENCH, Record, answer, options, peer_python, write

SHAPE = {
    "vocab_size": 150_000,
    "layers": 4,
    "width": 256,
    "heads": 4,
    "kv_heads": 4,
    "head_width": 64,
    "feedforward": 704,
    "max_length": 8192,
}
QUICK = {**SHAPE, "vocab_size": 20_000, "layers": 2, "width": 64, "heads": 2, "kv_heads": 2, "head_width": 32,
         "feedforward": 128, "max_length": 512}  # fmt: skip
AIM = 2.0  # Trainer's peak over ours
STEPS, LR = 2, 1e-3  # the optimizer's state is there after the first step, so the second has all there is
BARE = "import resource, torch; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"


def sides(work: Path) -> dict[str, list[str | Path]]:
    """Name → command."""
    ours = [Path(sys.executable), BENCH / "sides" / "danlu_loop.py", work, "adamw"]
    theirs = [peer_python("trainer"), BENCH / "sides" / "trainer.py", work, "sdpa"]
    return {
        "Danlu": ours,
        "Danlu, checkpointing": [*ours, "checkpointing"],
        "Trainer": theirs,
        "Trainer, checkpointing": [*theirs, "checkpointing"],
    }


def records(found: dict[str, dict[str, Any]], bare: float, shape: dict[str, int]) -> list[Record]:
    """Each of Trainer's ways against the same way of ours, and its leaner one against our default."""
    tokens = f"vocabulary {shape['vocab_size'] // 1000}k, {shape['max_length']} tokens of context, bf16"

    def record(ours: str, theirs: str, peer: str, target: float | None) -> Record:
        details = {
            "import torch alone, GB": bare / 1e9,
            "parameters": found[ours]["parameters"],
            "seconds of the last step": [found[side]["seconds"][-1] for side in (ours, theirs)],
            "losses of the last step": [found[side]["losses"][-1] for side in (ours, theirs)],
        }
        peaks = [found[side]["peak"] / 1e9 for side in (ours, theirs)]
        way = ", gradient checkpointing" if "checkpointing" in ours else ""
        what = f"peak memory of training, {tokens}{way}"
        return Record(what, peer, peaks[0], peaks[1], "GB", "less", target, 1, details)

    return [
        record("Danlu", "Trainer", "Trainer, its default", AIM),
        record("Danlu, checkpointing", "Trainer, checkpointing", "Trainer, gradient checkpointing", AIM),
        record("Danlu", "Trainer, checkpointing", "Trainer, gradient checkpointing", None),
    ]


def check(found: dict[str, dict[str, Any]]) -> None:
    """All trained the same model to the same losses."""
    first = found["Danlu"]
    for name, side in found.items():
        apart = max(abs(a - b) for a, b in zip(side["losses"], first["losses"], strict=True))
        if side["parameters"] != first["parameters"] or apart > 0.05:
            raise SystemExit(f"{name} did not train what Danlu trained: losses {apart:.3f} apart")


def main() -> None:
    """Measure, check, write."""
    import torch

    from danlu.model.config import ModelConfig
    from danlu.model.hub import save_model
    from danlu.model.transformer import Transformer

    given = options(
        __doc__,
        ("--context", {"type": int, "default": SHAPE["max_length"], "help": "tokens of a row"}),
        ("--only", {"nargs": "+", "help": "sides to run; nothing is written"}),
    )
    shape, found = QUICK if given.quick else {**SHAPE, "max_length": given.context}, dict[str, dict[str, Any]]()
    bare = float(answer([sys.executable, "-c", BARE]))
    print(f"  {'import torch':<26} {bare / 1e9:6.2f} GB", flush=True)
    with TemporaryDirectory() as folder:
        file, work = Path(folder) / "batches.npy", Path(folder) / "work.json"
        ids = np.random.default_rng(0).integers(0, shape["vocab_size"], (STEPS, 1, shape["max_length"]))
        np.save(file, ids)
        save_model(Transformer(ModelConfig(**shape)), Path(folder), {})
        plain = {"batches": str(file), "weights": folder, "lr": LR, "precision": "bf16"}
        work.write_text(json.dumps({**plain, "threads": torch.get_num_threads()}), encoding="utf-8")
        for name, command in sides(work).items():
            if given.only and name not in given.only:
                continue
            found[name] = answer(command)
            seconds = found[name]["seconds"][-1]
            print(f"  {name:<26} {found[name]['peak'] / 1e9:6.2f} GB  {seconds:6.1f} s a step", flush=True)
    if given.only:
        return
    check(found)
    peers = {name: found["Trainer"]["versions"][name] for name in ("transformers", "accelerate")}
    write("memory", records(found, bare, shape), peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
