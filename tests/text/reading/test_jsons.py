"""JSON: lines, lists and values one after the other; a bad record costs itself."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.reading.faults import NAMED, Faults
from danlu.text.reading.jsons import values
from danlu.text.report import Funnel
from tests.text.reading.making import documents, jsonl, texts

DEEP = "[" * 100_000


def test_one_malformed_line_is_skipped_and_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "one"}, '{"text": two}', "", {"text": "three"})
    tally = Funnel()
    assert [(d.text, d.id) for d in documents(path, tally=tally)] == [("one", f"{path}:1"), ("three", f"{path}:4")]
    assert tally.problems == [f"{path}, line 2: malformed JSON (Expecting value at column 10); skipped"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ('{"text": 5}', "no text under 'text' (a int); skipped"),
        ('{"text": null}', "no text under 'text' (nothing); skipped"),
        ('["text"]', "not a JSON object; skipped"),
        ('"text"', "not a JSON object; skipped"),
        ('{"text": "open', "malformed JSON (Unterminated string starting at at column 10); skipped"),
        ('{"text": "a"} {"text": "b"}', "malformed JSON (Extra data at column 15); skipped"),
        (f'{{"text": "a", "n": {"9" * 5000}}}', "malformed JSON (Exceeds the limit"),
        (DEEP, "malformed JSON (maximum recursion depth exceeded"),
        ('{"text": "' + "long" * 300 + '"}', "longer than max_record_bytes; skipped"),
    ],
)
def test_bad_lines_cost_themselves(tmp_path: Path, bad: str, problem: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"text": "before"}}\n{bad}\n{{"text": "after"}}\n')
    tally = Funnel()
    limit = {"max_record_bytes": 1000} if "long" in bad else {}
    assert texts(path, tally=tally, **limit) == ["before", "after"]
    assert len(tally.problems) == 1
    assert tally.problems[0].startswith(f"{path}, line 2: {problem}")


def test_any_number_of_bad_lines(tmp_path: Path) -> None:
    """The first of a kind are named, the rest counted: one file must not fill the report."""
    path = jsonl(tmp_path / "x.jsonl", *["bad"] * 5000, {"text": "good"}, *["[]"] * 2)
    tally = Funnel()
    assert texts(path, tally=tally) == ["good"]
    named = [f"{path}, line {n}: malformed JSON (Expecting value at column 1); skipped" for n in range(1, NAMED + 1)]
    named += [f"{path}, line {n}: not a JSON object; skipped" for n in (5002, 5003)]
    assert tally.problems == [*named, f"{path}: {5000 - NAMED} more lines skipped: malformed JSON"]


def test_a_file_without_the_key_gets_one_sentence(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"body": "a", "n": n} for n in range(1000)])
    tally = Funnel()
    assert texts(path, tally=tally) == []
    assert tally.problems == [
        f"{path}: no 'text' (keys: body, n; text_column says which holds the text) in any of its 1000 lines; skipped"
    ]
    jsonl(path, {"text": "a"}, {"body": "b"}, {})
    tally = Funnel()
    assert texts(path, tally=tally) == ["a"]
    assert tally.problems == [f"{path}: 2 lines skipped: no 'text' (keys: body; text_column says which holds the text)"]


def test_half_a_surrogate_pair_becomes_writable(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", r'{"text": "a\ud83d", "url": "\uD800"}', r'{"text": "\ud83d\ude00 \\ud83d"}')
    tally = Funnel()
    found = documents(path, tally=tally)
    assert [d.text for d in found] == ["a\ufffd", r"😀 \ud83d"]
    assert found[0].meta == {"url": "\ufffd"}
    assert tally.problems == [f"{path}: 2 texts with half a surrogate pair, replaced by U+FFFD"]


def test_raw_controls_in_strings_are_forgiven(tmp_path: Path) -> None:
    assert texts(jsonl(tmp_path / "x.jsonl", '{"text": "a\tb\x01"}')) == ["a\tb\x01"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"text": "a"}, {"text": "b"}]', ["a", "b"]),
        (' [\n  {"text": "a"}\n ,{"text": "b"} ]\n', ["a", "b"]),
        ('{"text": "a"}', ["a"]),
        ('{\n "text": "a"\n}\n{\n "text": "b"\n}', ["a", "b"]),
        ('{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ('{"text": "]}\\"{["}{"text": "b\\\\"}', [']}"{[', "b\\"]),
        ('[{"text": "a", "more": {"x": [1, {"y": "z"}]}}]', ["a"]),
        ('\ufeff[{"text": "a"}]', ["a"]),
        ("[]", []),
        (" \n ", []),
    ],
)
def test_shapes_of_json(tmp_path: Path, content: str, expected: list[str]) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    tally = Funnel()
    assert texts(tmp_path / "x.json", tally=tally) == expected
    assert tally.problems == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"text": "a"}, {"text": nope}, {"text": "b"}]', "record 2: malformed JSON (Expecting value at column 10)"),
        ('[{"text": "a"}, 5, {"text": "b"}]', "record 2: not a JSON object"),
        ('[{"text": "a"}, "x,{", {"text": "b"}]', "record 2: not a JSON object"),
        ('[{"text": "a"}, [{"text": "x"}], {"text": "b"}]', "record 2: not a JSON object"),
        ('[{"text": "a"} } {"text": "b"}]', "record 2: malformed JSON (Expecting value at column 1)"),
        ('{"text": "a"}\n{"text": "open\n{"text": "b"}\n', "line 2: malformed JSON"),
        ('[{"text": "a"}, {"text": "b"}, {"text": "cut', "record 3: malformed JSON"),
        (f'[{{"text": "a"}}, {{"text": "b"}}, {DEEP}', "record 3: malformed JSON"),
    ],
)
def test_bad_values_cost_themselves(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "x.json").write_text(content)
    tally = Funnel()
    assert texts(tmp_path / "x.json", tally=tally) == ["a", "b"]
    assert len(tally.problems) == 1
    assert problem in tally.problems[0]


def test_a_value_that_never_ends_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b'[{"text": "a"}, {"text": "' + b"x" * 3_000_000))
    tally = Funnel()
    assert texts(tmp_path / "x.json.gz", tally=tally, max_record_bytes=1_000_000) == ["a"]
    assert tally.problems == [
        f"{tmp_path}/x.json.gz: a value longer than max_record_bytes=1000000; the rest was skipped"
    ]


records = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=4), records, max_size=3), max_size=5),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
)
def test_values_are_those_of_the_list_wherever_the_blocks_end(
    found: list[object], cuts: list[int], pretty: bool
) -> None:
    text = json.dumps(found, indent=1 if pretty else None, ensure_ascii=pretty)
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    blocks = [text[a:b] for a, b in pairwise(places)]
    assert [json.loads(value) for value in values(blocks, 10_000, Faults("F", Funnel()))] == found
