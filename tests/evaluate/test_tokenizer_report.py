"""The page and the table of a comparison: true to the numbers, harmless whatever names and texts say."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.evaluate.tokenizer_measures import KINDS, examine, measure
from danlu.evaluate.tokenizer_report import ROWS, aligned, best, table, write
from tests.evaluate.test_refinery_report import EVIL, said
from tests.evaluate.test_report import Page
from tests.evaluate.test_tokenizer_measures import Characters, documents


@pytest.fixture
def report() -> dict[str, Any]:
    text = examine([*documents("the dog", f"天下大势{EVIL}", "the"), *documents("天下", language=EVIL)])
    small, large = Characters("thedog "), Characters("thedog 天下大势")
    large.kind, large.notes = EVIL, (EVIL,)
    found = [{"name": name, **measure(t, text, repeats=2)} for name, t in (("小", small), (f"large{EVIL}", large))]
    return {"corpus": text.summary(), "repeats": 2, "threads": 1, "tokenizers": found}


def test_the_page_says_what_the_numbers_say(report: dict[str, Any], tmp_path: Path) -> None:
    page = write(tmp_path, report)
    assert page == tmp_path / "report.html"
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report
    html = page.read_text(encoding="utf-8")
    words = said(html)
    for row in ROWS:
        assert row.label in words
        for tokenizer in report["tokenizers"]:
            assert row.write(tokenizer[row.key]) in words if tokenizer[row.key] is not None else True
    for kind in KINDS:
        assert kind in words
    assert "Basic Latin" in words
    assert "CJK Unified Ideographs" in words
    assert "4 documents" in words
    assert "document 2, character 1" in words


def test_the_page_loads_nothing_and_runs_nothing(report: dict[str, Any], tmp_path: Path) -> None:
    html = write(tmp_path, report).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert 'document.title="caught"' in Page(html).text  # shown as text


def test_the_best_is_marked_where_more_or_less_is_better(report: dict[str, Any]) -> None:
    rows = {row.key: row for row in ROWS}
    assert best(report, rows["unknown_share"]) == {1}
    assert best(report, rows["round_trip_failures"]) == {1}
    assert best(report, rows["vocab_size"]) == set()
    assert best(report, rows["tokens_per_word"]) == set()  # both the same
    report["tokenizers"][0]["tokens_per_word"] = None
    assert best(report, rows["tokens_per_word"]) == set()  # one is no comparison


def test_who_loses_text_wins_no_row_on_length(report: dict[str, Any]) -> None:
    row = next(row for row in ROWS if row.key == "bytes_per_token")
    lossy, whole = report["tokenizers"]
    lossy["bytes_per_token"], whole["bytes_per_token"] = 5.0, 4.0
    lossy["unknown_share"], whole["unknown_share"] = 0.01, 0.0
    assert best(report, row) == set()  # one is no comparison
    report["tokenizers"].append({**whole, "bytes_per_token": 3.0})
    assert best(report, row) == {1}
    whole["unknown_share"] = report["tokenizers"][2]["unknown_share"] = 0.01
    assert best(report, row) == {0}  # all of them do


def test_the_table_has_a_row_for_each_number_that_there_is(report: dict[str, Any]) -> None:
    lines = table(report)
    assert lines[0].split()[0] == "小"
    unknown = next(line for line in lines if line.startswith("unknown tokens"))
    assert unknown.endswith("*")
    assert any(line.startswith("bytes a token, source 0") for line in lines)
    for tokenizer in report["tokenizers"]:
        tokenizer["tokens_per_word"] = None
    assert not any(line.startswith("tokens a word") for line in table(report))
    assert not any("\x1b" in line for line in lines)


def test_columns_are_as_wide_as_they_look() -> None:
    assert aligned([["", "天下"], ["a", "1"]]) == ["   天下", "a     1"]
