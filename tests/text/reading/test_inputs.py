"""Finding files: what a person typed wrong is an error, what is odd on the way is told and skipped."""

import os
import socket
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text.reading.faults import shown
from danlu.text.reading.inputs import kind, resolve
from danlu.text.reading.settings import Reading
from danlu.text.report import Funnel
from tests.text.reading.making import documents, texts


def names(*inputs: object, **settings: object) -> tuple[list[str], list[str]]:
    """The names of the files that are found, and the problems without the path of their folder."""
    tally = Funnel()
    found = resolve([str(i) for i in inputs], Reading(**settings), tally)  # type: ignore[arg-type]
    return [path.name for paths in found.values() for path in paths], [p.rpartition("/")[2] for p in tally.problems]


def tree(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "plain"), ("A.TXT.GZ", "plain"), ("a.md.zst", "plain"), ("a.htm", "page"), ("a.jsonl.zst", "lines"), ("a.json", "json"),
        ("a.tsv.gz", "table"), ("a.parquet", "parquet"), ("a.parquet.gz", ""), ("a.epub.zst", ""), ("c.warc.wet.gz", "warc"), ("a.gz", ""),
        ("txt", ""), (".gz", ""), ("a.exe", ""), ("", ""),
    ],
)  # fmt: skip
def test_kinds(name: str, expected: str) -> None:
    assert kind(name) == expected


def test_folders_come_sorted_without_hidden_files(tmp_path: Path) -> None:
    tree(tmp_path, "b.txt", "a/z.md", "a/b/c.txt", "a-b/d.txt", ".hidden/x.txt", "a/.x.txt", "a/x.exe")
    found = resolve([str(tmp_path)])[str(tmp_path)]
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/b/c.txt", "a/z.md", "a-b/d.txt", "b.txt"]


def test_patterns(tmp_path: Path) -> None:
    tree(tmp_path, "a.txt", "b.md", "deep/c.txt", "deep/er/d.txt", "deep/er/e.exe", "other/f.txt", "[x]/g.txt")
    assert names(tmp_path / "*.txt")[0] == ["a.txt"]
    assert names(tmp_path / "**/*.txt")[0] == ["g.txt", "a.txt", "c.txt", "d.txt", "f.txt"]
    assert names(tmp_path / "d*/**/*.txt")[0] == ["c.txt", "d.txt"]
    assert names(tmp_path / "**/er/*")[0] == ["d.txt"]
    assert names(tmp_path / "deep/**")[0] == ["c.txt", "d.txt"]
    assert names(tmp_path / "[x]/g.txt")[0] == ["g.txt"]  # what is there under the very name is meant


def test_patterns_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree(tmp_path, "a.txt", "deep/c.txt"))
    assert [d.id for d in documents("**/*.txt")] == ["a.txt:1", "deep/c.txt:1"]
    assert [d.id for d in documents(".")] == ["a.txt:1", "deep/c.txt:1"]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    tree(tmp_path, "a.txt", "b.md")
    (tmp_path / "c.txt").symlink_to(tmp_path / "a.txt")
    assert names(tmp_path / "a.txt", tmp_path / "*.t*", tmp_path, tmp_path / "b.md")[0] == ["a.txt", "b.md"]
    assert resolve([str(tmp_path), str(tmp_path / "b.md")])[str(tmp_path / "b.md")] == []


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.exe").write_text("x")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round.txt").symlink_to(tmp_path / "round.txt")
    for given, message in (
        ("missing.txt", r"missing\.txt: no such file or directory\. Check the path"),
        ("x.exe/y.txt", r"y\.txt: no such file or directory"),
        ("a\0b.txt", r"no such file|null"),
        ("n" * 300, "File name too long"),
        ("*.jsonl", r"\*\.jsonl: matches no readable file"),
        ("**/*.jsonl", "matches no readable file"),
        ("empty", r"empty: no readable file in it\. Supported: \.txt, \.md"),
        ("x.exe", r"x\.exe: unsupported kind of file\. Supported: \.txt"),
        ("pipe.txt", r"pipe\.txt: a named pipe, not a file"),
        ("gone.txt", r"gone\.txt: has disappeared"),
        ("round.txt", r"round\.txt: a link to itself"),
    ):
        with pytest.raises(UserError, match=message):
            resolve([str(tmp_path / given)])
    for inputs, message in (
        ([], "no input"), (["/dev/null"], "a device, not a file"),
        (["package:pyhton"], "Did you mean 'python'"), (["package:docstring-questions"], "gives chats, and documents are needed"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            resolve(inputs)


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"a\.txt: is empty\. Give a file"):
        resolve([str(tmp_path / "a.txt")])
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(UserError, match="and so are the other 1 files"):
        resolve([str(tmp_path)])
    (tmp_path / "c.txt").write_text("full")
    tally = Funnel()
    assert texts(tmp_path, tally=tally) == ["full"]
    assert tally.problems == [f"{tmp_path}/a.txt: empty file; skipped", f"{tmp_path}/b.jsonl: empty file; skipped"]


def test_links(tmp_path: Path) -> None:
    tree(tmp_path, "data/a.txt", "data/sub/b.txt", "far/c.txt")
    data = tmp_path / "data"
    (data / "up").symlink_to(data, target_is_directory=True)
    (data / "sub/far").symlink_to(tmp_path / "far", target_is_directory=True)
    (data / "sub/again").symlink_to(tmp_path / "far", target_is_directory=True)
    (data / "file.txt").symlink_to(tmp_path / "far/c.txt")  # as Hugging Face's cache keeps its files
    (data / "broken.txt").symlink_to(tmp_path / "nowhere")
    (data / "self").symlink_to(data / "self")
    broken = ["broken.txt: a link that leads nowhere; skipped", "self: a link to itself; skipped"]
    found, problems = names(data)
    assert found == ["a.txt", "file.txt", "b.txt"]
    assert sorted(problems) == sorted(
        broken + [f"{n}: a link to a folder, not entered (follow_links)" for n in ("up", "far", "again")]
    )
    found, problems = names(data, follow_links=True)
    assert sorted(found) == ["a.txt", "b.txt", "file.txt"]  # c.txt is file.txt
    again = [p for p in problems if p.endswith("leads back to a folder that is read already; skipped")]
    assert len(again) == 2
    assert sorted(set(problems) - set(again)) == sorted(broken)
    assert names(data / "up")[0] == ["a.txt", "file.txt", "b.txt"]  # a link that a person names is meant


def test_circles_of_links_below_a_pattern(tmp_path: Path) -> None:
    """`glob` would follow them forty deep, and with two of them never end."""
    tree(tmp_path, "a/x.txt", "b/y.txt")
    (tmp_path / "a/b").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b/a").symlink_to(tmp_path / "a", target_is_directory=True)
    assert names(tmp_path / "**/*.txt")[0] == ["x.txt", "y.txt"]
    assert names(tmp_path / "**/*.txt", follow_links=True)[0] == ["x.txt", "y.txt"]


def test_special_files_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    os.mkfifo(tmp_path / "pipe.exe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's name is short
        server.bind("s.jsonl")
    (tmp_path / "null.txt").symlink_to("/dev/null")
    (tmp_path / "folder.txt").mkdir()
    found, problems = names(tmp_path)
    assert found == ["a.txt"]
    assert sorted(problems) == [
        "null.txt: a device, not a file; skipped",
        "pipe.txt: a named pipe, not a file; skipped",
        "s.jsonl: a socket, not a file; skipped",
    ]
    assert names(tmp_path / "*.txt") == (
        ["a.txt"],
        ["null.txt: not a file that can be read; skipped", "pipe.txt: not a file that can be read; skipped"],
    )


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9\n.jsonl"
    try:
        Path(os.fsdecode(name)).write_text('{"text": "a"}\n{"text": "b"}\nbad\n')
    except OSError:
        pytest.skip("this file system takes no such names")
    tally = Funnel()
    found = documents(tmp_path, tally=tally)
    assert [d.id for d in found] == [f"{tmp_path}/caf\\xe9\\n.jsonl:1", f"{tmp_path}/caf\\xe9\\n.jsonl:2"]
    assert found[0].source.encode() == f"{tmp_path}/caf\\xe9\\n.jsonl".encode()
    assert tally.problems == [
        f"{tmp_path}/caf\\xe9\\n.jsonl, line 3: malformed JSON (Expecting value at column 1); skipped"
    ]
    assert documents(os.fsdecode(name)) == found
    with pytest.raises(UserError, match=r"x\\xff: no such file"):
        resolve([f"{tmp_path}/x\udcff"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [("a/中.txt", "a/中.txt"), ("a\udce9", "a\\xe9"), ("a\x1b[1m", "a\\x1b[1m"), ("\ud800", "\\ud800")],
)
def test_shown(given: str, expected: str) -> None:
    assert shown(given) == expected
