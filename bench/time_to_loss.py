"""Wall-clock time to a loss: what Trainer reaches with its default AdamW recipe in 20 minutes, and when Danlu is there.

    make bench NAME=time_to_loss        (ARGS="--minutes 4 --seeds 1" is shorter, ARGS="--ablate" tries the switches)

Both sides read the same stream of tokens, made of real documents by one tokenizer, and are measured on the same
held-out tokens in windows of the same length, in bits per byte; measuring does not count, nor does loading. The
learning rate of either side is the best of some, each tried for an eighth of the minutes: twice and half the best are
worse. Trainer trains for all of them; the time it needs is when it was first as good as ever. Danlu is run for a third
of it, and then for less until it falls short, since how fast the learning rate falls depends on how long a run is; its
time is that of the shortest run that got there.

More than two hours of work on two cores, in parts: what is done is kept under runs/bench/time_to_loss, and a stop
loses one part.
"""

import math
import statistics
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budget import HOME, NATS_TO_BITS, changed, corpus, last, part, reached, stream_of, table, work
from common import Record, options, peer_python, write

AIM, LENGTH = 3.0, 512
HELD_OUT = 60_000  # tokens measured, twenty times a run: as much work as 400,000 to train on
LRS = {"Trainer": (1e-3, 2e-3, 4e-3), "Danlu": (4e-3, 8e-3, 1.6e-2)}  # and on, while the best is the last of a side
SHARES = (1 / 3, 1 / 4, 1 / 6, 1 / 10)  # of Trainer's time, longest first
LONGER = (1 / 2, 3 / 4, 1.0)  # where a third is not enough
BASE: dict[str, Any] = {
    "model": {},
    "optimizer": {"name": "muon", "lr": 8e-3, "embedding_scale": 8.0},
    "schedule": {},
    "rows": 16,
    "length": LENGTH,
}
ABLATION: dict[str, dict[str, Any]] = {
    "as it is": {},
    "AdamW, 1e-3": {"optimizer": {"name": "adamw", "lr": 1e-3, "embedding_scale": 1.0}},
    "AdamW, 2e-3": {"optimizer": {"name": "adamw", "lr": 2e-3, "embedding_scale": 1.0}},
    "AdamW, 4e-3": {"optimizer": {"name": "adamw", "lr": 4e-3, "embedding_scale": 1.0}},
    "learning rate 4e-3": {"optimizer": {"lr": 4e-3}},
    "learning rate 1.6e-2": {"optimizer": {"lr": 1.6e-2}},
    "embedding as the rest": {"optimizer": {"embedding_scale": 1.0}},
    "embedding 4 times": {"optimizer": {"embedding_scale": 4.0}},
    "embedding 16 times": {"optimizer": {"embedding_scale": 16.0}},
    "no weight decay": {"optimizer": {"weight_decay": 0.0}},
    "tied": {"model": {"tied": True}},
    "tied, embedding as the rest": {"model": {"tied": True}, "optimizer": {"embedding_scale": 1.0}},
    "batch of 4,096": {"rows": 8},
    "batch of 2,048": {"rows": 4},
    "batch of 16,384": {"rows": 32},
    "length 256": {"length": 256, "rows": 32},
    "length 128": {"length": 128, "rows": 64},
    "documents see each other": {"bos": None},
    "cosine": {"schedule": {"name": "cosine", "decay": 0.0}},
    "decay 0.2": {"schedule": {"decay": 0.2}},
    "decay 0.7": {"schedule": {"decay": 0.7}},
    "warm-up 0.01": {"schedule": {"warmup": 0.01}},
    "QK-norm": {"model": {"qk_norm": True}},
    "value embeddings": {"model": {"value_embeddings": True}},
    "residual scalars": {"model": {"residual_scalars": True}},
    "logits capped at 15": {"model": {"logit_cap": 15.0}},
    "norms without weights": {"model": {"norm_weight": False}},
    "half the batch for a quarter of the steps": {"ramp": 0.25},
    "half the batch for half of the steps": {"ramp": 0.5},
    "relu2": {"model": {"activation": "relu2"}, "feedforward": 3 / 2},
    "one layer less": {"layers": -1},
    "two layers less, wider": {"layers": -2, "wider": 64},
    "two layers more": {"layers": 2},
}


@dataclass(frozen=True)
class Task:
    """What both sides are trained and measured on."""

    home: Path
    files: dict[str, str]
    shape: dict[str, Any]
    bytes: int
    bos: int
    precision: str

    def bits(self, nats: float) -> float:
        """Held-out bits per byte."""
        return nats * NATS_TO_BITS / self.bytes

    def danlu(self, change: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A run of ours; ``layers``, ``wider`` and ``feedforward`` change the derived shape."""
        change, shape = dict(change), dict(self.shape)
        shape["layers"] += change.pop("layers", 0)
        wider = change.pop("wider", 0)
        shape["width"] += wider
        shape["heads"] = shape["kv_heads"] = shape["width"] // shape["head_width"]
        shape["feedforward"] = round(shape["feedforward"] * change.pop("feedforward", 1))
        if wider:
            shape["feedforward"] = -(-8 * shape["width"] // 3 // 64) * 64
        told = changed({**BASE, "model": shape, "bos": self.bos, "precision": self.precision}, change)
        return part(self.home, "danlu_budget.py", Path(sys.executable), work(self.files, **told, **more))

    def trainer(self, lr: float, **more: Any) -> dict[str, Any]:
        """A run of theirs: batch 8, the default of TrainingArguments."""
        told = {"model": self.shape, "rows": 8, "length": LENGTH, "precision": self.precision, "lr": lr}
        return part(self.home, "trainer_budget.py", peer_python("trainer"), work(self.files, **told, **more))


def prepare(given: Namespace) -> Task:
    """Data, shape and number format."""
    import dataclasses

    from danlu.base.device import pick_device, pick_precision
    from danlu.recipes.sizes import sized

    home = HOME / ("time_to_loss-quick" if given.quick else "time_to_loss")
    vocabulary, megabytes = (600, 0.5) if given.quick else (given.vocabulary, given.megabytes)
    tokens = corpus(home, megabytes, vocabulary)
    place = home / f"stream-{megabytes:g}-{vocabulary}"
    files, ids, _, size, bos = stream_of(tokens, place, LENGTH, 5_000 if given.quick else HELD_OUT)
    config = sized("300K" if given.quick else given.size, vocabulary, LENGTH)
    shape = dataclasses.asdict(config)
    wanted = ("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward", "max_length", "tied")
    print(f"  {ids:,} tokens to train on, {size:,} bytes held out, {config.parameters():,} parameters", flush=True)
    precision = "bf16" if given.quick else pick_precision("auto", pick_device("cpu"))
    return Task(home, files, {name: shape[name] for name in wanted}, size, bos, precision)


def tuned(task: Task, name: str, seconds: float, quick: bool) -> float:
    """The best learning rate of a side, each tried for ``seconds``; one on either side of it is worse."""
    found, left = dict[float, float](), list(LRS[name][: 2 if quick else None])
    while left:
        lr, more = left.pop(0), {"seconds": seconds, "evaluations": 1}
        run = task.trainer(lr, **more) if name == "Trainer" else task.danlu({"optimizer": {"lr": lr}}, **more)
        found[lr] = task.bits(last(run))
        print(f"  {name} at {lr:g}: {found[lr]:.4f} bits per byte in {run['seconds']:.0f} s", flush=True)
        best = min(found, key=lambda lr: found[lr])
        if not left and not quick:
            left = [lr for lr in (best / 2, best * 2) if not min(found) <= lr <= max(found)]
    return best


def shortest(task: Task, lr: float, seconds: float, nats: float, seed: int) -> tuple[float, dict[str, Any]]:
    """Seconds that Danlu needs to ``nats``, and the run; infinite where even Trainer's own time is not enough."""
    best: tuple[float, dict[str, Any]] = (math.inf, {})
    for share in (*SHARES, *LONGER):
        if share in LONGER and best[1] and best[0] < math.inf:
            break
        if share in SHARES and share != SHARES[0] and best[0] == math.inf:
            continue
        run = task.danlu({"optimizer": {"lr": lr}}, seconds=seconds * share, seed=seed)
        needed = reached(run, nats)
        print(f"  seed {seed}, {share:.2f} of the time: {task.bits(last(run)):.4f} bits per byte after "
              f"{run['seconds']:.0f} s; there after {needed:.0f} s", flush=True)  # fmt: skip
        if needed > best[0] or (needed == math.inf and best[0] < math.inf):
            break
        best = (needed, run)
    return best


def ablate(task: Task, given: Namespace) -> None:
    """Every switch for the same time; a table for LOG.md."""
    rows = [["change", "bits per byte", "steps", "tokens", "parameters", "seconds"]]
    for name in list(ABLATION)[:2] if given.quick else given.only or list(ABLATION):
        run = task.danlu(ABLATION[name], seconds=given.seconds, evaluations=1)
        rows.append([name, f"{task.bits(last(run)):.4f}", f"{run['steps']:,}", f"{run['tokens']:,}",
                     f"{run['parameters'] / 1e6:.1f}M", f"{run['seconds']:.0f}"])  # fmt: skip
        print("  " + "  ".join(rows[-1]), flush=True)
    print(table(rows))


def main() -> None:
    """Tune, train, write."""
    given = options(
        __doc__,
        ("--minutes", {"type": float, "default": 20.0, "help": "that Trainer trains"}),
        ("--seeds", {"type": int, "default": 3, "help": "runs of each side"}),
        ("--size", {"default": "10M", "help": "parameters, about"}),
        ("--vocabulary", {"type": int, "default": 4096, "help": "of the tokenizer"}),
        ("--megabytes", {"type": float, "default": 24.0, "help": "of text"}),
        ("--ablate", {"action": "store_true", "help": "try the switches instead, and print a table"}),
        ("--only", {"nargs": "+", "choices": list(ABLATION), "help": "with --ablate: only these"}),
        ("--seconds", {"type": float, "default": 60.0, "help": "with --ablate: of each run"}),
    )
    if given.quick:
        given.minutes, given.seeds, given.seconds = 0.1, 1, 1.0
    task = prepare(given)
    if given.ablate:
        ablate(task, given)
        return
    seconds = given.minutes * 60
    lrs = {name: tuned(task, name, seconds / 8, given.quick) for name in LRS}
    us, them, runs = list[float](), list[float](), list[dict[str, Any]]()
    for seed in range(given.seeds):
        theirs = task.trainer(lrs["Trainer"], seconds=seconds, seed=seed)
        target = min(nats for _, _, nats in theirs["measured"])
        them.append(reached(theirs, target))
        print(f"  seed {seed}, Trainer: {task.bits(target):.4f} bits per byte after {them[-1]:.0f} s", flush=True)
        needed, run = shortest(task, lrs["Danlu"], seconds, target, seed)
        us.append(needed if needed < math.inf else max(them[-1], run["seconds"]))
        runs += [theirs, run, {"reached": needed < math.inf, "bits": task.bits(target)}]
    write("time_to_loss", [record(given, us, them, runs, lrs)], peers=versions_of(runs), quick=given.quick)


def versions_of(runs: list[dict[str, Any]]) -> dict[str, str]:
    """The peer's libraries."""
    found = {name: version for run in runs for name, version in run.get("versions", {}).items()}
    return {name: version for name, version in found.items() if name != "torch"}


def record(
    given: Namespace, us: list[float], them: list[float], runs: list[dict[str, Any]], lrs: dict[str, float]
) -> Record:
    """One row: the middle of the seeds."""
    theirs, ours, ends = runs[0::3], runs[1::3], runs[2::3]
    details = {
        "bits per byte to reach": [end["bits"] for end in ends],
        "seeds that reached it": sum(end["reached"] for end in ends),
        "each seed's seconds": us + them,
        "ratio of each seed": [b / a for a, b in zip(us, them, strict=True)],
        "parameters": [side[0]["parameters"] for side in (ours, theirs)],
        "tokens read": [side[0]["tokens"] for side in (ours, theirs)],
        "learning rates": [lrs["Danlu"], lrs["Trainer"]],
    }
    what = f"seconds to the held-out bits per byte of Trainer after {given.minutes:g} minutes, {given.size} parameters"
    peer = "Trainer, its default AdamW recipe, tuned learning rate"
    middle = [statistics.median(values) for values in (us, them)]
    return Record(what, peer, middle[0], middle[1], "s", "less", AIM, len(us), details)


if __name__ == "__main__":
    main()
