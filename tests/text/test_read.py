"""Reading as a whole: every format, parts and tasks, and each setting."""

import csv
import dataclasses
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text import packages
from danlu.text.document import Document
from danlu.text.read import READERS, Part, Reading, parts, read, read_part, tasks
from danlu.text.reading.inputs import KINDS
from danlu.text.report import Funnel
from tests.text.reading.making import documents, jsonl, one_of_each, texts

ROWS = [f"Text number {n}. 第{n}个，“文本”。\nTwo lines." for n in range(8)]


def test_a_folder_with_every_format(tmp_path: Path) -> None:
    made = one_of_each(tmp_path)
    (tmp_path / "g.exe").write_text("not text")
    (tmp_path / ".h.txt").write_text("hidden")
    tally = Funnel()
    found: dict[str, list[Document]] = {}
    for document in documents(tmp_path, tally=tally):
        found.setdefault(Path(document.source).name, []).append(document)
    assert tally.problems == []
    assert list(found) == sorted(made)
    assert {
        kind for name in made for kind in [KINDS[Path(name.removesuffix(".gz").removesuffix(".zst")).suffix]]
    } == set(READERS)
    for name in ("a.txt", "b.md", "m.txt.gz"):
        assert [d.text for d in found[name]] == ["\n\n".join(ROWS)]
    for name in ("e.jsonl", "f.jsonl.gz", "g.jsonl.zst", "h.json", "i.csv", "o.parquet"):
        assert [d.text for d in found[name]] == ROWS, name
        assert [d.meta["url"] for d in found[name]] == [f"http://a.example/{n}" for n in range(8)]
    for name, number in (
        ("c.html", 1),
        ("d.xhtml", 1),
        ("n.html.zst", 1),
        ("k.warc", 3),
        ("l.warc.gz", 3),
        ("p.epub", 2),
    ):
        assert len(found[name]) == number
        assert all(d.meta["format"] == "html" and "<title>T</title>" in d.text and "，" in d.text for d in found[name])
    every = [d for group in found.values() for d in group]
    assert len({d.id for d in every}) == len(every)
    assert all(d.id.startswith(f"{d.source}:") for d in every)
    assert tally.sources == {str(tmp_path): [len(every), sum(d.bytes for d in every)]}
    assert every == documents(tmp_path)


def test_a_package_is_read_like_a_file() -> None:
    tally = Funnel()
    first = next(read(["package:python"], tally))
    assert first == next(packages.documents("python"))
    assert tally.sources == {"package:python": [1, first.bytes]}


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"text": "one"}, "bad", {"text": "two"})
    tally = Funnel()
    assert next(read([str(path)], tally)) == Document("one", f"{path}:1", str(path))
    assert tally.problems == []


# Parts and tasks


def lines(folder: Path, number: int = 300) -> Path:
    path = folder / "x.jsonl"
    records = [json.dumps({"text": "词" * (n % 37) + str(n)}, ensure_ascii=False) for n in range(number)]
    records[7], records[100] = "bad", ""
    path.write_text("\ufeff" + "\n".join(records), encoding="utf-8")  # no line feed at the end
    return path


@pytest.mark.parametrize("part_bytes", [1, 50, 1000, 4096, 10_000_000])
def test_ranges_of_a_jsonl_file_give_the_same_documents(tmp_path: Path, part_bytes: int) -> None:
    path = lines(tmp_path)
    whole, tally = documents(path), Funnel()
    cut = parts([str(path)], part_bytes=part_bytes)
    assert [d for part in cut for d in read_part(part, Reading(), tally)] == whole
    assert len(whole) == 298
    assert whole[98].id == f"{path}:100"
    assert whole[99].id == f"{path}:102"
    assert tally.problems == [f"{path}, line 8: malformed JSON (Expecting value at column 1); skipped"]
    assert [part.start for part in cut[1:]] == [part.start + part.bytes for part in cut[:-1]]
    assert sum(part.bytes for part in cut) == path.stat().st_size
    assert all(part.bytes >= part_bytes for part in cut[:-1])
    data = path.read_bytes()
    assert all(data[part.start - 1 : part.start] == b"\n" for part in cut[1:])
    assert [part.first for part in cut] == [data.count(b"\n", 0, part.start) + 1 for part in cut]


def test_ranges_are_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.text.reading.parts.BLOCK", 7)
    monkeypatch.setattr("danlu.text.reading.stream.BLOCK", 5)
    test_ranges_of_a_jsonl_file_give_the_same_documents(tmp_path, 300)


def test_ranges_of_a_parquet_file_give_the_same_documents(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" * 50 for n in range(1000)]}), path, row_group_size=64)
    whole = documents(path)
    cut = parts([str(path)], part_bytes=path.stat().st_size // 4)
    assert 3 <= len(cut) <= 5
    assert [d for part in cut for d in read_part(part, Reading(), Funnel())] == whole
    assert [(d.text, d.id) for d in whole] == [(f"row {n}" * 50, f"{path}:{n + 1}") for n in range(1000)]


@pytest.mark.parametrize(("name", "data"), [("x.jsonl", '{"text": "a"}\n'.encode("utf-16") * 9), ("x.parquet", b"PAR1" * 9), ("x.txt", b"a\n" * 99), ("x.jsonl.gz", b"a" * 99)])  # fmt: skip
def test_what_cannot_be_cut_stays_whole(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert parts([str(tmp_path / name)], part_bytes=10) == [Part(str(tmp_path / name), str(tmp_path / name), len(data))]


def test_a_part_is_json_and_comes_back(tmp_path: Path) -> None:
    for part in parts([str(lines(tmp_path)), "package:python"], part_bytes=1000):
        assert from_dict(Part, json.loads(json.dumps(to_dict(part)))) == part
        assert Part(**dataclasses.asdict(part)) == part


def test_tasks_keep_the_order_and_fill_up() -> None:
    sizes = [10, 20, 500_000, 30, 700_000, 5, 2_000_000, 1]
    given = [Part("g", f"{n}.txt", size) for n, size in enumerate(sizes)]
    grouped = tasks(given, 1_000_000)
    assert [part for group in grouped for part in group] == given
    assert [len(group) for group in grouped] == [4, 2, 1, 1]
    assert tasks([], 5) == []
    packed = [dataclasses.replace(part, path=f"{part.path}.gz") for part in given]
    assert len(tasks(packed, 1_000_000)) > len(grouped)  # compressed text counts for more
    assert len(tasks([Part("g", "a.txt", 1)] * 1000, 1_000_000)) == 5  # and opening a file for 4 kB


# Settings


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet"])
def test_columns(tmp_path: Path, name: str) -> None:
    row = {
        "text": "t",
        "body": "b",
        "id": "i",
        "key": "k",
        "url": "u",
        "link": "l",
        "date": "d",
        "day": "y",
        "title": "T",
        "head": "h",
    }
    path = tmp_path / name
    if name == "x.parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif name == "x.csv":
        with open(path, "w", newline="") as handle:
            csv.writer(handle).writerows([row, row.values()])
    else:
        path.write_text(json.dumps([row] if name == "x.json" else row))
    assert documents(path) == [Document("t", "i", str(path), {"url": "u", "date": "d", "title": "T"})]
    own = {
        "text_column": "body",
        "id_columns": ("no", "key"),
        "url_columns": ("link",),
        "date_columns": ("day",),
        "title_columns": ("head",),
    }
    assert documents(path, **own) == [Document("b", "k", str(path), {"url": "l", "date": "y", "title": "h"})]
    none = {"id_columns": (), "url_columns": (), "date_columns": (), "title_columns": ()}
    assert documents(path, **none)[0].id in (f"{path}:1", f"{path}:2")
    assert documents(path, **none)[0].meta == {}


def test_nested_metadata(tmp_path: Path) -> None:
    """As datatrove (a dictionary), and as Danlu's own shards (JSON in a string) have it."""
    nested = {"url": "u", "date": "2020"}
    path = jsonl(
        tmp_path / "x.jsonl",
        {"text": "a", "metadata": nested},
        {"text": "b", "meta": json.dumps(nested), "url": "own"},
        {"text": "c", "meta": "{no"},
    )
    assert [d.meta for d in documents(path)] == [{"url": "u", "date": "2020"}, {"url": "own", "date": "2020"}, {}]


def test_values_that_are_no_strings(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a"], "id": [7], "timestamp": [datetime(2020, 1, 2, 3, 4)], "url": [None]}), path)
    assert documents(path) == [Document("a", "7", str(path), {"date": "2020-01-02T03:04:00"})]
    assert (
        documents(jsonl(tmp_path / "x.jsonl", {"text": "a", "id": True, "url": ["x"]}))[0].id == f"{tmp_path}/x.jsonl:1"
    )


def test_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("été".encode("cp1252"))
    assert texts(tmp_path / "x.txt", encoding="cp1252") == ["été"]
    assert texts(tmp_path / "x.txt", encoding="cp1251") == ["йtй"]
    (tmp_path / "x.txt").write_bytes("a\u0101".encode("utf-16-le"))
    assert texts(tmp_path / "x.txt", encoding="utf-16-le") == ["aā"]


def test_repair(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("cafÃ© â€“ ä¸­æ–‡", encoding="utf-8")
    assert texts(tmp_path / "x.txt") == ["café – 中文"]
    assert texts(tmp_path / "x.txt", repair=False) == ["cafÃ© â€“ ä¸­æ–‡"]
    (tmp_path / "x.html").write_text("cafÃ©", encoding="utf-8")
    assert texts(tmp_path / "x.html") + texts(jsonl(tmp_path / "x.jsonl", {"text": "cafÃ©"})) == ["café", "café"]


def test_piece_characters(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one two\n\nthree four\n\nfive six")
    assert texts(tmp_path / "x.txt", piece_characters=10) == ["one two\n\n", "three ", "four\n\n", "five six"]
    assert len(texts(tmp_path / "x.txt")) == 1


def test_max_record_bytes(tmp_path: Path) -> None:
    made = one_of_each(tmp_path)
    for name in made:
        tally = Funnel()
        short = documents(made[name], tally=tally, max_record_bytes=20)
        if KINDS[Path(name.removesuffix(".gz").removesuffix(".zst")).suffix] == "plain":
            assert short, name  # text comes in pieces: nothing in it is too long
        else:
            assert short == [], name
            assert any("max_record_bytes" in problem for problem in tally.problems), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text_column", ""), ("id_columns", ("",)), ("url_columns", ("a", "")), ("date_columns", ("",)), ("title_columns", ("",)),
        ("encoding", "klingon"), ("encoding", "base64"), ("encoding", "a\0"), ("piece_characters", 0), ("max_record_bytes", 0),
        ("max_decompressed_bytes", 0), ("max_ratio", 0.5),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}: must"):
        Reading(**{key: value})  # type: ignore[arg-type]


def test_settings_are_a_recipe() -> None:
    reading = Reading(url_columns=("a", "b"), max_ratio=7)
    assert from_dict(Reading, to_dict(reading)) == reading


def test_a_fault_of_a_reader_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setitem(READERS, "page", (broken, "page"))
    (tmp_path / "a.html").write_text("x")
    (tmp_path / "b.txt").write_text("kept")
    tally = Funnel()
    assert texts(tmp_path, tally=tally) == ["kept"]
    assert tally.problems == [
        f"{tmp_path}/a.html: cannot be read, by a fault of Danlu (ZeroDivisionError: oh no); the rest was skipped"
    ]
