"""Tokenizers side by side on one corpus: a table for the terminal, ``report.json``, and a page that loads nothing.

The page is one file without scripts; what strangers wrote (names, pieces of text) is shown as text. The best number
of a row is marked only where more or less is better whatever the use. Left out: one score for all. Fewer tokens make
a model faster, a smaller vocabulary makes it smaller, and which counts for more is for the reader to say.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.cells import cell_len

from danlu.base.files import write_text
from danlu.evaluate.page import render, size
from danlu.evaluate.refinery_report import percent, visible
from danlu.evaluate.tokenizer_measures import KINDS

PAGE, NUMBERS = "report.html", "report.json"
BLOCKS_SHOWN = 20
# An unknown token costs one, however long the word that it stands for: who loses text is no winner in these rows.
LENGTHS = ("bytes_per_token", "characters_per_token", "tokens_per_word", "tokens_per_chinese_character")


class Row(NamedTuple):
    """A line of the comparison: what it is, its key, how it is written, and whether more (1) or less (-1) is better."""

    label: str
    key: str
    write: Callable[[Any], str]
    better: int = 0
    note: str = ""


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _percent(value: Any) -> str:
    return "" if value is None else percent(value, 1)


def _count(value: Any) -> str:
    return f"{value:,}"


ROWS = (
    Row("vocabulary", "vocab_size", _count, note="ids, special ones included"),
    Row("bytes a token", "bytes_per_token", _number, 1, "UTF-8; more means fewer tokens for the same text"),
    Row("characters a token", "characters_per_token", _number, 1),
    Row("tokens a word", "tokens_per_word", _number, -1, "documents in scripts with spaces, all their tokens counted"),
    Row(
        "tokens a Chinese character",
        "tokens_per_chinese_character",
        _number,
        -1,
        "documents mostly in Chinese characters, all their tokens counted",
    ),
    Row("unknown tokens", "unknown_share", _percent, -1, "what they stood for is lost"),
    Row("tokens that are part of a character", "partial_share", _percent, -1, "bytes of a character without a piece"),
    Row("documents that do not round-trip", "round_trip_failures", _count, -1, "decoded text differs"),
    Row("of these, in white space only", "of_these_only_white_space", _count),
    Row("vocabulary used", "vocabulary_used", _percent, 0, "ids met at least once; depends on the corpus's size"),
    Row("mean piece, bytes", "piece_bytes", _number, 0, "over the vocabulary, not over the text"),
    Row("mean piece, characters", "piece_characters", _number),
    Row("MB a second", "megabytes_per_second", _number, 1, "of processor time, encoding from Python on one thread"),
)


def headline(numbers: dict[str, Any]) -> dict[str, Any]:
    """One tokenizer's row of the comparison, for a manifest."""
    return {key: numbers[key] for key in ("name", "kind", *(row.key for row in ROWS))}


def best(report: dict[str, Any], row: Row) -> set[int]:
    """Which tokenizers are best in a row; none where all are."""
    found = {i: tokenizer[row.key] for i, tokenizer in enumerate(report["tokenizers"])}
    known = {i: value for i, value in found.items() if value is not None}
    whole = {i for i, tokenizer in enumerate(report["tokenizers"]) if not tokenizer["unknown_share"]}
    if row.key in LENGTHS and whole & known.keys():
        known = {i: value for i, value in known.items() if i in whole}
    if not row.better or len(set(known.values())) < 2:
        return set()
    top = (max if row.better > 0 else min)(known.values())
    return {i for i, value in known.items() if value == top}


def table(report: dict[str, Any]) -> list[str]:
    """The comparison as lines of text; a star stands behind the best of a row."""
    names = [tokenizer["name"] for tokenizer in report["tokenizers"]]
    rows = [["", *names], ["kind", *(tokenizer["kind"] for tokenizer in report["tokenizers"])]]
    for row in ROWS:
        marked = best(report, row)
        values = [tokenizer[row.key] for tokenizer in report["tokenizers"]]
        if any(value is not None for value in values):
            rows.append([row.label, *(row.write(v) + ("*" if i in marked else " ") for i, v in enumerate(values))])
    for title in ("source", "language"):
        groups = _groups(report, title)
        if len(groups) > 1:
            rows += [[f"bytes a token, {name}", *(f"{_number(v)} " for v in values)] for name, values in groups]
    return list(aligned([[visible(cell) for cell in row] for row in rows]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines: the first column to the left, the others to the right, as wide as they need."""
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0] + " " * (widths[0] - cell_len(row[0]))
        rest = (" " * (width - cell_len(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)).rstrip())
    return lines


def write(folder: Path, report: dict[str, Any]) -> Path:
    """Write ``report.json`` and ``report.html``; returns the page."""
    write_text(folder / NUMBERS, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    corpus, tokenizers = report["corpus"], report["tokenizers"]
    page = render(
        "tokenizers.html",
        names=[visible(tokenizer["name"]) for tokenizer in tokenizers],
        kinds=[visible(tokenizer["kind"]) for tokenizer in tokenizers],
        corpus=corpus,
        read=size(corpus["bytes"]),
        rows=[_page_row(report, row) for row in ROWS],
        groups=[
            {"title": title, "rows": [_bars(visible(name), values) for name, values in _groups(report, group)]}
            for group, title in (("source", "Sources"), ("language", "Languages"))
            if len(_groups(report, group)) > 1
        ],
        kinds_of_pieces=[
            {"label": kind, "bars": [_share(tokenizer["pieces_by_script"][kind]) for tokenizer in tokenizers]}
            for kind in KINDS
        ],
        blocks=_blocks(tokenizers),
        trips=[
            {"name": visible(t["name"]), **{k: visible(str(v)) for k, v in t["first_round_trip_failure"].items()}}
            for t in tokenizers
            if t["first_round_trip_failure"]
        ],
        notes=[(visible(t["name"]), visible(note)) for t in tokenizers for note in t["notes"]],
        repeats=report["repeats"],
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _page_row(report: dict[str, Any], row: Row) -> dict[str, Any]:
    values = [tokenizer[row.key] for tokenizer in report["tokenizers"]]
    marked = best(report, row)
    cells = [{"text": "" if v is None else row.write(v), "best": i in marked} for i, v in enumerate(values)]
    return {"label": row.label, "note": row.note, "cells": cells}


def _groups(report: dict[str, Any], group: str) -> list[tuple[str, list[float | None]]]:
    """Each group of documents with the bytes a token of every tokenizer, the largest first."""
    names = report["tokenizers"][0][f"by_{group}"]
    return [(name, [t[f"by_{group}"].get(name) for t in report["tokenizers"]]) for name in names]


def _bars(label: str, values: Sequence[float | None]) -> dict[str, Any]:
    most = max((value for value in values if value is not None), default=1.0)
    return {"label": label, "bars": [{"text": _number(v), "width": 100 * (v or 0) / most} for v in values]}


def _share(value: float) -> dict[str, Any]:
    return {"text": percent(value, 1), "width": 100 * value}


def _blocks(tokenizers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of Unicode that the corpus is written in, and how much of each is pieces."""
    rows = []
    for number, block in enumerate(tokenizers[0]["blocks"][:BLOCKS_SHOWN]):
        own = [tokenizer["blocks"][number]["with_a_piece"] for tokenizer in tokenizers]
        whole = block["characters"]
        bars = [{"text": f"{n:,} ({percent(n, whole)})", "width": 100 * n / whole} for n in own]
        rows.append({"label": block["block"], "characters": f"{whole:,}", "times": f"{block['times']:,}", "bars": bars})
    return rows
