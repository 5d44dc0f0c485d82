"""Tokens a second of pretraining at 30 million parameters: Danlu's loop against Hugging Face Trainer, both bf16.

    make bench NAME=pretrain_speed

Both sides read the same weights and the same batches from files, with the same optimizer (fused AdamW, clipping
at 1), threads and bf16, and are started anew in turn, round after round. The time of a step runs from the end of
the one before, batches included. Each side is also given as a share of this machine's bf16 matrix product, measured
between the rounds: what a training step could at most reach. The tokens follow a rule that can be learned
(`batches`), so that the losses, which have to fall alike, show that both sides do the whole work.
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import BENCH, Record, alternate, answer, matmul_peak, options, peer_python, write

SHAPE = {
    "vocab_size": 8192,
    "layers": 8,
    "width": 512,
    "heads": 8,
    "kv_heads": 8,
    "head_width": 64,
    "feedforward": 1408,
    "max_length": 512,
}
TINY = {**SHAPE, "vocab_size": 512, "layers": 2, "width": 64, "heads": 2, "kv_heads": 2, "head_width": 32}
QUICK = {**TINY, "feedforward": 128, "max_length": 64}
ROWS, LR, AIM = 8, 1e-3, 1.3
# What `keep_memory` tells the allocator, as the environment says it, for Trainer with Danlu's knowledge.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "67108864"}
# Nats between the sides' losses at any step: the same mathematics, rounded in different places. Where Trainer's own two
# forms of attention end further apart than that, so may we.
FURTHEST = 0.05


def batches(steps: int, vocabulary: int, length: int) -> np.ndarray:
    """[S, B, T] ids: half of them follow from the one before by a fixed table, the rest are drawn by Zipf's law."""
    draw = np.random.default_rng(0)
    following = draw.permutation(vocabulary)
    chance = 1.0 / np.arange(1, vocabulary + 1)
    ids = draw.choice(vocabulary, size=(steps, ROWS, length), p=chance / chance.sum())
    ruled = draw.random(ids.shape) < 0.5
    for t in range(1, length):
        ids[..., t] = np.where(ruled[..., t], following[ids[..., t - 1]], ids[..., t])
    return ids.astype(np.uint16 if vocabulary <= 1 << 16 else np.int64)


def sides(work: Path, log: dict[str, Any], warm_up: int) -> dict[str, Callable[[], list[float]]]:
    """Name → a segment of that side in a new process, which gives the seconds of its steps after the warm-up."""
    peer, ours = peer_python("trainer"), Path(sys.executable)
    loop, trainer = BENCH / "sides" / "danlu_loop.py", BENCH / "sides" / "trainer.py"
    commands = {
        "Danlu": ([ours, loop, work, "adamw"], {}),
        "Trainer": ([peer, trainer, work, "sdpa"], {}),
        "Trainer, eager": ([peer, trainer, work, "eager"], {}),
        "Trainer, our allocator settings": ([peer, trainer, work, "sdpa"], ALLOCATOR),
        "Danlu, Muon": ([ours, loop, work, "muon"], {}),
    }

    def segment(name: str) -> list[float]:
        command, environment = commands[name]
        log[name] = answer(command, environment)
        seconds = [float(value) for value in log[name]["seconds"][warm_up:]]
        print(f"  {name:<34} {statistics.median(seconds):8.4f} s a step", flush=True)
        return seconds

    return {name: lambda name=name: segment(name) for name in commands}  # type: ignore[misc]


def check(log: dict[str, Any]) -> None:
    """Both sides trained the same thing: as many weights, losses that fell, and as far."""
    for name, found in log.items():
        print(f"  {name:<34} loss {found['losses'][0]:.3f} → {found['losses'][-1]:.3f}")
    ours, theirs = log["Danlu"], log["Trainer"]
    if ours["parameters"] != theirs["parameters"]:
        raise SystemExit(f"the sides differ: {ours['parameters']} parameters against {theirs['parameters']}")
    apart, own = furthest(ours, theirs), furthest(log["Trainer, eager"], theirs)
    if apart > max(own, FURTHEST) or not all(found["losses"][-1] < found["losses"][0] for found in log.values()):
        what = f"the losses do not fall alike ({apart:.3f} apart, Trainer's own {own:.3f})"
        raise SystemExit(f"{what}, so the times cannot be compared")


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference between two runs' losses at the same step."""
    return max(abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True))


def records(
    seconds: dict[str, list[float]], log: dict[str, Any], peak: float, shape: dict[str, int], runs: int
) -> list[Record]:
    """Tokens a second, every side of Trainer against ours and Muon beside it."""
    from danlu.model.config import ModelConfig

    tokens, cost = ROWS * shape["max_length"], ModelConfig(**shape).flops_per_token(shape["max_length"])
    rate = {name: tokens / statistics.median(values) for name, values in seconds.items()}

    def record(ours: str, theirs: str, peer: str, target: float | None) -> Record:
        details = {
            "share of the bf16 peak": [rate[ours] * cost / peak, rate[theirs] * cost / peak],
            "bf16 peak in TFLOP/s": peak / 1e12,
            "seconds a step": [statistics.median(seconds[side]) for side in (ours, theirs)],
            "fastest and slowest step": [f(seconds[ours]) for f in (min, max)]
            + [f(seconds[theirs]) for f in (min, max)],
            "last loss": [log[side]["losses"][-1] for side in (ours, theirs)],
        }
        size = f"{log['Danlu']['parameters'] / 1e6:.1f}M parameters, {ROWS} x {shape['max_length']} tokens a step"
        optimizer = "Muon" if "Muon" in ours else "AdamW"
        what = f"pretraining, {size}, bf16, {optimizer}"
        return Record(what, peer, rate[ours], rate[theirs], "tokens/s", "more", target, runs, details)

    return [
        record("Danlu", "Trainer", "Trainer, SDPA (its default)", AIM),
        record("Danlu", "Trainer, eager", "Trainer, eager attention", AIM),
        record("Danlu", "Trainer, our allocator settings", "Trainer, SDPA, with Danlu's allocator settings", None),
        record("Danlu, Muon", "Trainer", "Trainer, SDPA, AdamW", None),
    ]


def main() -> None:
    """Measure, check, write."""
    import torch

    from danlu.model.config import ModelConfig
    from danlu.model.hub import save_model
    from danlu.model.transformer import Transformer

    given = options(
        __doc__,
        ("--rounds", {"type": int, "default": 3, "help": "how often each side is started"}),
        ("--steps", {"type": int, "default": 8, "help": "timed steps of each start"}),
        ("--warm-up", {"type": int, "default": 2, "help": "steps before those"}),
    )
    shape = QUICK if given.quick else SHAPE
    rounds, steps, warm_up = (1, 2, 1) if given.quick else (given.rounds, given.steps, given.warm_up)
    log: dict[str, Any] = {}
    peaks: list[float] = []
    with TemporaryDirectory() as folder:
        file, work = Path(folder) / "batches.npy", Path(folder) / "work.json"
        np.save(file, batches(warm_up + steps, shape["vocab_size"], shape["max_length"]))
        save_model(Transformer(ModelConfig(**shape)), Path(folder), {})
        plain = {"batches": str(file), "weights": folder, "lr": LR, "threads": torch.get_num_threads()}
        work.write_text(json.dumps(plain), encoding="utf-8")

        def peak() -> list[float]:
            peaks.append(matmul_peak())
            print(f"  {'bf16 matrix product':<34} {peaks[-1] / 1e12:8.4f} TFLOP/s", flush=True)
            return []

        seconds = alternate({"peak": peak, **sides(work, log, warm_up)}, rounds=rounds)
    check(log)
    seconds.pop("peak")
    found = records(seconds, log, statistics.median(peaks), shape, rounds * steps)
    peers = {name: log["Trainer"]["versions"][name] for name in ("transformers", "accelerate")}
    write("pretrain_speed", found, peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
