"""The page of a ladder: one file without scripts that loads nothing, its picture drawn in the page's own colours.

Every number is from ladder.json. Compute is on a logarithmic axis and the loss on a plain one, where a law that has
reached its floor can be seen to be flat.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from danlu.base.files import write_text
from danlu.base.progress import count
from danlu.evaluate.page import FOLDER, Table
from danlu.plan.ladder import rows

PAGE = "ladder.html"
WIDTH, HEIGHT = 720.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 84.0, 26.0, 42.0
MARGIN = 0.06  # of the range, left free on each side
MOST_TICKS = 6


class Place(NamedTuple):
    """A point of the picture, with what is written beside it."""

    x: float
    y: float
    label: str = ""
    title: str = ""
    style: str = "dot"


class Axes:
    """From numbers to places in the picture."""

    def __init__(self, flops: list[float], losses: list[float]) -> None:
        self.x = _widened(math.log10(min(flops)), math.log10(max(flops)))
        self.y = _widened(min(losses), max(losses))

    def at(self, flops: float, loss: float, label: str = "", title: str = "", style: str = "dot") -> Place:
        """Where a run stands."""
        across = (math.log10(flops) - self.x[0]) / (self.x[1] - self.x[0])
        up = (loss - self.y[0]) / (self.y[1] - self.y[0])
        x, y = LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)
        return Place(round(x, 1), round(y, 1), label, title, style)

    def flops_ticks(self) -> Iterator[Place]:
        """At powers of ten, or where there are few of them at 1, 2 and 5 as well."""
        decades = range(math.floor(self.x[0]), math.ceil(self.x[1]) + 1)
        few = self.x[1] - self.x[0] < 2.5
        for power in decades:
            for digit in (1, 2, 5) if few else (1,):
                if self.x[0] <= power + math.log10(digit) <= self.x[1]:
                    yield self.at(digit * 10.0**power, self.y[0], f"{digit}e{power}")

    def loss_ticks(self) -> Iterator[Place]:
        """At round numbers."""
        rough = (self.y[1] - self.y[0]) / MOST_TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
        digits = max(-math.floor(math.log10(step)), 0)
        for number in range(math.ceil(self.y[0] / step), math.floor(self.y[1] / step) + 1):
            yield self.at(10 ** self.x[0], number * step, f"{number * step:.{digits}f}")


def _widened(low: float, high: float) -> tuple[float, float]:
    more = MARGIN * (high - low) or 0.5
    return low - more, high + more


def write(folder: Path, found: dict[str, Any]) -> Path:
    """Write ``folder/ladder.html`` from what `danlu.plan.ladder.conclude` gave."""
    loader = jinja2.FileSystemLoader([Path(__file__).parent, FOLDER], encoding="utf-8")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    head, *body = rows(found)
    page = environment.get_template(PAGE).render(
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        found=found,
        headlines=list(_headlines(found)),
        runs=Table("", head, body, frozenset(range(1, len(head)))),
        **_picture(found),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _headlines(found: dict[str, Any]) -> Iterator[dict[str, str]]:
    said, check = found["prediction"], found["check"]
    low, high = said["interval"]
    interval = f"{100 * said['level']:.0f} % interval {low:.3f} to {high:.3f}"
    size = f"{said['size']}: {count(said['parameters'])} parameters, {count(said['tokens'])} tokens"
    yield {"value": f"{said['loss']:.3f}", "label": "nats a token predicted", "note": f"{size}; {interval}"}
    bits = said["bits_per_byte"], *said["bits_per_byte_interval"]
    yield {"value": f"{bits[0]:.3f}", "label": "bits per byte predicted", "note": f"{bits[1]:.3f} to {bits[2]:.3f}"}
    if check:
        where = "inside" if check["inside"] else "outside"
        note = f"{check['loss']:.3f} reached, {where} the interval"
        yield {"value": f"{100 * check['error']:+.2f} %", "label": "the prediction's error", "note": note}


def _picture(found: dict[str, Any]) -> dict[str, Any]:
    """What the template draws."""
    said, check, curve, runs = found["prediction"], found["check"], found["curve"], found["runs"]
    reached = [check["loss"]] if check else []
    losses = [value for row in curve for value in row[1:]] + [run["loss"] for run in runs] + reached
    axes = Axes([row[0] for row in curve] + [run["flops"] for run in runs], [*losses, *said["interval"]])
    low, high = (axes.at(said["flops"], bound) for bound in said["interval"])
    named: dict[str, int] = {}  # a size is named once, at the first of its runs that the law goes through
    for number, run in enumerate(runs):
        if "error" in run:
            named.setdefault(run["size"], number)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "floor": HEIGHT - BOTTOM,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "line": " ".join(f"{p.x},{p.y}" for p in (axes.at(row[0], row[1]) for row in curve)),
        "band": " ".join(
            f"{p.x},{p.y}" for p in [axes.at(r[0], r[3]) for r in curve] + [axes.at(r[0], r[2]) for r in curve[::-1]]
        ),
        "across": list(axes.flops_ticks()),
        "up": list(axes.loss_ticks()),
        "dots": [
            axes.at(
                run["flops"],
                run["loss"],
                run["size"] if named.get(run["size"]) == number else "",
                f"{run['name']}: {run['loss']:.4f}",
                "dot" if "error" in run else "dot other",
            )
            for number, run in enumerate(runs)
        ],
        "bar": (low, high),
        "target": axes.at(said["flops"], said["loss"], f"{said['size']} predicted"),
        "held": axes.at(said["flops"], check["loss"], f"{said['size']} reached") if check else None,
    }
