"""The curves of a training run, drawn from its ``metrics.jsonl``.

Each plot is made twice: a PNG for slides and messages, and an SVG without colours of its own, which takes them
from the page around it and so follows its light or dark theme. At most two series a plot, in blue and orange
from Okabe and Ito's palette, which people with any of the common colour-vision deficiencies can tell apart; the
second is dashed as well. No titles: the page has captions, and a file's name says what it shows.
"""

import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.errors import MissingExtra
from danlu.base.files import atomic

FIRST, SECOND, INK, GRID = "#0072b2", "#d55e00", "#1c1b1a", "#dcdad6"
# Points drawn of one curve: more than a 700 pixel wide plot can show, and 30 kB of SVG.
MOST_POINTS = 800
# A running mean over this share of the points is steady enough to read a trend from.
SMOOTHING = 0.02
Rows = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]


class Series(NamedTuple):
    """One curve: what the legend calls it, its points, and how it is drawn."""

    label: str
    points: Points
    style: str = "line"  # line, smooth (pale points under a running mean), marks, level (a horizontal line)


class Plot(NamedTuple):
    """One picture: a name for its file, a caption for its reader, its axes and its curves."""

    name: str
    caption: str
    unit: str
    series: tuple[Series, ...]
    across: str = "step"  # what the horizontal axis shows; a learning rate's is logarithmic


def points(rows: Rows, kind: str, key: str) -> Points:
    """(step, value) of every finite ``key`` in rows of that kind; of a step that was run twice, the later one."""
    found = {}
    for row in rows:
        step, value = row.get("step"), row.get(key)
        if row.get("kind") == kind and _number(step) and _number(value):
            found[float(step)] = float(value)  # type: ignore[arg-type]
    return sorted(found.items())


def against(rows: Rows, kind: str, across: str, key: str) -> Points:
    """(``across``, ``key``) of every row of that kind in which both are numbers, in the rows' order."""
    pairs = [(row.get(across), row.get(key)) for row in rows if row.get("kind") == kind]
    return [(float(x), float(y)) for x, y in pairs if _number(x) and _number(y)]  # type: ignore[arg-type]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def training_plots(rows: Rows, xz: float | None = None) -> list[Plot]:
    """The plots that a stage's metrics have data for. ``xz``: its bits per byte, for a level line."""
    accuracy = points(rows, "train", "accuracy")
    level = Series("xz -9e, all held-out text", [(0.0, xz)], "level") if xz is not None else None
    chance = Series("chance", [(0.0, 0.5)], "level")
    plots = [
        Plot(
            "loss",
            "Loss",
            "nats",
            (
                Series("training", points(rows, "train", "loss"), "smooth"),
                Series("held out", points(rows, "eval", "loss"), "marks"),
            ),
        ),
        Plot(
            "bits-per-byte",
            "Bits per byte on held-out documents; lower is better",
            "bits per byte",
            (Series("model", points(rows, "eval", "bits_per_byte"), "marks"), *([level] if level else [])),
        ),
        Plot(
            "general-text",
            "Bits per byte on general text: what rises is forgotten",
            "bits per byte",
            (Series("model", points(rows, "eval", "general_bits_per_byte"), "marks"),),
        ),
        Plot(
            "learning-rates",
            "Range test: the loss of each step at its learning rate",
            "nats",
            (
                Series("each step", against(rows, "range", "lr", "loss")),
                Series("smoothed", against(rows, "range", "lr", "smoothed")),
            ),
            "learning rate",
        ),
        Plot(
            "accuracy",
            "Preference accuracy on the pairs trained on",
            "accuracy",
            (Series("accuracy", accuracy, "smooth"), chance),
        ),
        Plot("margin", "Margin", "margin (nats)", (Series("margin", points(rows, "train", "margin"), "smooth"),)),
        Plot(
            "logprob",
            "Log-probability of the better and the worse answer",
            "log-probability (nats)",
            (
                Series("better answer", points(rows, "train", "chosen_logprob")),
                Series("worse answer", points(rows, "train", "rejected_logprob")),
            ),
        ),
        Plot("learning-rate", "Learning rate", "learning rate", (Series("", points(rows, "train", "lr")),)),
        Plot(
            "speed", "Speed", "tokens per second", (Series("", points(rows, "train", "tokens_per_second"), "smooth"),)
        ),
    ]
    # One point is a number, not a curve.
    return [plot for plot in plots if any(len(series.points) > 1 for series in plot.series)]


def draw(plots: Iterable[Plot], folder: Path, prefix: str) -> list[tuple[Plot, str]]:
    """Write ``folder/prefix-name.png`` for each plot, and return each with its SVG."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "report", "the report") from None
    settings = {
        "svg.fonttype": "none",  # text stays text: it takes the page's font and can be searched
        "svg.hashsalt": "danlu",  # the same data give the same bytes
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    drawn = []
    for plot in plots:
        with matplotlib.rc_context(settings):
            figure = _figure(plot)
            with atomic(folder / f"{prefix}-{plot.name}.png", "wb") as handle:
                figure.savefig(handle, format="png", dpi=160, facecolor="white")
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        drawn.append((plot, _themed(buffer.getvalue(), plot.caption)))
    return drawn


def _figure(plot: Plot) -> Any:
    """A matplotlib figure, made without pyplot so that no global state is touched."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    figure = Figure(figsize=(5.2, 2.8))
    # Fixed margins and plain numbers: matplotlib's own layout and powers of ten took two thirds of the time.
    axes = figure.add_axes((0.11, 0.16, 0.87, 0.73))
    for series, colour in zip(plot.series, (FIRST, SECOND), strict=False):
        _curve(axes, series, colour)
    axes.set_xlabel(plot.across)
    axes.set_title(plot.unit, loc="left", fontsize=10)  # what the vertical axis shows, where it can be read
    if plot.across == "step":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(left=0)
    else:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if plot.name in ("learning-rate", "speed"):
        axes.set_ylim(bottom=0)
    if sum(bool(series.points) for series in plot.series) > 1:
        axes.legend(frameon=False, loc="best", fontsize=9)
    return figure


def _curve(axes: Any, series: Series, colour: str) -> None:
    if not series.points:
        return
    label, dash = series.label, "-" if colour == FIRST else (0, (5, 2))
    if series.style == "level":
        axes.axhline(series.points[0][1], color=colour, linewidth=1.4, linestyle=(0, (5, 2)), label=label)
        return
    raw = list(zip(*thin(series.points), strict=True))
    if series.style == "marks":
        axes.plot(*raw, color=colour, linestyle=dash, linewidth=1.6, marker="o", markersize=4, label=label)
    elif series.style == "smooth" and len(series.points) >= 20:
        axes.plot(*raw, color=colour, linewidth=0.8, alpha=0.3)
        axes.plot(*zip(*thin(smooth(series.points)), strict=True), color=colour, linewidth=1.8, label=label)
    else:
        axes.plot(*raw, color=colour, linestyle=dash, linewidth=1.6, label=label)


def thin(values: Points) -> Points:
    """At most `MOST_POINTS` of them, evenly spread, the first and the last among them."""
    if len(values) <= MOST_POINTS:
        return values
    stride = (len(values) - 1) / (MOST_POINTS - 1)
    return [values[round(i * stride)] for i in range(MOST_POINTS)]


def smooth(values: Points) -> Points:
    """The mean over a window around each point.

    At the start it shrinks on both sides, so that a steep fall is not flattened; at the end only on the far side, so
    that the last value a person reads off is not one noisy batch.
    """
    reach = max(1, round(len(values) * SMOOTHING))
    sums = [0.0, *itertools.accumulate(value for _, value in values)]
    means = []
    for i, (step, _) in enumerate(values):
        half = min(reach, i)
        end = min(i + half + 1, len(values))
        means.append((step, (sums[end] - sums[i - half]) / (end - i + half)))
    return means


def _themed(svg: str, caption: str) -> str:
    """The ``<svg>`` element alone, its colours replaced by those of the page, its size left to the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", body, count=1)
    body = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", body, count=1)
    body = body.replace("<svg ", f'<svg role="img" aria-label="{caption}" ', 1)
    colours = {FIRST: "var(--first)", SECOND: "var(--second)", INK: "var(--ink)", GRID: "var(--line)"}
    return re.sub(r"#[0-9a-fA-F]{6}\b", lambda match: colours.get(match[0].lower(), match[0]), body)
