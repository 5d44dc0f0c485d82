import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.cli import main
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.pretrain import run as pretrain
from danlu.recipes.sft import Sft
from danlu.recipes.sft import run as sft
from danlu.recipes.tokenize import Tokenize
from danlu.recipes.tokenize import run as tokenize
from danlu.recipes.tokenizer import MEMORY_PER_BYTE, TrainTokenizer, measured, run
from danlu.text.document import Document
from danlu.tokens.shards import Shards
from danlu.tokens.tokenizer import Tokenizer

from .test_corpus import TRAIN, VALIDATION, cleaned

KINDS = ("bpe", "wordpiece", "unigram")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return cleaned(tmp_path / "clean", VALIDATION)


def trained(data: Path | str, out: Path, **changes: Any) -> Artifact:
    return run(TrainTokenizer((str(data),), out, **{"vocab_size": 300, **changes}))


def vocabulary(made: Artifact) -> list[str]:
    tokenizer = Tokenizer.load(made.path)
    return [tokenizer.token(i) for i in range(tokenizer.vocab_size)]


def test_documents_become_a_tokenizer_and_shards(data: Path, tmp_path: Path) -> None:
    made = trained(data, tmp_path / "tokenizer")
    tokenizer = Tokenizer.load(made.path)
    counts = {source: [0, 0] for source in ("zh", "en")}
    for text, source in VALIDATION:
        counts[source][0] += len(text.encode())
        counts[source][1] += len(tokenizer.encode(text))
    assert made.metrics["vocab_size"] == tokenizer.vocab_size == 300
    assert made.metrics["measured_on"] == "validation"
    assert made.metrics["sampled_bytes"] == sum(len(text.encode()) for text, _ in TRAIN)
    ratios = made.metrics["bytes_per_token_by_source"]
    assert ratios == pytest.approx({s: size / tokens for s, (size, tokens) in counts.items()}, abs=1e-4)
    assert min(ratios.values()) > 1.5
    assert made.metrics["round_trip_failures"] == made.metrics["unknown_share"] == 0
    assert list(made.manifest["inputs"]) == ["data"]

    tokens = tokenize(Tokenize(data, made.path, tmp_path / "tokens"))
    for side, texts in (("train", TRAIN), ("validation", VALIDATION)):
        shards = Shards.open(tokens.path / side)
        wanted = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text, _ in texts]
        assert [shards[i].tolist() for i in range(len(shards))] == wanted
        assert [shards.source_of(i) for i in range(len(shards))] == [source for _, source in texts]
        size = sum(len(text.encode()) for text, _ in texts)
        assert tokens.metrics[side] == {"documents": len(texts), "tokens": sum(map(len, wanted)), "bytes": size}
    assert list(tokens.manifest["inputs"]) == ["data", "tokenizer"]
    tokens.verify()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_model_is_trained_and_tuned_with_every_kind(kind: str, data: Path, tmp_path: Path) -> None:
    words = trained(data, tmp_path / "tokenizer", kind=kind, vocab_size=400)
    tokens = tokenize(Tokenize(data, words.path, tmp_path / "tokens"))
    few: Any = {"length": 64, "batch_tokens": 256, "precision": "fp32", "device": "cpu"}
    base = pretrain(Pretrain(data=tokens.path, out=tmp_path / "base", size="50K", tokens="1K", **few))
    turns = [{"role": "user", "content": "Who runs?"}, {"role": "assistant", "content": "the dog 天下"}]
    (tmp_path / "chats.jsonl").write_text("\n".join([json.dumps({"messages": turns})] * 4))
    tuned = sft(Sft(model=base.path, chats=(str(tmp_path / "chats.jsonl"),), out=tmp_path / "sft", **few))
    assert Tokenizer.load(tuned.path).encode("the dog") == Tokenizer.load(words.path).encode("the dog")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_recipe_gives_the_same_files(kind: str, data: Path, tmp_path: Path) -> None:
    first, second = (trained(data, tmp_path / name, kind=kind, vocab_size=350) for name in "ab")
    recipe = {"recipe.yaml": ""}  # names the directory
    assert first.manifest["outputs"] | recipe == second.manifest["outputs"] | recipe
    assert first.manifest["identity"] == second.manifest["identity"]


def test_what_is_lost_is_counted(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = trained(data, tmp_path / "tokenizer", kind="wordpiece", vocab_size=110)
    assert made.metrics["round_trip_failures"] == 1  # "runs": there is no "s" in the training text
    words = Tokenizer.load(made.path)
    texts = ["the dog", "the  dog", "the 龘 dog"]
    found = measured(words, iter([Document(text, str(i), "s") for i, text in enumerate(texts)]))
    assert (found["round_trip_failures"], found["documents"]) == (2, 3)
    assert found["unknown_share"] == round(1 / sum(len(words.encode(text)) for text in texts), 6)
    (tmp_path / "odd.txt").write_text("the  dog\n\n\tthe fox\n" * 20)
    capsys.readouterr()
    lost = trained(tmp_path / "odd.txt", tmp_path / "odd", kind="wordpiece", vocab_size=60)
    assert lost.metrics["round_trip_failures"] == 1
    assert "1 of 1 documents do not come back as they were; 0.000% of the tokens are unknown" in capsys.readouterr().err


def test_from_raw_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "the dog number {n}"}}\n' for n in range(300)))
    made = trained(tmp_path / "a.jsonl", tmp_path / "tokenizer")
    assert made.metrics["measured_on"] == "validation"
    assert 0 < made.metrics["documents"] < 20
    assert list(made.manifest["inputs"]) == ["data"]
    (tmp_path / "one.txt").write_text("the dog and the fox. " * 9)
    alone = trained(tmp_path / "one.txt", tmp_path / "alone")
    assert (alone.metrics["measured_on"], alone.metrics["documents"]) == ("train", 1)


def test_one_document_on_the_other_side_is_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.recipes.corpus.VALIDATION_SHARE", 1.0)
    (tmp_path / "one.txt").write_text("the dog and the fox. " * 9)
    alone = trained(tmp_path / "one.txt", tmp_path / "alone")
    assert (alone.metrics["measured_on"], alone.metrics["documents"]) == ("train", 1)


def test_without_validation_documents(tmp_path: Path) -> None:
    data = cleaned(tmp_path / "clean", [])
    made = trained(data, tmp_path / "tokenizer")
    assert made.metrics["measured_on"] == "train"
    tokens = tokenize(Tokenize(data, made.path, tmp_path / "tokens"))
    assert not (tokens.path / "validation").exists()


def test_every_key_changes_the_tokenizer(tmp_path: Path) -> None:
    """`kind`, `vocab_size`, `min_frequency`, `digits`, `coverage`, `special`, `sample_bytes`."""
    lines = ["the dog and the fox 1998 天下大势"] * 30 + ["qu zq 龘", "天下 the the the then"]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n" + "一二三四五六七八九十" * 40)
    plain: dict[str, Any] = {"bpe": {}, "wordpiece": {"coverage": 1.0}, "unigram": {"coverage": 1.0}}
    changes: dict[str, list[dict[str, Any]]] = {
        "bpe": [{"vocab_size": 280}, {"min_frequency": 1}, {"digits": 4}],
        "wordpiece": [{"vocab_size": 100}, {"min_frequency": 1}, {"digits": 4}, {"coverage": 0.99}],
        "unigram": [{"vocab_size": 302}, {"digits": 4}, {"coverage": 0.99}],
    }
    for kind, changed in changes.items():
        usual = vocabulary(trained(tmp_path / "text.txt", tmp_path / kind, kind=kind, vocab_size=340, **plain[kind]))
        for i, change in enumerate([*changed, {"special": ("<tool>",)}, {"sample_bytes": 400}]):
            values = {"kind": kind, "vocab_size": 340, **plain[kind], **change}
            found = trained(tmp_path / "text.txt", tmp_path / f"{kind}{i}", **values)
            assert vocabulary(found) != usual, change
            assert len(vocabulary(found)) <= values["vocab_size"]
            if "special" in change:
                assert vocabulary(found)[-1] == "<tool>"
                assert "<tool>" in Tokenizer.load(found.path).special_ids
            if "sample_bytes" in change:
                assert 300 < found.metrics["sampled_bytes"] <= 400


@pytest.mark.parametrize("kind", KINDS[1:])
def test_memory_bounds_the_sample(kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = 1000 * MEMORY_PER_BYTE[kind]
    made = trained(data, tmp_path / "tokenizer", kind=kind, memory=f"{room}B", vocab_size=400)
    assert 800 < made.metrics["sampled_bytes"] <= 1000
    assert "learning from 1000B of" in capsys.readouterr().err
    smaller = TrainTokenizer(("x",), kind=kind, memory=f"{room}B", sample_bytes=700)  # type: ignore[arg-type]
    assert smaller.limit == 700


def test_memory_bounds_what_bpe_holds_and_not_what_it_reads(data: Path, tmp_path: Path) -> None:
    made = trained(data, tmp_path / "tokenizer", memory="1MB")
    assert made.metrics["sampled_bytes"] == sum(len(text.encode()) for text, _ in TRAIN)
    assert made.metrics["different_words"] > 0
    assert TrainTokenizer(("x",)).limit == 0


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the dog and the fox. " * 9)
    arguments = ["tokenizer", "train", "text.txt", "--kind", "unigram", "--vocab", "300", "--out", "made"]
    assert main(arguments) == 0
    assert Tokenizer.load(Path("made")).decode(Tokenizer.load(Path("made")).encode("天下")) == "天下"
    assert main(["tokenizer", "train", "--config", "made/recipe.yaml", "--vocab-size", "310", "--out", "again"]) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": 10},
        {"vocab_size": 261, "special": ("<a>", "<b>")},
        {"kind": "bytes"},
        {"min_frequency": 0},
        {"digits": 0},
        {"coverage": 0.0},
        {"coverage": 1.5},
        {"sample_bytes": -1},
        {"memory": "much"},
        {"coverage": 0.9, "kind": "bpe"},
        {"min_frequency": 3, "kind": "unigram"},
    ],
)
def test_a_value_that_makes_no_sense_names_its_key(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(values))}"):
        TrainTokenizer(("x",), **values)


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        (b" \n" * 9, {}, "the corpus holds no text"),
        (b" \n" * 9, {"kind": "unigram"}, "the corpus holds no text"),
        (bytes(range(1, 9)) * 99, {"kind": "wordpiece"}, "the corpus holds no text"),  # and that it is not text is told
        (
            "一二三四五六七八九十".encode(),
            {"kind": "wordpiece", "vocab_size": 20},
            "smaller than the alphabet: 10 char",
        ),
        (b"the dog " * 50, {"special": ("<|pad|>",)}, "special token '<|pad|>' is already in the vocabulary"),
        (b"the dog " * 50, {"special": ("dog",), "kind": "wordpiece"}, "special token 'dog' is already in the vocab"),
        (b"the dog " * 50, {"special": ("<a>", "<a>")}, "special token '<a>' is already in the vocabulary"),
        (b"the dog " * 50, {"special": (" ",)}, "it has no letters"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, content: bytes, values: dict[str, Any], message: str
) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError) as caught:
        trained(tmp_path / "text.txt", tmp_path / "out", **values)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_inputs_leave_nothing_behind(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no such file"):
        trained(tmp_path / "none", out)
    with pytest.raises(UserError, match="no such file"):
        tokenize(Tokenize(data, tmp_path / "none", out))
    for shard in (data / "train").iterdir():
        shard.write_bytes(b"broken")
    with pytest.raises(UserError, match="not a shard of documents"):
        trained(data, out)
    assert not out.exists()


def test_bytes_per_token_names_the_largest_sources(data: Path, tmp_path: Path) -> None:
    words = Tokenizer.load(trained(data, tmp_path / "tokenizer").path)
    documents = [Document("x" * i, str(i), f"s{i}") for i in range(1, 40)]
    found = measured(words, iter(documents))
    assert list(found["bytes_per_token_by_source"])[:2] == ["s39", "s38"]
    assert len(found["bytes_per_token_by_source"]) == 20
    assert measured(words, iter([]))["bytes_per_token"] == 0


@pytest.mark.parametrize("module", ["tokenizer", "tokenizer_report"])
def test_the_stage_does_without_torch(module: str) -> None:
    code = f"import sys, danlu.recipes.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
