"""The page of a refinery run: what was read, what became of it, what is left, and whom the text speaks of.

One file without scripts that loads nothing; every number is from ``funnel.json`` and ``composition.json``, every text
in it is a stranger's and shown as text. Bars are HTML, so they follow the page's theme, print, and need no fonts of
their own. Left out: sorting and searching, which the JSON beside the page is better for.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.files import write_text
from danlu.base.progress import duration
from danlu.evaluate.page import cell, is_number, render, size, tables, words
from danlu.evaluate.stats import wilson
from danlu.text.people import Counts, share
from danlu.text.wordlists import GROUPS, OCCUPATIONS, named

PAGE = "report.html"
SHOWN, FEW = 20, 10  # rows of a long table; documents below which an interval would be a guess
LANGUAGE_NAMES = {"en": "English", "zh": "Chinese"}


class Headline(NamedTuple):
    """One number that a person looks for first."""

    value: str
    label: str
    note: str = ""


class Bar(NamedTuple):
    """A row of a table with a bar: cells of text, and the bar's parts in per cent."""

    cells: list[str]
    kept: float
    lost: float = 0.0
    title: str = ""


class Estimate(NamedTuple):
    """A share with its interval, in per cent; ``low`` is None where there are too few to say."""

    text: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0


def write(folder: Path, funnel: dict[str, Any], composition: dict[str, Any], metrics: dict[str, Any]) -> Path:
    """Write ``folder/report.html`` from JSON-able values; whatever part of them is missing is left out of the page."""
    steps = [step for step in funnel.get("steps", []) if step]
    page = render(
        "refinery.html",
        name=folder.resolve().name,
        headlines=list(_headlines(funnel, composition, metrics)),
        funnel=list(_funnel(funnel, steps)),
        sources=tables("", _most(funnel.get("sources", [])))[:1],
        reasons=list(_reasons(steps, composition)),
        distributions=list(_distributions(composition)),
        scripts=list(_scripts(composition)),
        histograms=list(_histograms(composition)),
        changes=list(_changes(funnel, steps)),
        facts=[table for name, facts in funnel.get("facts", {}).items() for table in tables(words(name), facts)],
        people=list(_people(composition)),
        looked_at=_looked_at(composition),
        occupations=list(_occupations(composition)),
        samples=_samples(funnel, composition),
        details=[cell("", item) for item in funnel.get("details", [])],
        problems=[cell("", item) for item in funnel.get("problems", [])],
        problem_count=funnel.get("problem_count", 0),
        recipe=_recipe(folder),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _recipe(folder: Path) -> str:
    try:
        return (folder / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def percent(part: float, whole: float) -> str:
    """``12.3%``, in digits that tell little from nothing and almost all from all."""
    value = 100 * part / whole if whole else 0.0
    if 0 < value < 0.01:
        return "<0.01%"
    return f"{value:.0f}%" if value in (0, 100) else f"{value:.1f}%" if 0.95 <= value < 99.95 else f"{value:.2f}%"


def _headlines(funnel: dict[str, Any], composition: dict[str, Any], metrics: dict[str, Any]) -> Iterator[Headline]:
    documents, bytes_ = _read(funnel)
    kept, filtered, copies = (composition.get(side, {}) for side in ("kept", "filtered", "copies"))
    if kept:
        n, total = kept["documents"], kept["bytes"]
        yield Headline(f"{n:,}", f"documents kept of {documents:,}", percent(n, documents))
        yield Headline(size(total), f"of text kept of {size(bytes_)} read", percent(total, bytes_))
    if filtered.get("documents"):
        yield Headline(percent(filtered["documents"], documents), "of documents dropped by filters")
    if copies.get("documents"):
        yield Headline(percent(copies["documents"], documents), "of documents were copies of others")
    languages = kept.get("languages", {}).get("counts", {})
    known = {name: pair for name, pair in languages.items() if name != "unknown"}
    if known:
        name, (_, text) = max(known.items(), key=lambda item: item[1][1])
        label = f"of the kept text is {LANGUAGE_NAMES.get(name, name)}"
        yield Headline(percent(text, kept["bytes"]), label, f"{len(known)} languages" if known.keys() - {name} else "")
    if funnel.get("problem_count"):
        yield Headline(f"{funnel['problem_count']:,}", "files or records that could not be read")
    seconds = metrics.get("seconds")
    if is_number(seconds) and seconds > 0:
        yield Headline(duration(seconds), "from start to end", f"{size(bytes_ / seconds)} a second")


def _read(funnel: dict[str, Any]) -> tuple[int, int]:
    """Documents and bytes that came in."""
    sources, steps = funnel.get("sources", []), funnel.get("steps", [])
    if sources:
        return sum(s["documents"] for s in sources), sum(s["bytes"] for s in sources)
    return (steps[0]["documents_in"], steps[0]["bytes_in"]) if steps else (0, 0)


def _most(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The largest sources; a pattern can match ten thousand files."""
    ranked = sorted(sources, key=lambda source: -source["bytes"])
    rest = ranked[SHOWN:]
    if len(rest) < 2:
        return ranked
    together = {key: sum(source[key] for source in rest) for key in ("documents", "bytes")}
    return [*ranked[:SHOWN], {"source": f"{len(rest):,} others", **together}]


def _funnel(funnel: dict[str, Any], steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each step with what is left of documents and of bytes after it, and what it took."""
    documents, bytes_ = _read(funnel)
    for step in steps:
        bars = []
        for what, start in (("documents", documents), ("bytes", bytes_)):
            before, after = step[f"{what}_in"], step[f"{what}_out"]
            left = min(100 * after / start, 100) if start else 0.0
            lost = max(min(100 * (before - after) / start, 100 - left), 0.0) if start else 0.0
            number = size(after) if what == "bytes" else f"{after:,}"
            bars.append(Bar([number, percent(after, start)], left, lost, f"{what}: {number} of {before:,} went on"))
        dropped = sorted(step.get("dropped", {}).items(), key=lambda item: -item[1])
        why = [f"{words(reason)} {number:,}" for reason, number in dropped]
        yield {"step": words(step.get("step", "")), "bars": bars, "dropped": why}


def _reasons(steps: list[dict[str, Any]], composition: dict[str, Any]) -> Iterator[Bar]:
    """Why documents were dropped, the commonest reason first."""
    where: dict[str, list[str]] = {}
    total: dict[str, int] = {}
    for step in steps:
        for reason, number in step.get("dropped", {}).items():
            where.setdefault(reason, []).append(words(step.get("step", "")))
            total[reason] = total.get(reason, 0) + number
    bytes_ = composition.get("reasons", {}).get("counts", {})
    most, everything = max(total.values(), default=0), sum(total.values())
    for reason, number in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        text = size(bytes_[reason][1]) if reason in bytes_ else ""
        cells = [words(reason), ", ".join(where[reason]), f"{number:,}", text, percent(number, everything)]
        yield Bar(cells, 0, 100 * number / most)


def _distributions(composition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Languages, sources and hosts: what is kept of each, and what the filters left of it."""
    kept, filtered, copies = (composition.get(side, {}) for side in ("kept", "filtered", "copies"))
    for key, title in (("languages", "Languages"), ("sources", "Sources"), ("domains", "Hosts")):
        sides = [side.get(key, {}).get("counts", {}) for side in (kept, filtered, copies)]
        names = {name for side in sides for name in side}
        if not names or (key == "languages" and names == {"unknown"}):
            continue
        ranked = sorted(names, key=lambda name: (-sides[0].get(name, [0, 0])[1], -_documents(sides, name), name))
        total, rows = max(kept.get("bytes", 0), 1), []
        for name in ranked[:SHOWN]:
            rows.append(_distribution_row(name, [name], sides, total))
        if ranked[SHOWN:]:
            rows.append(_distribution_row(f"{len(ranked) - SHOWN:,} others", ranked[SHOWN:], sides, total))
        yield {
            "title": title,
            "rows": rows,
            "error": max(side.get(key, {}).get("error", 0) for side in (kept, filtered, copies)),
            "mixed": kept.get("mixed", 0) if key == "languages" else 0,
        }


def _documents(sides: list[dict[str, list[int]]], name: str) -> int:
    return sum(side.get(name, [0])[0] for side in sides)


def _distribution_row(label: str, names: list[str], sides: list[dict[str, list[int]]], total: int) -> Bar:
    kept, filtered, copies = (sum(side.get(name, [0])[0] for name in names) for side in sides)
    bytes_ = sum(sides[0].get(name, [0, 0])[1] for name in names)
    cells = [
        label,
        f"{kept:,}",
        size(bytes_),
        percent(bytes_, total),
        percent(kept, kept + filtered) if kept + filtered else "",
        f"{filtered:,}",
        f"{copies:,}",
    ]
    return Bar(cells, 100 * bytes_ / total)


def _scripts(composition: dict[str, Any]) -> Iterator[Bar]:
    counts = composition.get("kept", {}).get("scripts", {})
    total = sum(counts.values())
    for name, number in sorted(counts.items(), key=lambda item: -item[1]):
        yield Bar([name, f"{number:,}", percent(number, total)], 100 * number / total)


def _histograms(composition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lengths of kept and of filtered documents, in bins that double; heights in per cent of the highest."""
    for unit in ("characters", "bytes"):
        sides = [composition.get(side, {}).get("lengths", {}).get(unit, []) for side in ("kept", "filtered")]
        used = [place for side in sides for place, number in enumerate(side) if number]
        if not used:
            continue
        places = range(min(used), max(used) + 1)
        totals = [max(sum(side), 1) for side in sides]
        shares = [[100 * (side[p] if p < len(side) else 0) / n for p in places] for side, n in zip(sides, totals)]
        highest = max(max(row) for row in shares)
        columns = []
        for i, place in enumerate(places):
            low, high = (1 << place >> 1, (1 << place) - 1) if place else (0, 0)
            heights = [100 * row[i] / highest for row in shares]
            title = f"{low:,} to {high:,} {unit}: {shares[0][i]:.1f}% of the kept, {shares[1][i]:.1f}% of the filtered"
            columns.append({"label": _short(low), "heights": heights, "title": title})
        title = f"Length in {unit}; the highest column is {highest:.0f}%"
        yield {"title": title, "columns": columns, "filtered": any(sides[1])}


def _short(number: int) -> str:
    """A power of two as a person says it: 4096 → '4k'."""
    for limit, suffix in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if number >= limit:
            return f"{number // limit}{suffix}"
    return str(number)


def _changes(funnel: dict[str, Any], steps: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Step, what it changed, how often."""
    by_step = {step.get("step", ""): step.get("changes") or {} for step in steps}
    for step, changes in {**funnel.get("changes", {}), **{k: v for k, v in by_step.items() if v}}.items():
        for name, number in sorted(changes.items(), key=lambda item: (-item[1], item[0])):
            yield [words(step), words(name), f"{number:,}"]


def _looked_at(composition: dict[str, Any]) -> str:
    people = [composition.get(side, {}).get("people", {}) for side in ("kept", "filtered")]
    kept, filtered = (side.get("documents", 0) for side in people)
    part = composition.get("share", 1.0)
    sample = "" if part >= 1 else f", a sample of {percent(part, 1)} by the hash of their names"
    return f"{kept:,} kept and {filtered:,} filtered documents were read for this{sample}." if kept + filtered else ""


def _people(composition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """For each language of the words a table: mentions, company, and what the filters left."""
    sides = [composition.get(side, {}).get("people", {}) for side in ("kept", "filtered")]
    for language, title in LANGUAGE_NAMES.items():
        kept, filtered = (side.get("groups", {}).get(language, {}) for side in sides)
        if not kept and not filtered:
            continue
        any_ = [side.get("any", {}).get(language, 0) for side in sides]
        rows: list[dict[str, Any]] = []
        attribute = ""
        for group in named(GROUPS):
            if group.name in kept or group.name in filtered:
                if group.attribute != attribute:
                    attribute = group.attribute
                    rows.append({"heading": attribute})
                rows.append(_group_row(group.name, kept.get(group.name), filtered.get(group.name)))
        total = [sum(column) for column in zip(*kept.values())] if kept else [0] * len(Counts._fields)
        overall = Counts(*total)
        both = overall.positive + overall.negative
        rows.append(
            {
                "name": "anyone of these",
                "documents": f"{any_[0]:,}",
                "mentions": f"{overall.mentions:,}",
                "company": Estimate(percent(overall.positive, both), 100 * overall.positive / both) if both else None,
                "survival": _survival(any_[0], any_[1]),
            }
        )
        yield {"title": title, "rows": rows}


def _group_row(name: str, kept: list[int] | None, filtered: list[int] | None) -> dict[str, Any]:
    counts = Counts(*(kept or [0] * len(Counts._fields)))
    return {
        "name": name,
        "documents": f"{counts.documents:,}",
        "mentions": f"{counts.mentions:,}",
        "company": _company(counts),
        "survival": _survival(counts.documents, filtered[0] if filtered else 0),
    }


def _company(counts: Counts) -> Estimate | None:
    """The share of positive company, with an interval that knows that mentions in one document are alike."""
    (p, worth), both = share(counts), counts.positive + counts.negative
    if not both:
        return None
    if min(counts.documents, both) < FEW:
        return Estimate(f"{counts.positive:,} of {both:,}")
    worth = max(round(worth), 1)
    return _estimate(p, both, *wilson(p * worth, worth))


def _survival(kept: int, filtered: int) -> Estimate | None:
    """The share of documents that filters left."""
    if not kept + filtered:
        return None
    if kept + filtered < FEW:
        return Estimate(f"{kept:,} of {kept + filtered:,}")
    return _estimate(kept / (kept + filtered), kept + filtered, *wilson(kept, kept + filtered))


def _estimate(p: float, trials: int, low: float, high: float) -> Estimate:
    return Estimate(f"{p:.0%} of {trials:,} ({low:.0%} to {high:.0%})", 100 * p, 100 * low, 100 * high)


def _occupations(composition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """For each language a table of occupations and the gender of the nearest word for one."""
    for language, title in LANGUAGE_NAMES.items():
        found = composition.get("kept", {}).get("people", {}).get("occupations", {}).get(language, {})
        rows = []
        for job in named(OCCUPATIONS):
            mentions, women, men = found.get(job.name, [0, 0, 0])
            if mentions:
                both = women + men
                estimate = None
                if both >= FEW:
                    estimate = _estimate(women / both, both, *wilson(women, both))
                elif both:
                    estimate = Estimate(f"{women} of {both}")
                rows.append({"cells": [job.name, f"{mentions:,}", f"{women:,}", f"{men:,}"], "share": estimate})
        if rows:
            yield {"title": title, "rows": rows}


def _samples(funnel: dict[str, Any], composition: dict[str, Any]) -> list[dict[str, Any]]:
    """Kept documents, then dropped ones by reason; from the funnel where there is no composition."""
    drawn = composition.get("samples")
    if drawn is None:
        drawn = {reason: [{"text": t} for t in texts] for reason, texts in funnel.get("samples", {}).items()}
    found = []
    for reason, items in drawn.items():
        if items:
            rows = [{"about": _about(item), "text": visible(str(item.get("text", "")))} for item in items]
            found.append({"reason": words(reason), "rows": rows})
    return sorted(found, key=lambda sample: str(sample["reason"]))  # the kept ones have no reason and come first


def _about(item: Mapping[str, Any]) -> list[str]:
    """The lines beside a sample: title, where from, how long."""
    length = f"{item['characters']:,} characters" if is_number(item.get("characters")) else ""
    source = item.get("url") or item.get("id") or item.get("source", "")
    return list(filter(None, map(visible, _strings((item.get("title"), source, item.get("language"), length)))))


def _strings(values: Iterable[object]) -> Iterator[str]:
    return (str(value) for value in values if value)


def visible(text: str) -> str:
    """``text`` with control characters made visible: a page must not be cut short or turned round by them."""
    return "".join(c if c in "\n\t" or (c >= " " and (c.isprintable() or c.isspace())) else "\ufffd" for c in text)
