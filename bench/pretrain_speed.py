"""Tokens a second of pretraining at 30 million parameters: Danlu's loop against Hugging Face Trainer and litgpt.

    make bench NAME=pretrain_speed       (ARGS="--parts trainer litgpt" measures only those)

All sides read the same weights and the same batches from files, with the same optimizer (AdamW, clipping at 1),
threads and bf16, and are started anew in turn, round after round. The time of a step runs from the end of the one
before, batches included; the first steps, in which compiling happens, are not counted. Each side is also given as a
share of this machine's bf16 matrix product, measured between the rounds: what a training step could at most reach.
The part `avx2` runs both sides in float32 with the processor's instructions capped to AVX2, as on a plain desktop.
The tokens follow a rule that can be learned (`batches`), so that the losses, which have to fall alike, show that all
sides do the whole work.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
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
ROWS, LR = 8, 3e-4  # at 1e-3 without a warm-up the eighth step of litgpt is 0.15 nats from the others'
AIM, AIM_LITGPT, AIM_AVX2, AIM_SHARE = 1.5, 1.3, 1.15, 0.7
# What `keep_memory` tells the allocator, as the environment says it, for Trainer with Danlu's knowledge.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "67108864"}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# What each part runs; Danlu and Trainer are in all that compute in bf16, since they are what the rest is held against.
PARTS = {
    "trainer": ("Danlu", "Trainer"),
    "compiled": ("Danlu", "Danlu, compiled", "Trainer"),
    "eager": ("Danlu", "Trainer", "Trainer, eager"),
    "allocator": ("Danlu", "Trainer", "Trainer, our allocator settings"),
    "muon": ("Danlu", "Trainer", "Danlu, Muon"),
    "litgpt": ("Danlu", "Danlu, compiled", "Trainer", "litgpt", "litgpt, not compiled"),
    "avx2": ("Danlu, AVX2", "Trainer, AVX2"),
}
PEAK = "import sys; sys.path.insert(0, 'bench'); from common import matmul_peak; print(matmul_peak('fp32'))"
# Nats between the sides' losses at any step: the same mathematics, rounded in different places. Where Trainer's own two
# forms of attention end further apart than that, so may we.
FURTHEST = 0.05


def batches(steps: int, vocabulary: int, length: int) -> np.ndarray:
    """[S, B, T + 1] ids, the last of a row for litgpt alone, which wants one more.

    Half of them follow from the one before by a fixed table, the rest are drawn by Zipf's law.
    """
    draw = np.random.default_rng(0)
    following = draw.permutation(vocabulary)
    chance = 1.0 / np.arange(1, vocabulary + 1)
    ids = draw.choice(vocabulary, size=(steps, ROWS, length + 1), p=chance / chance.sum())
    ruled = draw.random(ids.shape) < 0.5
    for t in range(1, length + 1):
        ids[..., t] = np.where(ruled[..., t], following[ids[..., t - 1]], ids[..., t])
    return ids.astype(np.uint16 if vocabulary <= 1 << 16 else np.int64)


def sides(
    work: Path, plain: Path, log: dict[str, Any], warm_up: int, parts: Sequence[str]
) -> dict[str, Callable[[], list[float]]]:
    """Name → a segment of that side in a new process, which gives the seconds of its steps after the warm-up.

    ``work`` is the bf16 work, ``plain`` the same in float32.
    """
    peer, ours = peer_python("trainer"), Path(sys.executable)
    litgpt = peer_python("litgpt") if "litgpt" in parts else ours
    loop, trainer, fit = (BENCH / "sides" / name for name in ("danlu_loop.py", "trainer.py", "litgpt_fit.py"))
    commands = {
        "Danlu": ([ours, loop, work, "adamw"], {}),
        "Danlu, compiled": ([ours, loop, work, "adamw", "compiled"], {}),
        "Trainer": ([peer, trainer, work, "sdpa"], {}),
        "Trainer, eager": ([peer, trainer, work, "eager"], {}),
        "Trainer, our allocator settings": ([peer, trainer, work, "sdpa"], ALLOCATOR),
        "Danlu, Muon": ([ours, loop, work, "muon"], {}),
        "litgpt": ([litgpt, fit, work, "compiled"], {}),
        "litgpt, not compiled": ([litgpt, fit, work, "plain"], {}),
        "Danlu, AVX2": ([ours, loop, plain, "adamw"], AVX2),
        "Trainer, AVX2": ([peer, trainer, plain, "sdpa"], AVX2),
    }

    def segment(name: str) -> list[float]:
        command, environment = commands[name]
        log[name] = answer(command, environment)
        seconds = [float(value) for value in log[name]["seconds"][warm_up:]]
        print(f"  {name:<34} {statistics.median(seconds):8.4f} s a step", flush=True)
        return seconds

    wanted = [name for name in commands if any(name in PARTS[part] for part in parts)]
    return {name: lambda name=name: segment(name) for name in wanted}  # type: ignore[misc]


def check(log: dict[str, Any]) -> set[str]:
    """All sides trained the same thing: as many weights, losses that fell, and as far; those that did not."""
    strayed = set()
    for name, found in log.items():
        print(f"  {name:<34} loss {found['losses'][0]:.3f} → {found['losses'][-1]:.3f}")
    for name, found in log.items():
        capped, other = "AVX2" in name, "Muon" in name
        ours = log["Danlu, AVX2" if capped else "Danlu"]
        if ours["parameters"] != found["parameters"]:
            raise SystemExit(f"{name} differs: {found['parameters']} parameters against {ours['parameters']}")
        if found["losses"][-1] >= found["losses"][0]:
            raise SystemExit(f"the loss of {name} does not fall")
        apart = 0.0 if other else furthest(ours, found)
        own = furthest(log["Trainer, eager"], log["Trainer"]) if "Trainer, eager" in log else 0.0
        if apart > max(own, FURTHEST):
            what = f"the losses of {name} do not fall as ours ({apart:.3f} apart, Trainer's own {own:.3f})"
            print(f"  {what}, so its time is left out")
            strayed.add(name)
    return strayed


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference between two runs' losses at the same step."""
    return max(abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True))


def records(
    seconds: dict[str, list[float]], log: dict[str, Any], peaks: dict[str, float], shape: dict[str, int], runs: int
) -> list[Record]:
    """Tokens a second of every pair that ran, and our share of the peak."""
    from danlu.model.config import ModelConfig

    tokens, cost = ROWS * shape["max_length"], ModelConfig(**shape).flops_per_token(shape["max_length"])
    rate = {name: tokens / statistics.median(values) for name, values in seconds.items()}
    parameters = next(iter(log.values()))["parameters"] / 1e6
    size = f"{parameters:.1f}M parameters, {ROWS} x {shape['max_length']} tokens a step"

    def record(ours: str, theirs: str, peer: str, target: float | None) -> Record:
        precision = "fp32" if "AVX2" in ours else "bf16"
        details = {
            f"share of the {precision} peak": [rate[side] * cost / peaks[precision] for side in (ours, theirs)],
            f"{precision} peak in TFLOP/s": peaks[precision] / 1e12,
            "seconds a step": [statistics.median(seconds[side]) for side in (ours, theirs)],
            "fastest and slowest step": [f(seconds[side]) for side in (ours, theirs) for f in (min, max)],
            "last loss": [log[side]["losses"][-1] for side in (ours, theirs)],
        }
        optimizer, capped = "Muon" if "Muon" in ours else "AdamW", ", AVX2 only" if "AVX2" in ours else ""
        compiled = ", compiled" if "compiled" in ours else ""
        what = f"pretraining, {size}, {precision}{capped}, {optimizer}{compiled}"
        return Record(what, peer, rate[ours], rate[theirs], "tokens/s", "more", target, runs, details)

    wanted = [
        ("Danlu", "Trainer", "Trainer, SDPA (its default)", AIM),
        ("Danlu", "Trainer, eager", "Trainer, eager attention", AIM),
        ("Danlu", "Trainer, our allocator settings", "Trainer, SDPA, with Danlu's allocator settings", None),
        ("Danlu, Muon", "Trainer", "Trainer, SDPA, AdamW", None),
        ("Danlu, compiled", "Trainer", "Trainer, SDPA (its default)", AIM),
        ("Danlu, compiled", "litgpt", "litgpt, compiled (its default)", AIM_LITGPT),
        ("Danlu", "litgpt", "litgpt, compiled (its default)", None),
        ("Danlu", "litgpt, not compiled", "litgpt without torch.compile", AIM_LITGPT),
        ("Danlu, AVX2", "Trainer, AVX2", "Trainer, SDPA", AIM_AVX2),
    ]
    found = [record(*row) for row in wanted if row[0] in rate and row[1] in rate]
    bf16 = [name for name in rate if "AVX2" not in name]
    for side in (name for name in ("Danlu", "Danlu, compiled") if name in rate):
        details = {f"{name}'s": rate[name] * cost / peaks["bf16"] for name in bf16 if name != side}
        what = f"pretraining, {size}, share of the measured bf16 peak{side.removeprefix('Danlu')}"
        share, aim = rate[side] * cost / peaks["bf16"], f"the aim: {AIM_SHARE:.0%}"
        found.append(Record(what, aim, share, AIM_SHARE, "of the peak", "more", 1.0, runs, details))
    return found


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
        ("--parts", {"nargs": "+", "default": list(PARTS), "choices": list(PARTS), "help": "only these"}),
    )
    shape = QUICK if given.quick else SHAPE
    rounds, steps, warm_up = (1, 2, 1) if given.quick else (given.rounds, given.steps, given.warm_up)
    log: dict[str, Any] = {}
    peaks: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder:
        place = Path(folder)
        longer = batches(warm_up + steps, shape["vocab_size"], shape["max_length"])
        np.save(place / "longer.npy", longer)
        np.save(place / "batches.npy", longer[..., :-1])
        save_model(Transformer(ModelConfig(**shape)), place, {})
        work: dict[str, Any] = {"batches": str(place / "batches.npy"), "longer": str(place / "longer.npy")}
        work |= {"weights": folder, "lr": LR, "threads": torch.get_num_threads()}
        for precision in ("bf16", "fp32"):
            (place / f"{precision}.json").write_text(json.dumps({**work, "precision": precision}), encoding="utf-8")

        def peak(name: str, measure: Callable[[], float]) -> list[float]:
            peaks.setdefault(name, []).append(measure())
            print(f"  {name + ' matrix product':<34} {peaks[name][-1] / 1e12:8.4f} TFLOP/s", flush=True)
            return []

        turns: dict[str, Callable[[], list[float]]] = {}
        if given.parts != ["avx2"]:
            turns["bf16"] = lambda: peak("bf16", matmul_peak)
        if "avx2" in given.parts:
            turns["fp32"] = lambda: peak("fp32", lambda: float(answer([sys.executable, "-c", PEAK], AVX2)))
        turns |= sides(place / "bf16.json", place / "fp32.json", log, warm_up, given.parts)
        seconds = alternate(turns, rounds=rounds)
    left_out = check(log) | set(peaks)
    seconds = {name: values for name, values in seconds.items() if name not in left_out}
    middle = {name: statistics.median(values) for name, values in peaks.items()}
    found = records(seconds, log, middle, shape, rounds * steps)
    peers = {name: version for side in log.values() for name, version in side.get("versions", {}).items()}
    peers.pop("torch", None)
    write("pretrain_speed", found, peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
