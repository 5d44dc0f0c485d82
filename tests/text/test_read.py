"""Reading: every format, the same documents in the same order, and one clear sentence for what is wrong."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.text.document import Document
from danlu.text.read import PIECE, pieces, read, resolve
from danlu.text.report import Funnel


def texts(*inputs: object, tally: Funnel | None = None, **options: object) -> list[str]:
    return [d.text for d in read([str(i) for i in inputs], tally or Funnel(), **options)]  # type: ignore[arg-type]


def jsonl(path: Path, *lines: object) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "b.md").write_text("# mark")
    (tmp_path / "deep/c.html").write_text("<title>T</title><p>page")
    jsonl(tmp_path / "d.jsonl", {"text": "line 1"}, {"text": "line 2", "id": "own"})
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    pq.write_table(pa.table({"text": ["row 1", "row 2"]}), tmp_path / "f.parquet")
    (tmp_path / "g.exe").write_text("not text")
    (tmp_path / ".h.txt").write_text("hidden")
    return tmp_path


def test_a_folder_with_every_format(folder: Path) -> None:
    tally = Funnel()
    documents = list(read([str(folder)], tally))
    found = {d.id.removeprefix(f"{folder}/"): d.text for d in documents}
    assert found == {
        "a.txt:1": "plain",
        "b.md:1": "# mark",
        "d.jsonl:1": "line 1",
        "own": "line 2",
        "deep/c.html:1": "page",
        "e.jsonl.gz:1": "packed",
        "f.parquet:1": "row 1",
        "f.parquet:2": "row 2",
    }
    assert documents[2].source == str(folder / "d.jsonl")
    assert next(d for d in documents if d.id.endswith("c.html:1")).meta == {"title": "T"}
    assert tally.sources == {str(folder): [8, sum(d.bytes for d in documents)]}
    assert documents == list(read([str(folder)], Funnel()))


def test_patterns_and_overlaps(folder: Path) -> None:
    assert texts(folder / "*.txt") == ["plain"]
    assert texts(folder / "**/*.html") == ["page"]
    assert texts(folder / "a.txt", folder / "*.t*", folder / "b.md") == ["plain", "# mark"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [("\ufeff丹炉".encode(), "丹炉"), ("丹炉".encode("utf-16"), "丹炉"), (b"a\r\nb", "a\nb")],
)
def test_byte_order_marks_and_line_ends(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "x.txt").write_bytes(data)
    assert texts(tmp_path / "x.txt") == [expected]


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab \n中"), max_size=400), st.integers(4, 50))
def test_pieces_lose_nothing_and_stay_small(text: str, size: int) -> None:
    parts = list(pieces(io.StringIO(text), size))
    assert "".join(parts) == text
    assert all(0 < len(part) <= size + size // 4 for part in parts)
    assert all(len(part) > size // 4 for part in parts) or len(parts) == 1


def test_a_long_file_is_cut_at_blank_lines(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n} of a long book." for n in range(PIECE // 10)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    documents = list(read([str(tmp_path / "book.txt")], Funnel()))
    assert [d.id for d in documents] == [f"{tmp_path}/book.txt:{n + 1}" for n in range(len(documents))]
    assert len(documents) == 3
    assert all(d.text.startswith("Paragraph") for d in documents)


def test_another_text_column(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"body": "yes", "text": "no"})
    assert texts(path, text_column="body") == ["yes"]


def test_half_a_surrogate_pair_becomes_writable(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", r'{"text": "a\ud83d"}', r'{"text": "\ud83d\ude00"}')
    assert texts(path) == ["a?", "😀"]


def test_one_malformed_line_is_skipped_and_named(tmp_path: Path) -> None:
    tally = Funnel()
    path = jsonl(tmp_path / "x.jsonl", {"text": "one"}, '{"text": two}', "", {"text": "three"})
    assert texts(path, tally=tally) == ["one", "three"]
    assert tally.problems == [f"{path}, line 2: malformed JSON (Expecting value at column 10); skipped"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'{"text": 5}', "no text under 'text'"),
        (b'["text"]', "not a JSON object"),
        (b'{"text": "\xff"}', "invalid UTF-8 at byte 10 of the line"),
        (b"[" * 100_000, "malformed JSON"),
    ],
)
def test_other_bad_lines(tmp_path: Path, bad: bytes, problem: str) -> None:
    path, tally = tmp_path / "x.jsonl", Funnel()
    path.write_bytes(b'{"text": "good"}\n' + bad + b"\n")
    assert texts(path, tally=tally) == ["good"]
    assert f"{path}, line 2: {problem}" in tally.problems[0]


def test_too_many_bad_lines_are_an_error(tmp_path: Path) -> None:
    good = [{"text": str(n)} for n in range(98)]
    path = jsonl(tmp_path / "x.jsonl", "bad", *good, "worse")
    with pytest.raises(UserError, match=r"x\.jsonl, line 1: malformed JSON.*2 of 100 records are bad.*bad_share=0.01"):
        texts(path)
    assert len(texts(path, bad_share=0.02)) == 98
    with pytest.raises(UserError, match="line 1"):
        texts(jsonl(tmp_path / "y.jsonl", "bad", *good), bad_share=0)
    with pytest.raises(UserError, match=r"z\.jsonl, line 1: malformed JSON.*not one record"):
        texts(jsonl(tmp_path / "z.jsonl", "bad"))


def test_a_hopeless_file_is_left_early(tmp_path: Path) -> None:
    tally = Funnel()
    path = jsonl(tmp_path / "x.jsonl", {"text": "good"}, *["bad"] * 5000)
    with pytest.raises(UserError, match="999 of 1000"):
        texts(path, tally=tally)


def test_a_wrong_column_is_named_at_once(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"body": "a", "id": "b"})
    with pytest.raises(UserError, match=r"x\.jsonl, line 1: no key 'text' \(keys: body, id\)\. Set text_column"):
        texts(path)


def test_invalid_utf8_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("好\nsecond \n".encode() + "第三".encode("gb18030"))
    with pytest.raises(UserError, match=r"x\.txt, line 3: invalid UTF-8 at byte 12 \(0xb5\)\. Convert it"):
        texts(path)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl.gz"])
def test_damaged_containers(tmp_path: Path, name: str) -> None:
    if name.endswith("gz"):
        (tmp_path / name).write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000)[:-20])
    else:
        pq.write_table(pa.table({"text": ["a"] * 1000}), tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"{name}: (damaged gzip|not a Parquet file)"):
        texts(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.exe").write_text("x")
    for given_path, message in (
        ("missing.txt", r"missing\.txt: no such file or directory\. Check the path"),
        ("*.txt", r"\*\.txt: matches no readable file"),
        ("empty", r"empty: no readable file in it\. Supported: \.txt, \.md"),
        ("x.exe", r"x\.exe: unsupported kind of file\. Supported: \.txt"),
    ):
        with pytest.raises(UserError, match=message):
            resolve([str(tmp_path / given_path)])
    with pytest.raises(UserError, match="no input"):
        resolve([])
    with pytest.raises(UserError, match="Did you mean 'python'"):
        resolve(["package:pyhton"])
    with pytest.raises(UserError, match="gives chats, and documents are needed"):
        resolve(["package:docstring-questions"])


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"a\.txt: is empty"):
        resolve([str(tmp_path / "a.txt")])
    (tmp_path / "b.txt").write_text("full")
    tally = Funnel()
    assert [d.text for d in read([str(tmp_path)], tally)] == ["full"]
    assert tally.problems == [f"{tmp_path}/a.txt: empty file; skipped"]


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "one"}, {"text": "two"})
    with open(path, "a") as handle:
        handle.write("bad\n" * 10)
    documents = read([str(path)], Funnel())
    assert next(documents) == Document("one", f"{path}:1", str(path))
