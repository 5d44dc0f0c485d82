"""Evaluation sets: the same items whatever file they come in; what is compared, and what is wrong."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.text.evalsets import Item, file_of, items, name_of

ROWS = [
    {"question": "How many legs has a spider?", "answer": "8", "level": "easy"},
    {"question": "蜘蛛有几条腿？", "answer": "八条", "level": "简单"},
]
EXPECTED = [Item("quiz", n, row["question"], (row["answer"],), tuple(row.values())) for n, row in enumerate(ROWS, 1)]


def written(folder: Path, ending: str, rows: list[dict[str, Any]] | None = None) -> Path:
    rows = ROWS if rows is None else rows
    path = folder / f"quiz{ending}"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending in (".csv", ".tsv"):
        with open(path, "w", encoding="utf-8-sig", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), delimiter="," if ending == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif ending == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif ending == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines, encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv", ".tsv"])
def test_every_format_gives_the_same_items(ending: str, tmp_path: Path) -> None:
    assert list(items(str(written(tmp_path, ending)))) == EXPECTED


def test_a_text_file_has_one_item_a_line(tmp_path: Path) -> None:
    path = tmp_path / "quiz.txt"
    path.write_text("first item\n\nthird line\n", encoding="utf-8")
    assert list(items(str(path))) == [
        Item("quiz", 1, "", (), ("first item\n",)), Item("quiz", 3, "", (), ("third line\n",)),
    ]  # fmt: skip


def test_all_texts_of_a_record_however_deep(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Which one?"}],
        "choices": {"text": ["red", "blue"], "label": ["A", "B"]},
        "target": 3, "ok": True, "nothing": None, "blank": " ",
    }  # fmt: skip
    (item,) = items(str(written(tmp_path, ".jsonl", [row])))
    assert item.texts == ("user", "Which one?", "red", "blue", "A", "B", "3")
    assert item.answers == ("3",)


def test_chosen_fields(tmp_path: Path) -> None:
    path = str(written(tmp_path, ".jsonl"))
    assert [item.texts for item in items(path, ("level",))] == [("easy",), ("简单",)]
    assert all(item.question == "" for item in items(path, ("level",)))
    with pytest.raises(UserError, match=r"line 1: none of the keys wrong \(keys: question, answer, level\)"):
        list(items(path, ("wrong",)))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("package:gsm8k", "gsm8k"),
        ("some/where/HumanEval.jsonl.gz", "HumanEval"),
        ("sets/gsm8k/test.jsonl", "gsm8k/test"),
        ("test.csv", "test"),
        ("a.b.parquet", "a.b"),
    ],
)
def test_names_say_which_set(given: str, name: str) -> None:
    assert name_of(given) == name


@pytest.mark.parametrize(("name", "count", "start"), [("gsm8k", 1319, "Janet"), ("humaneval", 164, "from typing")])
def test_sets_that_packages_ship(name: str, count: int, start: str) -> None:
    try:
        file_of(f"package:{name}")
    except UserError as error:
        pytest.skip(str(error))
    found = list(items(f"package:{name}"))
    assert len(found) == count
    assert found[0].question.startswith(start)
    assert found[0].answers


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'gsm8k'"):
        file_of("package:gsm8")
    with pytest.raises(UserError, match="no such file"):
        file_of(str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match="not a file of test items"):
        file_of(str(tmp_path))
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"question\n\xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        list(items(str(broken)))
