"""BENCHMARKS.md out of ``bench/results/*.json``: ratio first, what missed its aim included and marked.

    make bench NAME=report

A test holds the page to the results, so neither is edited by hand.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
PAGE = BENCH.parent / "BENCHMARKS.md"
HEAD = """# Benchmarks

Measured, not promised. **The ratio is above 1 where Danlu is better**, whatever the unit; the aim is the ratio that
was asked for before anything was measured. Both sides of a comparison run in turn on the same work, in one run on one
machine, the peer in an environment of its own. Where there is no peer but an aim, the aim stands in the peer's place.

This page is generated from `bench/results/`: `make bench` lists the comparisons, `make bench NAME=report` writes the
page again.
"""
Row = dict[str, Any]


def rows(results: Path) -> dict[str, list[Row]]:
    """Name → its records."""
    found = {}
    for file in sorted(results.glob("*.json")):
        read = json.loads(file.read_text(encoding="utf-8"))
        found[file.stem] = read if isinstance(read, list) else [read]
    return found


def number(value: float) -> str:
    """Three or four digits, no more than were measured."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 0.01 else f"{value:.4g}"


def times(row: Row) -> str:
    """'1.38 ×'. Far above 100 the digits say nothing."""
    ratio = float(row["ratio"])
    return "> 1000 ×" if ratio > 1000 else f"{ratio:.0f} ×" if ratio >= 100 else f"{ratio:.2f} ×"


def verdict(row: Row) -> str:
    """met, MISSED, or nothing where no ratio was aimed at."""
    if row.get("target") is None:
        return ""
    return "met" if float(row["ratio"]) >= float(row["target"]) else "MISSED"


def versus(row: Row) -> str:
    """'7,210 against 5,230 tokens/s (Trainer)'."""
    return f"{number(row['ours'])} against {number(row['theirs'])} {row['unit']} ({row['peer']})"


def page(results: Path) -> str:
    """The whole of BENCHMARKS.md."""
    return "\n".join([HEAD, *_lines(rows(results))]).rstrip() + "\n"


def _lines(found: dict[str, list[Row]]) -> Iterator[str]:
    if not found:
        yield "Nothing has been measured yet."
        return
    judged = [row for name in found for row in found[name] if verdict(row)]
    missed = [row for row in judged if verdict(row) == "MISSED"]
    yield f"{len(judged) - len(missed)} of {len(judged)} aims are met."
    yield from (f"- **Missed**: {row['what']}: {versus(row)}." for row in missed)
    for name, records in found.items():
        yield from ("", f"## {name}", "")
        yield "| ratio | aim | what | Danlu | against | unit | runs |"
        yield "|---:|---|---|---:|---:|---|---:|"
        yield from map(_cells, records)
        yield ""
        for row in records:
            if row.get("details"):
                yield f"- {row['what']}: {_details(row['details'])}"
        yield from _origin(records)


def _cells(row: Row) -> str:
    aim = "–" if row.get("target") is None else f"{number(row['target'])} ×, {verdict(row)}"
    aim = f"**{aim}**" if verdict(row) == "MISSED" else aim
    against = f"{number(row['theirs'])} ({row['peer']})"
    cells = (f"**{times(row)}**", aim, row["what"], number(row["ours"]), against, row["unit"], str(row["runs"]))
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _details(details: dict[str, Any]) -> str:
    """'seconds 5.2, share of peak 0.61'."""
    return "; ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in details.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _origin(records: list[Row]) -> Iterator[str]:
    row = records[0]
    installed = ", ".join(f"{key} {value}" for key, value in row["versions"].items())
    yield from ("", f"`{row['command']}`, {row['date']}, on {row['machine']}; {installed}.")


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(BENCH / "results"), encoding="utf-8")


if __name__ == "__main__":
    write()
    print(f"wrote {PAGE.name}")
