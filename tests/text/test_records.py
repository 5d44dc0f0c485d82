"""Records from every kind of file: the same ones, each with its place, and what is wrong with a file by name."""

import csv
import gzip
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.text.conversations import read_chats
from danlu.text.records import records, rows
from danlu.text.report import Funnel

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def test_the_same_chats_from_every_format(tmp_path: Path) -> None:
    records = [{"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER, USER, ANSWER]}]
    jsonl(tmp_path / "a.jsonl", *records)
    (tmp_path / "b.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "c.parquet")
    expected = [record["messages"] for record in records]
    for name in ("a.jsonl", "b.json", "c.parquet"):
        assert list(read_chats(tmp_path / name)) == expected
    assert list(read_chats(tmp_path)) == expected * 3


ROWS = [
    {"instruction": 'Say, "hi"', "input": "", "output": "two\nlines"},
    {"instruction": "天下；大势", "input": "a;b\tc", "output": "分久必合"},
]


def table(delimiter: str, **options: Any) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(ROWS[0]), delimiter=delimiter, **options)
    writer.writeheader()
    writer.writerows(ROWS)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.tsv.gz", "\t")]
)
def test_tables(tmp_path: Path, name: str, delimiter: str) -> None:
    raw = ("\ufeff" + table(delimiter)).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    found = list(records(tmp_path / name, Funnel()))
    assert [record for _, record in found] == ROWS
    assert [where for where, _ in found] == [f"{tmp_path / name}, line {line}" for line in (2, 4)]
    chats = list(read_chats(tmp_path / name))
    assert chats[1][0]["content"] == "天下；大势\n\na;b\tc"


def test_a_history_and_messages_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["instruction", "output", "history"])
        writer.writerow(["hi", "hello", json.dumps([["a", "b"]])])
    (found,) = read_chats(path)
    assert [turn["content"] for turn in found] == ["a", "b", "hi", "hello"]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["messages"], [json.dumps([USER, ANSWER])]])
    assert list(read_chats(path)) == [[USER, ANSWER]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"prompt,completion\na,b\na\nc,d\n", r"line 3: 1 fields, and the header has 2; skipped"),
        (b"prompt,completion\na,b\n\xff,c\nc,d\n", r"line 3: invalid UTF-8; skipped"),
    ],
)
def test_a_bad_row_is_counted(tmp_path: Path, text: bytes, problem: str) -> None:
    path, tally = tmp_path / "a.csv", Funnel()
    path.write_bytes(text)
    assert [record["prompt"] for _, record in records(path, tally)] == ["a", "c"]
    assert tally.problems == [f"{path}, {problem}"]
    with pytest.raises(UserError, match="line 3"):
        list(records(path, Funnel(), 0.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('prompt,completion\na,b\nc,"d\ne,f\n', r"line 3: not CSV \(unexpected end of data\)\. Close the quotation"),
        ("prompt,prompt\na,b\n", "line 1: names a column twice, or not at all"),
        ("prompt,\na,b\n", "line 1: names a column twice, or not at all"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=problem):
        list(records(path, Funnel()))


def save_to_disk(folder: Path, records: list[dict[str, Any]], **state: Any) -> Path:
    """What ``Dataset.save_to_disk`` of the library datasets 5.2 writes, in two files."""
    folder.mkdir(parents=True)
    whole = pa.Table.from_pylist(records)
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    for number, name in enumerate(names):
        part = whole.slice(number * 2, 2)
        with pa.OSFile(str(folder / name), "wb") as handle, pa.ipc.new_stream(handle, part.schema) as stream:
            stream.write_table(part)
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": "train", **state}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_what_datasets_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [{"prompt": f"q{number}", "completion": "a"} for number in range(3)]
    one = save_to_disk(tmp_path / "one", given)
    assert list(rows(one, Funnel())) == [(f"{one}, row {n}", record) for n, record in enumerate(given, 1)]
    several = tmp_path / "several"
    save_to_disk(several / "test", given[:1])
    train = save_to_disk(several / "train", given[1:])
    (several / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert [where for where, _ in rows(several, Funnel())] == [f"{train}, row 1", f"{train}, row 2"]
    assert "of the splits train, test 'train' is read" in capsys.readouterr().err
    assert len(list(read_chats(several / "test"))) == 1


def test_what_is_wrong_with_a_saved_folder(tmp_path: Path) -> None:
    given = [{"prompt": "q", "completion": "a"}]
    chosen = save_to_disk(tmp_path / "chosen", given, _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(UserError, match=r"chosen: is a selection of rows.* Call flatten_indices\(\)"):
        list(rows(chosen, Funnel()))
    damaged = save_to_disk(tmp_path / "damaged", given)
    (damaged / "data-00000-of-00002.arrow").write_bytes(b"no")
    with pytest.raises(UserError, match=r"data-00000-of-00002\.arrow: not a stream of Arrow"):
        list(rows(damaged, Funnel()))
    parts = tmp_path / "parts"
    for name in ("a", "b"):
        save_to_disk(parts / name, given)
    (parts / "dataset_dict.json").write_text('{"splits": ["a", "b"]}')
    with pytest.raises(UserError, match=r"has the splits a, b, and no 'train'\. Name one, as .*parts/a"):
        list(rows(parts, Funnel()))


def test_a_name_of_datasets(tmp_path: Path) -> None:
    """With the library: a folder is a name, too. Without it: one sentence with the pip line."""
    jsonl(tmp_path / "train.jsonl", *[{"prompt": f"q{number}", "completion": "a"} for number in range(4)])
    given = f"datasets:{tmp_path}"
    if importlib.util.find_spec("datasets") is None:
        with pytest.raises(UserError, match=r"which is not installed\. pip install datasets"):
            list(rows(given, Funnel()))
        return
    assert [record["prompt"] for _, record in rows(given, Funnel())] == ["q0", "q1", "q2", "q3"]
    assert [where for where, _ in rows(f"{given}:train[1:3]", Funnel())] == [
        f"{given}:train[1:3], row {n}" for n in (1, 2)
    ]
    with pytest.raises(UserError, match="datasets cannot load it"):
        list(rows(f"{given}:nowhere", Funnel()))


def test_malformed_lines_are_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": [USER, ANSWER]})
    path.write_text(path.read_text() + "{broken\n")
    tally = Funnel()
    assert len(list(read_chats(path, tally))) == 1
    assert tally.problems[0].startswith(f"{path}, line 2: malformed JSON")
    with pytest.raises(UserError, match=r"x\.jsonl, line 2: malformed JSON"):
        list(read_chats(path, bad_share=0))


def test_files_that_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"messages": []}')
    with pytest.raises(UserError, match=r"x\.json: is not a JSON list"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text('[\n{"a": 1},\n{"b" 2}]')
    with pytest.raises(UserError, match=r"x\.json, line 3: malformed JSON"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.json").write_text("")
    with pytest.raises(UserError, match=r"x\.json: is empty"):
        list(read_chats(tmp_path / "x.json"))
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(UserError, match=r"x\.txt: is not a file of records\. Supported: \.jsonl"):
        list(read_chats(tmp_path / "x.txt"))
    with pytest.raises(UserError, match=r"y\.jsonl: no such file"):
        list(read_chats(tmp_path / "y.jsonl"))
