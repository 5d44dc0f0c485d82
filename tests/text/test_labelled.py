"""Records with labels: every known shape is read, and what means nothing is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from danlu.base.errors import UserError
from danlu.text.labelled import joined, read_samples, sample, words_of
from danlu.text.sample import Kind


def lines(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return path


def test_labels_from_every_kind_of_file(tmp_path: Path) -> None:
    records = [{"text": "tea, hot", "label": "a"}, {"text": "冷 雨", "label": "b"}]
    (tmp_path / "a.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text('text,label\n"tea, hot",a\n冷 雨,b\n', encoding="utf-8")
    (tmp_path / "a.tsv").write_text("text\tlabel\ntea, hot\ta\n冷 雨\tb\n", encoding="utf-8-sig")
    lines(tmp_path / "a.jsonl", *records)
    for name in ("a.json", "a.parquet", "a.csv", "a.tsv", "a.jsonl"):
        found = read_samples(tmp_path / name, "classify")
        assert [(s.text, s.labels, s.multi) for s in found] == [("tea, hot", ("a",), False), ("冷 雨", ("b",), False)]
        assert name in found[1].where
    assert len(read_samples(tmp_path, "classify")) == 10


def test_labels_are_names() -> None:
    def labels(value: Any) -> Any:
        return sample({"text": "x", "label": value}, "classify", "here").labels

    assert (labels(3), labels(3.0), labels(0.5), labels(True), labels(" a ")) == (
        ("3",),
        ("3",),
        ("0.5",),
        ("True",),
        ("a",),
    )
    several = sample({"text": "x", "labels": ["b", "a", "b"]}, "classify", "here")
    assert (several.labels, several.multi) == (("a", "b"), True)
    assert sample({"text": "x", "labels": []}, "classify", "here").labels == ()
    assert sample({"text": "x", "text_pair": "y", "label": "a"}, "classify", "here").pair == "y"
    assert sample({"text": "x"}, "classify", "here", need=False).labels is None


def test_conll(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("-DOCSTART- O\n\n# id 1\nAnna NN B-PER\n# O O\n\n\n王\tB-PER\n明\tI-PER\r\n", encoding="utf-8")
    first, second = read_samples(file, "tag")
    assert (first.words, first.tags, first.where) == (("Anna", "#"), ("B-PER", "O"), f"{file}, line 4")
    assert (second.text, second.words, second.tags) == ("王明", ("王", "明"), ("B-PER", "I-PER"))
    file.write_text("Anna\nwalks\n")
    with pytest.raises(UserError, match="line 1: a word without a tag"):
        read_samples(file, "tag")
    assert read_samples(file, "tag", need=False)[0].tags is None
    tagged = sample({"tokens": ["a", "b"], "ner_tags": [0, 1]}, "tag", "here")
    assert tagged.tags == ("0", "1")


def test_questions_flat_and_nested(tmp_path: Path) -> None:
    flat = {"id": 7, "question": "who?", "context": "Anna walks", "answers": {"text": ["Anna"], "answer_start": [0]}}
    for answers in (flat["answers"], {"text": "Anna", "answer_start": 0}, [{"text": "Anna", "answer_start": 0}]):
        found = sample({**flat, "answers": answers}, "qa", "here")
        assert (found.text, found.pair, found.answers, found.name) == ("who?", "Anna walks", (("Anna", 0),), "7")
    asked = {"question": "who?", "id": "q1", "answers": [], "is_impossible": True}
    nested = {"data": [{"title": "t", "paragraphs": [{"context": "Anna walks", "qas": [asked]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(nested))
    (found,) = read_samples(tmp_path / "squad.json", "qa")
    assert (found.pair, found.answers) == ("Anna walks", ())
    (tmp_path / "list.json").write_text(json.dumps([flat]))
    assert len(read_samples(tmp_path / "list.json", "qa")) == 1
    (tmp_path / "odd.json").write_text(json.dumps({"data": [{}]}))
    with pytest.raises(UserError, match="not a file of questions"):
        read_samples(tmp_path / "odd.json", "qa")


def test_pairs_and_numbers() -> None:
    assert sample({"text": "x", "score": "2.5"}, "regress", "here").score == 2.5
    found = sample({"query": "q", "positive": "p", "negative": "n"}, "embed", "here")
    assert (found.text, found.pair, found.negative, found.score) == ("q", "p", "n", None)
    assert sample({"text": "x", "text_pair": "y", "score": 1}, "embed", "here").score == 1.0


def test_words_and_their_spaces() -> None:
    assert words_of("Anna's 3 teas, 你好world。") == ("Anna", "'", "s", "3", "teas", ",", "你", "好", "world", "。")
    assert words_of("abc中文def") == ("abc", "中", "文", "def")
    assert joined(("Anna", "saw", "王", "明", "。", "ok", "안녕", "하세요")) == "Anna saw王明。ok 안녕 하세요"


def test_a_text_a_line_can_be_predicted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \r\n", encoding="utf-8")
    assert [s.text for s in read_samples(tmp_path / "a.txt", "classify", need=False)] == ["one", "two"]
    assert [s.words for s in read_samples(tmp_path / "a.txt", "tag", need=False)] == [("one",), ("two",)]
    with pytest.raises(UserError, match="is not a file of records"):
        read_samples(tmp_path / "a.txt", "classify")


@pytest.mark.parametrize(
    ("kind", "record", "message"),
    [
        ("classify", {"text": " ", "label": "a"}, "no text under 'text'"),
        ("classify", {"text": "x", "label": {"a": 1}}, "neither a name nor a number"),
        ("classify", {"text": "x", "label": "a", "text_pair": 3}, "'text_pair' is no text"),
        ("tag", {"tokens": "x", "tags": ["a"]}, "no list of words"),
        ("tag", {"tokens": ["x"], "tags": "a"}, "no list of tags for 1 words"),
        ("tag", {"tokens": ["x"], "tags": [None]}, "neither a name nor a number"),
        ("qa", {"question": "q", "context": "c"}, "no answers"),
        ("qa", {"question": "q", "answers": []}, "no text under 'context'"),
        ("qa", {"question": "q", "context": "c", "answers": [{"text": "c"}]}, "needs a text and where it begins"),
        ("regress", {"text": "x", "score": True}, "is no number"),
        ("regress", {"text": "x", "score": "nan"}, "is no number"),
        ("regress", {"text": "x"}, "no score"),
        ("embed", {"query": "x"}, "no text under 'positive'"),
    ],
)
def test_what_means_nothing_is_named(kind: Kind, record: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"a.jsonl, line 3: .*{message}"):
        sample(record, kind, "a.jsonl, line 3")


def test_lines_that_cannot_be_read_are_forgiven_up_to_a_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [json.dumps({"text": f"x{n}", "label": "a"}) for n in range(9)]
    (tmp_path / "a.jsonl").write_text("\n".join(["{broken", *good]))
    assert len(read_samples(tmp_path / "a.jsonl", "classify")) == 9
    assert "1 records of" in capsys.readouterr().err
    with pytest.raises(UserError, match="line 1: malformed JSON"):
        read_samples(tmp_path / "a.jsonl", "classify", bad_share=0.0)
    (tmp_path / "b.csv").write_text("text,label\nx,a\ny\n")
    with pytest.raises(UserError, match="line 3: 1 fields, and the header has 2"):
        read_samples(tmp_path / "b.csv", "classify", bad_share=0.0)
    (tmp_path / "c.conll").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="invalid UTF-8"):
        read_samples(tmp_path / "c.conll", "tag")
    (tmp_path / "d.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no record"):
        read_samples(tmp_path / "d.jsonl", "classify")
