"""The whole list of bad input at once, through the command that users type: each costs itself, nothing shows a traceback."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.base import artifact
from danlu.text.write import read_documents
from tests.text.reading.making import one_of_each

GOOD = "A plain text about the sea and the salt in it, long enough to be kept by anybody."
MIXED = "Die Fähre verlässt die Insel. ".encode("latin-1") * 8 + "渡船一大早就离开了小岛。".encode() * 8


def command(source: Path, out: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "danlu", "clean", str(source), "--out", str(out), "--validation-share", "0", *more]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good text and everything that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("bad") / "in"
    folder.mkdir()
    (folder / "good.txt").write_text(GOOD)
    packed = gzip.compress(json.dumps({"text": GOOD}).encode() * 50)
    (folder / "truncated.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"0" * 300_000_000, compresslevel=9))
    (folder / "deep.html").write_text("<div>" * 100_000 + f"<p>{GOOD} It lies deep.")
    (folder / "nul.txt").write_bytes(b"\0" * 4096)
    (folder / "mixed.txt").write_bytes(MIXED)
    (folder / "malformed.warc").write_bytes(b"WARC/1.0\r\nContent-Length: nonsense\r\n\r\nhello")
    (folder / "malformed.parquet").write_bytes(b"PAR1" + b"\xff" * 64 + b"PAR1")
    (folder / "circle.txt").symlink_to("circle.txt")
    with open(folder / "line.jsonl", "wb") as handle:  # one line, mostly a hole in the file
        handle.write(b'{"text": "')
        handle.truncate(1 << 30)
    return folder


def test_each_costs_itself(bad: Path, tmp_path: Path) -> None:
    done = command(bad, tmp_path / "out", "--workers", "2", "--task-megabytes", "64")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    kept = [document.text for document in read_documents(tmp_path / "out" / "train")]
    assert GOOD in kept
    assert f"{GOOD} It lies deep." in kept
    funnel = artifact.load(tmp_path / "out").metrics["funnel"]
    problems = "\n".join(funnel["problems"])
    for name in (
        "truncated.jsonl.gz",
        "bomb.txt.gz",
        "line.jsonl",
        "malformed.warc",
        "malformed.parquet",
        "circle.txt",
    ):
        assert name in problems, problems
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "bomb.txt.gz" in page
    assert "malformed.parquet" in page


def test_a_full_disk_is_one_sentence(tmp_path: Path, small_disk: Path) -> None:
    """And once there is room, the same command goes on."""
    source = tmp_path / "in"
    source.mkdir()
    lines = [json.dumps({"text": f"{GOOD} {number} {'%x' % (number * 2654435761) * 40}"}) for number in range(3000)]
    (source / "a.jsonl").write_text("\n".join(lines))
    done = command(source, small_disk / "out")
    assert done.returncode == 2
    assert "no space left on the device" in done.stderr
    assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = command(source, small_disk / "out")
    assert again.returncode == 0, again.stderr
    assert len(list(read_documents(small_disk / "out" / "train"))) == 3000


def test_every_format_through_the_command(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    made = one_of_each(source)
    done = command(source, tmp_path / "out", "--length.minimum", "1", "--without", "exact")
    assert done.returncode == 0, done.stderr
    read = " ".join(document.id for document in read_documents(tmp_path / "out" / "train"))
    assert [name for name in made if name not in read] == []
