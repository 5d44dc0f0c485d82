"""What a row of trained models says together: the law, the prediction, and how good it was. Numbers in, numbers out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.base.errors import UserError
from danlu.base.progress import count
from danlu.plan.fit import Array, Law, Prediction, predict

GRID = 48  # points of the drawn curve


@dataclass(frozen=True)
class Run:
    """One model, trained or (without a loss) only planned."""

    name: str
    size: str
    ratio: float
    """Tokens for each weight that multiplies."""
    seed: int
    parameters: int
    weights: int
    """Those that multiply every token."""
    tokens: int
    flops: float
    """Of the training."""
    loss: float = math.nan
    """Nats a token on held-out documents."""
    bits_per_byte: float = math.nan


def conclude(runs: Sequence[Run], ahead: Run, reached: Run | None = None, *, seed: int = 0) -> dict[str, Any]:
    """The law of loss against compute over the runs of ``ahead``'s ratio, and what it says of ``ahead``.

    Where tokens vary apart from sizes, the law of parameters and tokens over all runs as well. ``reached`` is ``ahead``
    as it was trained. JSON-able; the keys are those of ladder.json.
    """
    for run in (*runs, *([reached] if reached else [])):
        if not (math.isfinite(run.loss) and run.loss > 0):
            remedy = "Look at its metrics.jsonl; a lower --set optimizer.lr=... may help"
            raise UserError(f"the run {run.name} reached no loss that could be fitted ({run.loss})", remedy=remedy)
    alike = [run for run in runs if run.ratio == ahead.ratio]
    curve = np.geomspace(min(run.flops for run in alike), ahead.flops, GRID)[:, None]
    law, said = predict(_compute(alike), _losses(alike), np.vstack([_compute([ahead]), curve]), seed=seed)
    per_loss = runs[-1].bits_per_byte / runs[-1].loss
    found: dict[str, Any] = {
        "law": _told(law, ["C"]),
        "prediction": {**_plain(said[0], per_loss), **_about(ahead)},
        "runs": [{**asdict(run), **({"error": law(run.flops) / run.loss - 1} if run in alike else {})} for run in runs],
        "curve": [[float(x), p.value, p.low, p.high] for x, p in zip(curve[:, 0], said[1:], strict=True)],
        "joint": None,
        "check": None,
    }
    both: Prediction | None = None
    if len({run.ratio for run in runs}) > 1:
        joint, [both] = predict(_sizes(runs), _losses(runs), _sizes([ahead]), seed=seed)
        found["joint"] = {**_told(joint, ["N", "D"]), **_plain(both, per_loss)}
    if reached is not None:
        found["check"] = {
            "loss": reached.loss,
            "bits_per_byte": reached.bits_per_byte,
            "error": said[0].value / reached.loss - 1,
            "inside": said[0].low <= reached.loss <= said[0].high,
        }
        if both is not None:
            found["check"]["joint_error"] = both.value / reached.loss - 1
    return found


def _told(law: Law, names: Sequence[str]) -> dict[str, Any]:
    terms = {"floor": law.floor, "scales": list(law.scales), "powers": list(law.powers)}
    return {**terms, "formula": law.formula(names)}


def _plain(said: Prediction, per_loss: float) -> dict[str, Any]:
    interval = [said.low, said.high]
    bits = {"bits_per_byte": said.value * per_loss, "bits_per_byte_interval": [x * per_loss for x in interval]}
    return {"loss": said.value, "interval": interval, "level": said.level, **bits}


def _about(run: Run) -> dict[str, Any]:
    return {key: value for key, value in asdict(run).items() if key not in ("loss", "bits_per_byte")}


def _compute(runs: Sequence[Run]) -> Array:
    return np.array([[run.flops] for run in runs], float)


def _sizes(runs: Sequence[Run]) -> Array:
    return np.array([[run.weights, run.tokens] for run in runs], float)


def _losses(runs: Sequence[Run]) -> Array:
    return np.array([run.loss for run in runs], float)


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The runs as a table of strings, its head first."""
    table = [["run", "parameters", "tokens", "FLOPs", "loss", "bits per byte", "law"]]
    for run in found["runs"]:
        numbers = [count(run["parameters"]), count(run["tokens"]), f"{run['flops']:.3g}", f"{run['loss']:.4f}"]
        error = f"{100 * run['error']:+.2f} %" if "error" in run else ""
        table.append([run["name"], *numbers, f"{run['bits_per_byte']:.4f}", error])
    return table


def lines(found: dict[str, Any]) -> Iterator[str]:
    """What a person wants to know, for the terminal."""
    table = rows(found)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        first, *rest = (
            cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))
        )
        yield "  ".join((first, *rest)).rstrip()
    yield found["law"]["formula"]
    if found["joint"]:
        yield found["joint"]["formula"]
    said = found["prediction"]
    low, high = said["interval"]
    interval = f"{100 * said['level']:.0f} % interval {low:.4f} to {high:.4f}"
    bits = f"{said['bits_per_byte']:.4f} bits per byte"
    yield f"{said['name']}: loss {said['loss']:.4f} predicted ({interval}), {bits}"
    if found["joint"]:
        yield f"{said['name']}: loss {found['joint']['loss']:.4f} by the law of parameters and tokens"
    if found["check"]:
        check = found["check"]
        where = f"{'inside' if check['inside'] else 'outside'} the interval"
        yield f"{said['name']}: loss {check['loss']:.4f} reached, {where}; error {100 * check['error']:+.2f} %"
