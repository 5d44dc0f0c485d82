"""CSV and TSV against the standard library's writer, and what people write by hand."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.reading.faults import Faults
from danlu.text.reading.table import rows
from danlu.text.report import Funnel
from tests.text.reading.making import documents, texts


def problems(path: Path, **settings: object) -> tuple[list[str], list[str]]:
    tally = Funnel()
    found = texts(path, tally=tally, **settings)
    return found, [problem.removeprefix(f"{path}, ") for problem in tally.problems]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.text(st.sampled_from('ab,;"\n \t中'), max_size=8), min_size=2, max_size=2), max_size=8),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_csv_writes_is_read(table: list[list[str]], delimiter: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    lines = enumerate(out.getvalue().split("\n")[:-1], 1)
    tally = Funnel()
    assert [row for _, row in rows(lines, delimiter, 2, 10_000, Faults("F", tally))] == table
    assert tally.problems == []


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_names_the_column(tmp_path: Path, sign: str) -> None:
    (tmp_path / "x.csv").write_text(sign.join(["n", "text", "url"]) + "\n" + sign.join(["1", '"a, b; c"', "u"]) + "\n")
    assert [(d.text, d.meta, d.id) for d in documents(tmp_path / "x.csv")] == [
        ("a, b; c", {"url": "u"}, f"{tmp_path}/x.csv:2")
    ]


def test_a_table_from_a_chinese_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(
        "编号,正文\r\n1,今天下午我们在图书馆里读了一本书\r\n2,“很好”\r\n".encode("gb18030")
    )
    (tmp_path / "y.tsv").write_bytes("编号\t正文\n1\t今天\n".encode("utf-16"))
    assert texts(tmp_path, text_column="正文") == ["今天下午我们在图书馆里读了一本书", "“很好”", "今天"]


def test_an_unclosed_quote_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('n,text\n1,one\n2,"two\n3,three\n4,"four\nlines"\n5,five\n')
    found, told = problems(path)
    assert found == ["one", "three", "four\nlines", "five"]
    assert told == ["line 3: unbalanced quotes; skipped"]


def test_every_line_with_an_unclosed_quote(tmp_path: Path) -> None:
    """Read again a bounded number of times, then line by line."""
    path = tmp_path / "x.csv"
    path.write_text("n,text\n" + '1,"bad\n' * 2001 + "2,good\n" * 10)
    found, told = problems(path, max_record_bytes=5000)
    assert found[-10:] == ["good"] * 10
    assert told[0] == "line 2: unbalanced quotes; skipped"


def test_a_field_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b'n,text\n1,"' + b"a line of it\n" * 20_000 + b"2,good\n"))
    found, told = problems(tmp_path / "x.csv.gz", max_record_bytes=10_000)
    assert found == ["good"]
    assert "line 2: unbalanced quotes; skipped" in told


def test_large_fields(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f'n,text\n1,"{"word " * 100_000}"\n')  # the standard library's limit is 131,072
    assert len(texts(tmp_path / "x.csv")[0]) == 500_000


@pytest.mark.parametrize(
    ("line", "expected", "problem"),
    [
        ("1,a,b", [], "line 2: another number of fields than the header (3, not 2); skipped"),
        ("1", [], "line 2: another number of fields than the header (1, not 2); skipped"),
        ('1,"a" b', ["a b"], ""),  # a slip: the quotes come in pairs, and the number of fields is right
        ('1,"a" "b', [], "line 2: unbalanced quotes; skipped"),
        ("", [], ""),
    ],
)
def test_odd_lines(tmp_path: Path, line: str, expected: list[str], problem: str) -> None:
    (tmp_path / "x.csv").write_text(f"n,text\n{line}\n2,good\n")
    assert problems(tmp_path / "x.csv") == ([*expected, "good"], [problem] if problem else [])


def test_quotes_in_tsv_may_be_plain_characters(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text('n\ttext\n1\t"Hello," she said.\n2\t"open\n3\t5" wide\n4\t"a\n b"\n')
    assert problems(tmp_path / "x.tsv") == (['"Hello," she said.', '"open', '5" wide', "a\n b"], [])


def test_no_such_column(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("n,body\n1,a\n")
    tally = Funnel()
    assert texts(tmp_path / "x.csv", tally=tally) == []
    assert tally.problems == [
        f"{tmp_path}/x.csv: no 'text' (keys: n, body; text_column says which holds the text); skipped"
    ]
