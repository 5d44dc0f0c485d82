"""What each step of a recipe does with one document, and why it is kept or dropped: `danlu clean --explain FILE`."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from danlu.recipes.clean import Clean, steps
from danlu.text.corpus import CorpusStep
from danlu.text.document import Document, Dropped, Step
from danlu.text.filters.perplexity import PerplexityBatches, PerplexityStep
from danlu.text.read import parts, read_part
from danlu.text.report import Funnel

DOCUMENTS = 3  # of a file with many; the first ones show what the recipe does
LINES, WIDTH = 6, 100


def explain(recipe: Clean, file: Path) -> Iterator[str]:
    """The way of a file's first documents through the steps, in lines for a person."""
    tally, chosen = Funnel(), steps(recipe)
    reading = (
        document for part in parts((str(file),), recipe.reading) for document in read_part(part, recipe.reading, tally)
    )
    shown = 0
    for document in islice(reading, DOCUMENTS):
        shown += 1
        yield from way(document, chosen)
        yield ""
    if next(reading, None) is not None:
        yield f"{file} holds more documents; these were the first {shown}"
    if not shown:
        yield f"{file}: no document in it"
    yield from (f"problem: {problem}" for problem in tally.problems)


def way(document: Document, chosen: Mapping[str, Step | CorpusStep]) -> Iterator[str]:
    """One document through the steps until it is dropped."""
    yield f"{document.id}: {len(document.text)} characters, {_known(document)}"
    for name, asked in chosen.items():
        step = PerplexityStep(asked.settings, asked.scorer) if isinstance(asked, PerplexityBatches) else asked
        if isinstance(step, CorpusStep):
            yield f"  {name:<22} judges a document by all the others; not asked here"
            continue
        result = step(document)
        if isinstance(result, Dropped):
            detail = f" ({result.detail})" if result.detail else ""
            yield f"  {name:<22} DROPPED: {result.reason}{detail}"
            return
        yield from (f"  {line}" for line in _change(name, document, result))
        document = result
    yield f"  kept: {len(document.text)} characters, {_known(document)}"


def _change(name: str, before: Document, after: Document) -> Iterator[str]:
    """What a step changed: its own counts, what it learnt about the document, and the first lines that differ."""
    old, new = before.meta.get("changes", {}), after.meta.get("changes", {})
    said = [f"{key} {number - old.get(key, 0)}" for key, number in new.items() if number != old.get(key, 0)]
    said += [
        f"{key} = {after.meta[key]}"
        for key in after.meta
        if key != "changes" and after.meta[key] != before.meta.get(key)
    ]
    if after.text != before.text:
        said.insert(0, f"{len(before.text)} → {len(after.text)} characters")
    yield f"{name:<22} {'; '.join(said) if said else 'kept as it was'}"
    if after.text != before.text and "format" not in before.meta:
        yield from _lines(before.text, after.text)


def _lines(before: str, after: str) -> Iterator[str]:
    old, new = before.splitlines()[:2000], after.splitlines()[:2000]  # difflib is quadratic
    differing = (
        line for line in difflib.unified_diff(old, new, lineterm="", n=0) if line[:2] not in ("--", "++", "@@")
    )
    yield from (f"{'':<22}   {line[:WIDTH]}" for line in islice(differing, LINES))


def _known(document: Document) -> str:
    """What the reader knows of a document."""
    plain = replace(document, meta={key: value for key, value in document.meta.items() if key != "changes"})
    return ", ".join(f"{key} {value}" for key, value in plain.meta.items()) or "nothing else known"
