"""One page that tells a person what a run did: ``report.html``, self-contained, and plots as PNG files beside it.

It reads only what the stages left on disk (manifests, ``metrics.jsonl``, ``samples.jsonl``, ``funnel.json``,
``evaluation.json``), so it can be written at any time, of a run that was killed too; what is missing is left out.
All of it is treated as text that a stranger wrote: the template escapes everything, and the page loads nothing.
Left out: interactive charts, because a page that needs no scripts prints, mails and archives well.
"""

import json
import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.files import existing, write_text
from danlu.base.progress import count, duration
from danlu.evaluate import refinery_report, tokenizer_report
from danlu.evaluate.page import cell, is_interval, is_number, render, size, tables, words
from danlu.evaluate.plots import draw, points, training_plots

# Enough to see a model learn to write, few enough to read.
MOST_SAMPLES, MOST_CHARACTERS = 8, 800
TITLES = {
    "text": "Held-out text",
    "text: sources": "Bits per byte of each source",
    "preference": "Held-out preference pairs",
    "answers": "Answers",
}


@dataclass(frozen=True)
class Stage:
    """What one stage directory holds, finished or not."""

    path: Path
    kind: str
    finished: bool
    manifest: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.manifest.get("metrics") or {})

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl`` of that kind."""
        return [row for row in self.rows if row.get("kind") == kind]


class Headline(NamedTuple):
    """One number that a person looks for first."""

    value: str
    label: str
    note: str = ""


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` and ``run/plots/*.png`` of a stage directory or a chain of them.

    A cleaning stage alone has a page of its own, that of `danlu.evaluate.refinery_report`, which says more, and so has
    a comparison of tokenizers. Call it after the manifest is written, or the page becomes one of the stage's hashed
    outputs.
    """
    stages = gather(existing(run))
    if not stages:
        raise UserError("holds no stage that Danlu made", where=run, remedy="Give the directory of a stage or a chain")
    numbers = _read_json(run / tokenizer_report.NUMBERS)
    if stages[0].path == run and stages[0].kind == "tokenizer-report" and isinstance(numbers, dict):
        return tokenizer_report.write(run, numbers)
    funnel = _read_json(run / "funnel.json")
    if stages[0].path == run and stages[0].kind == "clean" and isinstance(funnel, dict):
        return refinery_report.write(run, funnel, _read_json(run / "composition.json") or {}, stages[0].metrics)
    evaluation = _evaluation(stages)
    page = render(
        "report.html",
        name=run.resolve().name,
        headlines=headlines(stages, evaluation),
        road=[_road_row(stage) for stage in stages],
        total=duration(sum(stage.manifest.get("seconds", 0.0) for stage in stages)),
        funnels=[funnel for stage in stages if (funnel := _funnel(stage))],
        training=[_training(stage, run, evaluation) for stage in stages if stage.rows or stage.samples],
        evaluation=[table._replace(title=TITLES.get(table.title, table.title)) for table in tables("", evaluation)],
        recipes=list(_recipes(run, stages)),
        lineage=_lineage(run, stages),
    )
    write_text(run / "report.html", page)
    return run / "report.html"


def gather(run: Path) -> list[Stage]:
    """The stages at ``run`` or in its folders, in the order in which they were finished; unfinished ones last."""
    own = _stage(run)
    if own is not None:
        return [own]
    folders = sorted(path for path in run.iterdir() if path.is_dir() and not path.name.startswith("."))
    stages = [stage for folder in folders if (stage := _stage(folder))]
    # Of two stages that finished in the same second, the one made from more came later.
    return sorted(
        stages,
        key=lambda s: (not s.finished, str(s.manifest.get("finished", "")), len(_ancestry(s.path)), s.path.name),
    )


def _stage(folder: Path) -> Stage | None:
    found = artifact.find(folder)
    if found is None and not (folder / artifact.STAGE).exists():
        return None
    begun = _read_json(folder / artifact.STAGE) or {}
    kind = found.stage if found else str(begun.get("stage", folder.name))
    rows, samples = (_read_lines(folder / name) for name in ("metrics.jsonl", "samples.jsonl"))
    return Stage(folder, kind, found is not None, found.manifest if found else {}, rows, samples)


def _read_json(path: Path) -> Any:
    """The file's value, or None if there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a line cut off by a kill is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _evaluation(stages: list[Stage]) -> dict[str, Any]:
    """What the evaluation stages found, the last one's word counting."""
    found: dict[str, Any] = {}
    for stage in stages:
        value = _read_json(stage.path / "evaluation.json")
        found |= value if isinstance(value, dict) else {}
    return found


def headlines(stages: list[Stage], evaluation: dict[str, Any]) -> list[Headline]:
    """The numbers for the top of the page, with words for someone who was not there."""
    found = [*_quality(stages, evaluation)]
    parameters = [s.metrics["parameters"] for s in stages if is_number(s.metrics.get("parameters"))]
    if parameters:
        found.append(Headline(count(parameters[-1]), "parameters in the model"))
    trained = [(s, s.of_kind("train")) for s in stages if s.of_kind("train")]
    if trained:
        stage, rows = max(trained, key=lambda item: item[1][-1].get("tokens", 0))
        speed = [value for _, value in points(rows, "train", "tokens_per_second")]
        rate = f"{count(statistics.median(speed))} a second, median" if speed else ""
        found.append(Headline(count(rows[-1].get("tokens", 0)), f"tokens seen in {stage.kind}", rate))
    memory = [v for s in stages for k, v in s.metrics.items() if k.startswith("peak_memory") and is_number(v)]
    if memory:
        found.append(Headline(size(max(memory)), "memory at most"))
    seconds = sum(stage.manifest.get("seconds", 0.0) for stage in stages)
    if seconds:
        found.append(Headline(duration(seconds), "from start to end", f"{len(stages)} stages" if stages[1:] else ""))
    return found


def _quality(stages: list[Stage], evaluation: dict[str, Any]) -> Iterator[Headline]:
    """How good the model is: what the evaluation measured, or what training saw last."""
    bits, xz = _bits(evaluation)
    seen = [row["bits_per_byte"] for s in stages for row in s.of_kind("eval") if is_number(row.get("bits_per_byte"))]
    bits = bits if bits is not None else (seen[-1] if seen else None)
    if bits is not None:
        versus = f"{abs(bits / xz - 1):.0%} {'fewer' if bits < xz else 'more'} than xz -9e, {xz:.2f}" if xz else ""
        yield Headline(f"{bits:.2f}", "bits per byte of unseen text", versus or "lower is better")
    yield from _changes(stages)
    pairs = evaluation.get("preference")
    pairs = pairs if isinstance(pairs, dict) else {}
    questions = f"{evaluation.get('questions', 'some')} questions"
    for value, label, interval, basis in (
        (evaluation.get("stop_rate"), "of answers stop by themselves", evaluation.get("stop_rate_interval"), questions),
        (evaluation.get("same_language_rate"), "of answers are in the language of the question", None, questions),
        (evaluation.get("small_talk_language"), "of small talk is answered in its language", None, ""),
        (
            pairs.get("accuracy"),
            "of unseen preference pairs in the right order",
            [pairs.get("low"), pairs.get("high")],
            f"{pairs.get('pairs', 'some')} pairs",
        ),
    ):
        if is_number(value):
            sure = f"95% interval {interval[0]:.0%} to {interval[1]:.0%}" if is_interval(interval) else ""
            yield Headline(f"{value:.0%}", label, ", ".join(filter(None, (sure, basis))))


def _changes(stages: list[Stage]) -> Iterator[Headline]:
    """What fine-tuning cost of general text, and what a range test suggests."""
    for stage in stages:
        forgotten = stage.metrics.get("forgetting")
        bits = forgotten.get("general_bits_per_byte") if isinstance(forgotten, dict) else None
        if is_interval(bits):
            note = f"{bits[0]:.3f} before, {bits[1]:.3f} after {stage.kind}"
            yield Headline(f"{bits[1] / max(bits[0], 1e-9) - 1:+.1%}", "bits per byte of general text", note)
        if is_number(stage.metrics.get("suggested_lr")):
            yield Headline(f"{stage.metrics['suggested_lr']:g}", "learning rate suggested by the range test")


def _bits(evaluation: dict[str, Any]) -> tuple[float | None, float | None]:
    """Bits per byte of the model and of xz on the same held-out documents."""
    text = evaluation.get("text")
    found = [text.get(key) if isinstance(text, dict) else None for key in ("bits_per_byte", "xz_bits_per_byte")]
    model, xz = (float(value) if is_number(value) else None for value in found)
    return model, xz


def _road_row(stage: Stage) -> dict[str, str]:
    """One line of the road: what, how long, how much, and how it ended."""
    steps = [row["step"] for row in stage.rows if is_number(row.get("step"))]
    at = f", at step {max(steps)}" if steps and not stage.finished else ""
    sizes = [p.stat().st_size for p in stage.path.rglob("*") if p.is_file() and p.parent.name != "plots"]
    return {
        "name": stage.path.resolve().name,
        "kind": stage.kind,
        "time": duration(stage.manifest["seconds"]) if "seconds" in stage.manifest else "",
        "size": size(sum(sizes)),
        "status": stage.manifest.get("finished", "").replace("T", " ").removesuffix("Z") if stage.finished else "",
        "unfinished": "" if stage.finished else f"unfinished{at}",
    }


def _funnel(stage: Stage) -> dict[str, Any] | None:
    """The way of the documents through a cleaning stage, each step with the share of bytes that is left."""
    found = _read_json(stage.path / "funnel.json") or stage.metrics.get("funnel")
    if not isinstance(found, dict) or not (found.get("steps") or found.get("sources")):
        return None
    steps = [step for step in found.get("steps", []) if isinstance(step, dict)]
    start = max((step.get("bytes_in") or 0 for step in steps), default=0)
    rows = []
    for step in steps:
        dropped = step.get("dropped") or {}
        rows.append(
            {
                "step": words(step.get("step", "")),
                "documents": f"{step.get('documents_out', 0):,}",
                "bytes": size(step.get("bytes_out", 0)),
                "share": 100 * step.get("bytes_out", 0) / start if start else 0,
                "dropped": ", ".join(f"{words(k)} {n:,}" for k, n in sorted(dropped.items(), key=lambda i: -i[1])),
            }
        )
    sources = [s for s in found.get("sources", []) if isinstance(s, dict)]
    return {
        "name": stage.path.resolve().name,
        "steps": rows,
        "sources": tables("", sources)[0] if sources else None,
        "problems": [cell("", problem) for problem in found.get("problems", [])],
        "problem_count": found.get("problem_count") or len(found.get("problems", [])),
        "dropped": {words(reason): texts for reason, texts in (found.get("samples") or {}).items() if texts},
    }


def _training(stage: Stage, run: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Plots, skipped batches and samples of one training stage."""
    prefix = stage.path.resolve().name
    # xz was measured on the held-out documents that pretraining looks at, too; the other stages hold out chats.
    plots = training_plots(stage.rows, xz=_bits(evaluation)[1] if stage.kind == "pretrain" else None)
    drawn = draw(plots, run / "plots", prefix) if plots else []
    return {
        "name": prefix,
        "plots": [{"caption": plot.caption, "svg": svg} for plot, svg in drawn],
        "skips": [
            f"step {row.get('step')}: {row.get('reason', '')}"
            + (f" (batch {row['batch']})" if row.get("batch") else "")
            for row in stage.of_kind("skip")
        ],
        "samples": _samples(stage.samples),
    }


def _samples(rows: list[dict[str, Any]]) -> list[tuple[str, list[tuple[Any, str]]]]:
    """For each prompt its (step, text), evenly spread over the run when there are many."""
    by_prompt: dict[str, dict[Any, str]] = {}
    for row in rows:
        text = str(row.get("text", ""))
        short = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"
        by_prompt.setdefault(str(row.get("prompt", "")), {})[row.get("step", "")] = short
    found = []
    for prompt, texts in by_prompt.items():
        items = list(texts.items())
        stride = math.ceil((len(items) - 1) / (MOST_SAMPLES - 1)) or 1
        found.append((prompt, [*items[:-1:stride], items[-1]]))
    return found


def _recipes(run: Path, stages: list[Stage]) -> Iterator[tuple[str, str]]:
    """(name, YAML) of the chain's own recipe and of each stage's."""
    for folder in dict.fromkeys([run, *(stage.path for stage in stages)]):
        try:
            yield folder.resolve().name, (folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _ancestry(path: Path) -> list[tuple[int, str, Path, str]]:
    return artifact.lineage(path) if artifact.find(path) else []


def _lineage(run: Path, stages: list[Stage]) -> list[dict[str, Any]]:
    """From each finished stage that no other was made from back to the sources; what was told is not told again."""
    ancestries = {stage.path.resolve(): _ancestry(stage.path) for stage in stages}
    used = {where.resolve() for rows in ancestries.values() for depth, _, where, _ in rows if depth}
    found, told = [], set()
    for rows in (rows for path, rows in ancestries.items() if path not in used):
        skip_below: int | None = None
        for depth, stage, where, digest in rows:
            if skip_below is not None and depth > skip_below:
                continue
            again = (where.resolve(), digest) in told and stage != "source"
            skip_below = depth if again else None
            told.add((where.resolve(), digest))
            shown = os.path.relpath(where, run)
            name = run.resolve().name if shown == "." else shown
            found.append({"depth": depth, "stage": stage, "path": name, "digest": digest[:12], "again": again})
    return found
