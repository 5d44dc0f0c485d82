"""What a file system and a machine can do to a reader, each named in the report, none the end of the run."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text.read import Reading, parts, read, read_part, resolve
from danlu.text.report import Funnel
from tests.text.reading.making import jsonl, one_of_each, texts


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may look into, as pytest's may not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_no_permission(open_folder: Path) -> None:
    (open_folder / "locked").mkdir()
    for name in ("a.txt", "b.txt", "c.parquet", "d.epub", "locked/e.txt"):
        (open_folder / name).write_text("text")
    for name in ("b.txt", "c.parquet", "d.epub", "locked"):
        (open_folder / name).chmod(0)
    tally = Funnel()
    with nobody():
        assert texts(open_folder, tally=tally) == ["text"]
        assert texts(open_folder / "a.txt", open_folder / "b.txt") == ["text"]
        with pytest.raises(UserError, match="locked: no permission"):
            resolve([f"{open_folder}/locked"])
        with pytest.raises(UserError, match=r"e\.txt: no permission"):
            resolve([f"{open_folder}/locked/e.txt"])
    (open_folder / "locked").chmod(0o700)
    assert tally.problems == [
        f"{open_folder}/locked: no permission; the folder was skipped",
        *(f"{open_folder}/{name}: no permission; the rest was skipped" for name in ("b.txt", "c.parquet", "d.epub")),
    ]


def test_a_file_that_disappears(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl", "c.txt", "d.txt"):
        (tmp_path / name).write_text('{"text": "x"}\n')
    tally = Funnel()
    listed = parts([str(tmp_path)])
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "c.txt").unlink()
    os.mkfifo(tmp_path / "c.txt")  # and nobody writes to it
    assert len([d for part in listed for d in read_part(part, Reading(), tally)]) == 2
    assert tally.problems == [
        f"{tmp_path}/b.jsonl: has disappeared; the rest was skipped",
        f"{tmp_path}/c.txt: is not a file any more; the rest was skipped",
    ]


def test_a_file_that_disappears_before_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    listed = resolve([str(tmp_path)])
    (tmp_path / "a.txt").unlink()
    monkeypatch.setattr("danlu.text.reading.parts.resolve", lambda *_: listed)
    tally = Funnel()
    assert list(read([str(tmp_path)], tally)) == []
    assert tally.problems == [f"{tmp_path}/a.txt: has disappeared; skipped"]


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_a_file_that_changes_its_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    listed = parts([str(path)])
    for size, problem in (
        (90, "has grown by 58 bytes since it was listed; they were not read"),
        (24, "has become 8 bytes shorter since it was listed"),
    ):
        os.truncate(path, size)
        tally = Funnel()
        found = [d.text for part in listed for d in read_part(part, Reading(), tally)]
        assert tally.problems == [f"{path}: {problem}"]
        assert len("".join(found)) in ((32, 24) if name == "x.txt" else (6, 3))


def test_reading_a_file_as_it_is_written_ends(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "one"})
    tally = Funnel()
    found = []
    for document in read([str(path)], tally):
        found.append(document.text)
        with open(path, "a") as handle:
            handle.write('{"text": "more"}\n')
    assert found == ["one"]


def test_a_link_that_is_swapped_for_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    listed = parts([str(tmp_path)])
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").symlink_to("a.txt")
    tally = Funnel()
    assert [d for part in listed for d in read_part(part, Reading(), tally)] == []
    assert tally.problems == [f"{tmp_path}/a.txt: a link to itself; the rest was skipped"]


MEASURE = """
import resource, sys
from danlu.text.read import Reading, read
from danlu.text.report import Funnel
list(read([sys.argv[1]], Funnel()))  # whatever is imported on the way
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    tally = Funnel()
    number = sum(1 for _ in read([path], tally, Reading(max_record_bytes=1 << 20)))
    print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *tally.problems, sep="|")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux only")
def test_a_line_of_200_mb_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Three quarters of it are holes, which cost no disk and read as null bytes: one bad input more."""
    small = tmp_path / "small"
    small.mkdir()
    one_of_each(small)
    begun = {"x.jsonl": b'{"text": "a"}\n', "x.csv": b"id,text\n1,", "x.json": b'[{"text": "a"}, {"text": "'}
    for name in ("x.jsonl", "x.json", "x.csv", "x.html", "x.warc", "x.txt"):
        with open(tmp_path / name, "wb") as handle:
            handle.write(begun.get(name, b"a" * 99))
            for megabyte in range(0, 200 if name == "x.jsonl" else 40, 4):
                handle.seek(99 + (megabyte << 20))
                handle.write(b"0123456789abcdef" * 1024 * 64)
            handle.seek(3 << 20, os.SEEK_CUR)
            handle.write(b'\n{"text": "b"}\n')
    assert (tmp_path / "x.jsonl").stat().st_size > 200_000_000
    paths = [str(tmp_path / name) for name in ("x.jsonl", "x.json", "x.csv", "x.html", "x.warc", "x.txt")]
    command = [sys.executable, "-c", MEASURE, str(small), *paths]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    documents, kilobytes, problems = zip(*(line.split("|", 2) for line in result.stdout.splitlines()), strict=True)
    assert documents == ("2", "1", "0", "0", "0", "160")
    assert max(map(int, kilobytes)) < 16_000  # of 200 MB, with max_record_bytes at 1 MB
    for kind, told in zip(("jsonl, line 2: longer than", "json: a value longer than", "csv, line 2: longer than", "html: a page of more than"), problems, strict=False):  # fmt: skip
        assert f"x.{kind} max_record_bytes" in told
    assert "x.warc, record 1: malformed WARC record (no header); skipped" in problems[4]
    assert f"x.txt: {30 << 20} null bytes taken out" in problems[5]
