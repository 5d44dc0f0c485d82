"""The peer's side of the filters: datatrove's own, in its own environment.

    python datatrove_filters.py WORK

WORK is a JSON file: ``documents`` (a JSONL of texts), ``decisions`` (where to write what each filter and the chain
decided for each of them, or null), ``languages``. The last line printed is JSON: the seconds of each filter and of the
chain over all documents, and the versions.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from loguru import logger

Filter = Any


def english() -> dict[str, Filter]:
    """FineWeb's filters in FineWeb's order, and what is not in its chain."""
    return {
        "gopher repetition": GopherRepetitionFilter(),
        "gopher quality": GopherQualityFilter(),
        "c4 (as in fineweb)": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
        "c4": C4QualityFilter(),
        "c4 by sentence": C4QualityFilter(split_paragraph=False),
        "mc4 paragraphs": C4ParagraphFilter(),
        "fineweb (paper)": FineWebQualityFilter(char_duplicates_ratio=0.1),
    }


def mandarin(settings: dict[str, Any]) -> dict[str, Filter]:
    """FineWeb-2's, with the thresholds of its configs/cmn_Hani.yml, in its order."""
    language = "cmn_Hani"
    return {
        "gopher repetition": GopherRepetitionFilter(
            language=language,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=settings["dup_line_frac"],
            top_n_grams=settings["top_n_grams"],
            dup_n_grams=settings["dup_n_grams"],
        ),
        "fineweb": FineWebQualityFilter(
            language=language,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=settings["line_punct_thr"],
            new_line_ratio=settings["new_line_ratio"],
        ),
        "gopher quality": GopherQualityFilter(
            language=language,
            max_avg_word_length=settings["max_avg_word_length"],
            min_avg_word_length=settings["min_avg_word_length"],
            stop_words=settings["stopwords"],
            max_non_alpha_words_ratio=settings["max_non_alpha_words_ratio"],
            min_stop_words=2,
        ),
    }


def judge(step: Filter, text: str) -> tuple[str, str]:
    """(the reason or '', the text that is left)."""
    document = Document(text=text, id="")
    try:
        found = step.filter(document)
    except (ZeroDivisionError, ValueError, AssertionError) as error:
        return f"raised {type(error).__name__}", text
    if isinstance(found, tuple):
        return ("" if found[0] else str(found[1])), document.text
    return ("" if found else "dropped"), document.text


def chain(steps: list[tuple[str, Filter]], text: str) -> tuple[str, str]:
    """The first reason of all, and the text that is left."""
    for _, step in steps:
        reason, text = judge(step, text)
        if reason:
            return reason, text
    return "", text


def timed(work: Callable[[str], object], texts: list[str]) -> float:
    """Seconds that ``work`` took for all of ``texts``."""
    began = time.perf_counter()
    for text in texts:
        work(text)
    return time.perf_counter() - began


def read(path: str) -> Iterator[str]:
    """The texts of a JSONL."""
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def main() -> None:
    """Decide or time, as WORK says."""
    logger.remove()
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    filters = mandarin(work["mandarin"]) if work.get("mandarin") else english()
    chained = [(name, filters[name]) for name in work["chain"]]
    texts = list(read(work["documents"]))
    answer: dict[str, Any] = {"versions": {name: metadata.version(name) for name in ("datatrove", "spacy", "jieba")}}
    if work["decisions"]:
        with Path(work["decisions"]).open("w", encoding="utf-8") as out:
            for text in texts:
                row: dict[str, Any] = {name: judge(step, text) for name, step in filters.items()}
                row["chain"] = chain(chained, text)
                row = {key: [reason, left if left != text else None] for key, (reason, left) in row.items()}
                out.write(json.dumps(row) + "\n")
    else:
        steps: dict[str, Callable[[str], object]] = {
            name: (lambda text, step=step: judge(step, text)) for name, step in chained
        }
        for text in texts[:20]:
            chain(chained, text)  # loads the tokenizer
        answer["seconds"] = {name: timed(step, texts) for name, step in steps.items()} if work["each"] else {}
        answer["seconds"]["chain"] = timed(lambda text: chain(chained, text), texts)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
