from itertools import pairwise
from pathlib import Path

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.recipes.clean import Clean
from danlu.recipes.corpus import VALIDATION_SHARE, Corpus, parse_bytes, sample
from danlu.text.document import Document
from danlu.text.split import position
from danlu.text.write import Shards

TRAIN = [("话说天下大势，分久必合，合久必分。" * 4, "zh"), ("the dog and the fox run. " * 9, "en")] * 6
VALIDATION = [("天下大势分久必合。", "zh"), ("the fox and the dog.", "en"), ("the dog runs.", "en")]


def cleaned(path: Path, validation: list[tuple[str, str]]) -> Path:
    """What `danlu clean` leaves, without running it."""
    draft = artifact.begin(path, "clean", Clean(inputs=("x",), out=path))
    for side, texts in (("train", TRAIN), ("validation", validation)):
        with Shards(path / side) as shards:
            for i, (text, source) in enumerate(texts):
                shards.add(Document(text, f"{source}:{i}", source))
    draft.finish()
    return path


def texts_of(*given: object, side: str | None = None) -> list[str]:
    return [document.text for document in Corpus([str(item) for item in given]).documents(side)]  # type: ignore[arg-type]


def test_clean_documents_have_their_own_sides(tmp_path: Path) -> None:
    path = cleaned(tmp_path / "clean", VALIDATION)
    assert texts_of(path, side="train") == [text for text, _ in TRAIN]
    assert texts_of(path, side="validation") == [text for text, _ in VALIDATION]
    assert len(texts_of(path)) == len(TRAIN) + len(VALIDATION)
    assert Corpus([str(path)]).sources() == {"data": path}
    assert texts_of(cleaned(tmp_path / "whole", []), side="validation") == []


def test_raw_text_is_divided_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "number {n}"}}\n' for n in range(300)))
    (tmp_path / "b.txt").write_text("plain")
    sides = {side: texts_of(tmp_path / "a.jsonl", tmp_path / "b.txt", side=side) for side in ("train", "validation")}
    assert all(position(text, 0) < VALIDATION_SHARE for text in sides["validation"])
    assert sorted(sides["train"] + sides["validation"]) == sorted([*(f"number {n}" for n in range(300)), "plain"])
    assert 0 < len(sides["validation"]) < 20


def test_clean_and_raw_text_together(tmp_path: Path) -> None:
    path = cleaned(tmp_path / "clean", VALIDATION)
    (tmp_path / "b.txt").write_text("plain")
    assert texts_of(tmp_path / "b.txt", path) == [text for text, _ in [*TRAIN, *VALIDATION]] + ["plain"]
    assert Corpus([str(tmp_path / "b.txt"), str(path)]).sources() == {
        str(path): path,
        str(tmp_path / "b.txt"): tmp_path / "b.txt",
    }


def test_a_page_is_the_text_that_a_reader_came_for(tmp_path: Path) -> None:
    words = "The dog and the fox run over the hill, and they are seen by nobody but the moon. " * 5
    (tmp_path / "a.html").write_text(f"<html><body><article><p>{words}</p></article></body></html>")
    (text,) = texts_of(tmp_path / "a.html")
    assert text.startswith("The dog and the fox run over the hill")
    assert "<p>" not in text


def test_a_package_is_known_by_its_files(tmp_path: Path) -> None:
    corpus = Corpus(["package:numpy", "package:python"])
    assert [path.name for path in corpus.sources().values()] == ["RECORD", "topics.py"]
    assert all(path.is_file() for path in corpus.sources().values())


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n')
    (text,) = texts_of(tmp_path / "a.jsonl")
    assert text.encode()


def test_what_cannot_be_read_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.txt").write_text("plain")
    for n in range(8):
        (tmp_path / f"a{n}.txt").write_bytes(bytes(range(1, 9)) * 200)
    corpus = Corpus([str(tmp_path)])
    assert [document.text for document in corpus.documents()] == ["plain"]
    assert list(corpus.documents())
    said = capsys.readouterr().err
    assert said.count("not text; skipped") == 5
    assert said.count("and 3 more like these") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "needs at least one directory of 'danlu clean', file, folder"),
        (["none"], "no such file or directory"),
        (["empty"], "no readable file in it"),
        (["zero.txt"], "zero.txt: is empty"),
        (["package:nothing"], "unknown source 'package:nothing'"),
        (["tokens"], "was made by 'tokens', and 'clean' is needed"),
        (["unfinished"], "holds an unfinished run"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, given: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.txt").touch()
    artifact.begin(tmp_path / "tokens", "tokens", Clean(inputs=("x",))).finish()
    artifact.begin(tmp_path / "unfinished", "clean", Clean(inputs=("x",)))
    with pytest.raises(UserError, match=message):
        Corpus(given)


def test_the_output_lies_apart_from_the_text(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "b.txt").write_text("plain")
    corpus = Corpus([str(tmp_path / "text")])
    corpus.apart_from(tmp_path / "out")
    for out in (tmp_path, tmp_path / "text", tmp_path / "text" / "out"):
        with pytest.raises(UserError, match="overlaps the input"):
            corpus.apart_from(out)


@pytest.mark.parametrize("limit", [1, 10, 95, 500, 1000, 5000])
def test_a_sample_is_spread_evenly(limit: int) -> None:
    documents = [Document(f"{i:02d}" + "中" * 6, str(i), "s") for i in range(50)]  # 20 bytes each
    total = sum(document.bytes for document in documents)
    found = list(sample(documents, total, limit))
    taken = sum(document.bytes for document in found)
    assert min(limit, total) - 3 < taken <= limit or taken == total  # 3: a character cut in the middle
    places = [int(document.text[:2]) for document in found if len(document.text) > 2]
    gaps = {b - a for a, b in pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_one_large_document_is_cut() -> None:
    found = list(sample([Document("x" * 1000, "0", "s")], 1000, 10))
    assert [(document.text, document.source) for document in found] == [("x" * 10, "s")]


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5K", 1500), ("7", 7), ("1TB", 10**12)])  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text, "memory") == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "2 GiB", "two"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"recipe: memory: '.*' is no size such as 500MB or 2GB"):
        parse_bytes(text, "memory")
