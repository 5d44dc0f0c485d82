import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.recipes.clean import Clean
from danlu.recipes.tokenizer import Tokenize, TrainTokenizer, compression, run, sample, tokenize
from danlu.text.document import Document
from danlu.text.write import Shards as DocumentShards
from danlu.tokens.shards import Encoded, Shards
from danlu.tokens.tokenizer import Tokenizer

TRAIN = [("话说天下大势，分久必合，合久必分。" * 4, "zh"), ("the dog and the fox run. " * 9, "en")] * 6
VALIDATION = [("天下大势分久必合。", "zh"), ("the fox and the dog.", "en"), ("the dog runs.", "en")]


def cleaned(path: Path, validation: list[tuple[str, str]]) -> Path:
    draft = artifact.begin(path, "clean", Clean(inputs=("x",), out=path))
    for side, texts in (("train", TRAIN), ("validation", validation)):
        with DocumentShards(path / side) as shards:
            for i, (text, source) in enumerate(texts):
                shards.add(Document(text, f"{source}:{i}", source))
    draft.finish()
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return cleaned(tmp_path / "clean", VALIDATION)


def test_documents_become_a_tokenizer_and_shards(data: Path, tmp_path: Path) -> None:
    made = run(TrainTokenizer(data, tmp_path / "tokenizer", vocab_size=300))
    tokenizer = Tokenizer.load(made.path)
    counts = {source: [0, 0] for source in ("zh", "en")}
    for text, source in VALIDATION:
        counts[source][0] += len(text.encode())
        counts[source][1] += len(tokenizer.encode(text))
    assert made.metrics["vocab_size"] == tokenizer.vocab_size == 300
    assert made.metrics["measured_on"] == "validation"
    ratios = made.metrics["bytes_per_token_by_source"]
    assert ratios == pytest.approx({s: size / tokens for s, (size, tokens) in counts.items()}, abs=1e-4)
    assert min(ratios.values()) > 1.5
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


def test_the_same_recipe_gives_the_same_files(data: Path, tmp_path: Path) -> None:
    first, second = (run(TrainTokenizer(data, tmp_path / name, vocab_size=300)) for name in "ab")
    recipe = {"recipe.yaml": ""}  # names the directory
    assert first.manifest["outputs"] | recipe == second.manifest["outputs"] | recipe
    assert first.manifest["identity"] == second.manifest["identity"]


def test_without_validation_documents(tmp_path: Path) -> None:
    data = cleaned(tmp_path / "clean", [])
    made = run(TrainTokenizer(data, tmp_path / "tokenizer", vocab_size=300))
    assert made.metrics["measured_on"] == "train"
    tokens = tokenize(Tokenize(data, made.path, tmp_path / "tokens"))
    assert not (tokens.path / "validation").exists()


@pytest.mark.parametrize("limit", [1, 10, 95, 500, 1000, 5000])
def test_a_sample_is_spread_evenly(limit: int) -> None:
    documents = [Document(f"{i:02d}" + "中" * 6, str(i), "s") for i in range(50)]  # 20 bytes each
    total = sum(document.bytes for document in documents)
    texts = list(sample(documents, total, limit))
    taken = sum(len(text.encode()) for text in texts)
    assert min(limit, total) - 3 < taken <= limit or taken == total  # 3: a character cut in the middle
    places = [int(text[:2]) for text in texts if len(text) > 2]
    gaps = {b - a for a, b in pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_one_large_document_is_cut() -> None:
    assert list(sample([Document("x" * 1000, "0", "s")], 1000, 10)) == ["x" * 10]


def test_bytes_per_token_names_the_largest_sources() -> None:
    documents = [Encoded([0, *range(i), 0], 3 * i, f"s{i}") for i in range(1, 40)]
    overall, by_source = compression(documents)
    assert overall == 3
    assert list(by_source)[:2] == ["s39", "s38"]
    assert len(by_source) == 20
    assert compression([]) == (0, {})


@pytest.mark.parametrize("values", [{"vocab_size": 10}, {"min_frequency": 0}, {"digits": 0}, {"sample_bytes": 0}])
def test_a_value_that_makes_no_sense_names_its_key(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(values))}"):
        TrainTokenizer(Path("x"), **values)


def test_missing_inputs_leave_nothing_behind(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="holds nothing"):
        run(TrainTokenizer(tmp_path / "none", out))
    with pytest.raises(UserError, match="no such file"):
        tokenize(Tokenize(data, tmp_path / "none", out))
    for shard in (data / "train").iterdir():
        shard.write_bytes(b"broken")
    with pytest.raises(UserError, match="not a shard of documents"):
        run(TrainTokenizer(data, out))
    assert not out.exists()


def test_the_stage_does_without_torch() -> None:
    code = "import sys, danlu.recipes.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
