"""Steps that need a model, and steps that look for something, through the whole of `danlu clean`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.base import artifact
from danlu.evaluate.perplexity import fit
from danlu.model.transformer import Transformer
from danlu.recipes.clean import Clean, run
from danlu.recipes.explain import explain
from danlu.recipes.training import save_chat_model
from danlu.text.decontaminate import Decontaminate
from danlu.text.filters.perplexity import Perplexity
from danlu.text.filters.top_share import Bands
from danlu.text.write import read_documents
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

LINES = [f"The {n}th lighthouse keeper wrote {'sea and salt ' * (n % 5 + 1)}in his book." for n in range(30)]
QUESTION = "Which of the four old harbours on the northern coast was the first to close its gates for ever?"
Saved = tuple[Path, Transformer, Tokenizer]


@pytest.fixture(scope="module")
def model(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A model directory, its model and its tokenizer."""
    tokenizer = train_bpe(LINES, 300)
    made = tiny(vocab_size=tokenizer.vocab_size, max_length=64)
    folder = tmp_path_factory.mktemp("model") / "m"
    save_chat_model(made, tokenizer, folder)
    return folder, made, tokenizer


def clean(folder: Path, **settings: Any) -> artifact.Artifact:
    folder.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in LINES))
    values = {"inputs": (str(folder),), "out": folder.parent / f"{folder.name}-out", "validation_share": 0.0}
    return run(Clean(**{**values, **settings}))


def test_perplexity_of_a_real_model_then_bands(tmp_path: Path, model: Saved) -> None:
    """Numbers are those of evaluation, whoever works; the best third by them is the head."""
    path, network, tokenizer = model
    settings: dict[str, Any] = {
        "steps": ("perplexity", "bands"),
        "perplexity": Perplexity(model=path, device="cpu", length=64),
        "bands": Bands(keep=("head", "middle")),
        "task_megabytes": 0.001,
    }
    made = clean(tmp_path / "a", **settings)
    bits = {}
    for line in LINES:
        ids = np.array([tokenizer.bos_id, *tokenizer.encode(line)])
        bits[line] = fit(network, [(ids, len(line.encode()))], pad_id=tokenizer.pad_id).bits_per_byte
    ranked = sorted(LINES, key=bits.__getitem__)
    kept = {document.text: document.meta for document in read_documents(made.path / "train")}
    assert set(kept) == set(ranked[:20])
    assert {line for line, meta in kept.items() if meta["band"] == "head"} == set(ranked[:10])
    for line, meta in kept.items():
        assert meta["bits_per_byte"] == pytest.approx(bits[line], abs=1e-4)
    assert made.metrics["funnel"]["facts"]["perplexity"]["scored"] == len(LINES)
    two = clean(tmp_path / "b", workers=2, **settings)
    assert [d.text for d in read_documents(two.path / "train")] == list(kept)


def test_explaining_asks_the_model(tmp_path: Path, model: Saved) -> None:
    (tmp_path / "a.txt").write_text(LINES[0])
    recipe = Clean(steps=("perplexity",), perplexity=Perplexity(model=model[0], device="cpu", maximum=0.001))
    said = "\n".join(explain(recipe, tmp_path / "a.txt"))
    assert "DROPPED: perplexity_high" in said
    assert "bits a byte" in said


def test_the_report_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n" + json.dumps({"question": "So?"}))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text(f"I read it somewhere. {QUESTION} Nobody knew.")
    steps = {"steps": ("decontaminate",), "decontaminate": Decontaminate(sets=(tmp_path / "exam.jsonl",))}
    made = clean(tmp_path / "a", **steps)
    facts = made.metrics["funnel"]["facts"]["decontaminate"]
    assert facts["sets"] == {"exam": 2}
    assert facts["too_short"] == 1
    assert len(list(read_documents(made.path / "train"))) == len(LINES)
    page = (made.path / "report.html").read_text(encoding="utf-8")
    assert "exam" in page
    assert "contaminated" in page
