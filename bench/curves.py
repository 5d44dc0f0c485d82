"""Loss curves of the default recipe of `danlu pretrain` from three seeds, and how far apart they end.

    make bench NAME=curves        (ARGS="--size 3M --tokens 2M --seeds 3")

The recipe is `Pretrain` as it comes, except for size and tokens, on the documents of `budget.corpus`; a seed decides
weights and data order. The runs stay under runs/bench/curves, so a stop loses nothing: the same command takes the run
up. Draws docs/images/pretrain-seeds.png (and .svg): training loss on top, held-out bits per byte below.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from budget import HOME, corpus
from common import ROOT, Record, options, write

PICTURE = ROOT / "docs" / "images" / "pretrain-seeds"
# Okabe and Ito's palette: told apart with any of the common colour-vision deficiencies; dashes say it once more.
STYLES = (("#0072b2", "-"), ("#d55e00", (0, (5, 2))), ("#009e73", (0, (1, 1))), ("#cc79a7", (0, (5, 1, 1, 1))))
Points = list[tuple[float, float]]


def train(tokens: Path, out: Path, size: str, budget: str, seed: int) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    from danlu.recipes import pretrain

    if not (out / "manifest.json").is_file():
        pretrain.run(pretrain.Pretrain(data=tokens, out=out, size=size, tokens=budget, seed=seed, evaluations=10))
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def total(rows: list[dict[str, Any]]) -> Points:
    """(step, bits per byte) of each measurement: of several sources the mean, as they weigh alike on the way."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row.get("kind") == "eval" and row.get("bits_per_byte") is not None:
            found.setdefault(float(row["step"]), []).append(float(row["bits_per_byte"]))
    return [(step, statistics.fmean(values)) for step, values in sorted(found.items())]


def draw(curves: dict[int, tuple[Points, Points]], at: Path) -> None:
    """Seed → (training loss, held-out bits per byte), as PNG and SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    from danlu.evaluate.plots import GRID, smooth, thin

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "danlu", "font.size": 10}):
        figure = Figure(figsize=(6.4, 5.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for (seed, (loss, bits)), (colour, dash) in zip(curves.items(), STYLES, strict=False):
            label = f"seed {seed}"
            above.plot(*zip(*thin(smooth(loss)), strict=True), color=colour, linestyle=dash, linewidth=1.4, label=label)
            below.plot(*zip(*bits, strict=True), color=colour, linestyle=dash, marker="o", markersize=3, label=label)
        above.set_title("training loss, nats a token (running mean)", loc="left", fontsize=10)
        below.set_title("held-out bits per byte", loc="left", fontsize=10)
        below.set_xlabel("step")
        for axes in (above, below):
            axes.grid(axis="y", color=GRID, linewidth=0.8)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
        above.legend(frameon=False, fontsize=9)
        at.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(at.with_suffix(".png"), dpi=160, facecolor="white")
        figure.savefig(at.with_suffix(".svg"), transparent=True, metadata={"Date": None})


def main() -> None:
    """Train, draw, write."""
    from danlu.evaluate.plots import points

    given = options(
        __doc__,
        ("--size", {"default": "3M", "help": "parameters, about"}),
        ("--tokens", {"default": "2M", "help": "to train on"}),
        ("--seeds", {"type": int, "default": 3, "help": "runs, at most four"}),
        ("--vocabulary", {"type": int, "default": 4096, "help": "of the tokenizer"}),
        ("--megabytes", {"type": float, "default": 12.0, "help": "of text"}),
    )
    home, picture = HOME / "curves", PICTURE
    if given.quick:
        home = HOME / "curves-quick"
        given.size, given.tokens, given.vocabulary, given.megabytes, picture = "300K", "100K", 600, 0.5, home / "seeds"
    tokens, curves = corpus(home, given.megabytes, given.vocabulary), dict[int, tuple[Points, Points]]()
    for seed in range(min(given.seeds, len(STYLES))):
        out = home / f"{given.size}-{given.tokens}-{given.vocabulary}-seed-{seed}"
        rows = train(tokens, out, given.size, given.tokens, seed)
        curves[seed] = (points(rows, "train", "loss"), total(rows))
        print(
            f"  seed {seed}: loss {curves[seed][0][-1][1]:.3f}, {curves[seed][1][-1][1]:.4f} bits per byte", flush=True
        )
    draw(curves, picture)
    print(f"  drew {picture.name}.png and {picture.name}.svg")
    write("curves", [record(curves, given.size, given.tokens)], quick=given.quick)


def record(curves: dict[int, tuple[Points, Points]], size: str, tokens: str) -> Record:
    """The worst seed against the best: how much a seed decides."""
    ends = [bits[-1][1] for _, bits in curves.values()]
    details = {
        "held-out bits per byte of each seed": ends,
        "standard deviation": statistics.stdev(ends) if len(ends) > 1 else 0.0,
        "loss of the last tenth of each seed": [
            statistics.fmean(value for _, value in loss[-max(len(loss) // 10, 1) :]) for loss, _ in curves.values()
        ],
    }
    what = f"default recipe, {size} parameters, {tokens} tokens: bits per byte of the worst of {len(ends)} seeds"
    return Record(what, "the best of them", max(ends), min(ends), "bits per byte", "less", None, len(ends), details)


if __name__ == "__main__":
    main()
