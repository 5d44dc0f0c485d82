"""Scorers: Danlu's own way of measuring, transformers' logits and the n-gram model must agree with what they stand for."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from danlu.base.errors import UserError
from danlu.evaluate.perplexity import fit
from danlu.model.transformer import Transformer
from danlu.recipes import scorer
from danlu.recipes.scorer import NeuralScorer, NgramScorer, perplexity_scorer
from danlu.recipes.training import save_chat_model
from danlu.text import stamp
from danlu.text.filters import ngram
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

TEXTS = [
    "the cat sat on the mat " * 9,
    "",
    "天地玄黄",
    "a",
    "dogs and cats, " * 3,
    "the " * 70,
    "half a pair \ud800 here",
]


@pytest.fixture(scope="module")
def saved(tiny: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Transformer, Tokenizer]:
    tokenizer = train_bpe(TEXTS[:5] * 3, 300)
    model = tiny(vocab_size=tokenizer.vocab_size, max_length=32)  # type: ignore[operator]
    folder = tmp_path_factory.mktemp("model") / "m"
    save_chat_model(model, tokenizer, folder)
    return folder, model, tokenizer


def test_it_measures_as_evaluation_does(saved: tuple[Path, Transformer, Tokenizer]) -> None:
    folder, model, tokenizer = saved
    found = perplexity_scorer(folder, "cpu", length=32, batch=3)(TEXTS)
    for text, bits in zip(TEXTS, found, strict=True):
        text = text.encode("utf-8", "replace").decode()
        ids = np.array([tokenizer.bos_id, *tokenizer.encode(text)])
        expected = fit(model, [(ids, len(text.encode()))], pad_id=tokenizer.pad_id).bits_per_byte if text else 0.0
        assert bits == pytest.approx(expected, abs=1e-5)


def test_other_architectures_come_through_transformers(saved: tuple[Path, Transformer, Tokenizer]) -> None:
    """The same weights by both ways; a Llama is what both can read."""
    pytest.importorskip("transformers")
    folder = saved[0]
    ours, theirs = scorer._native(folder, torch.device("cpu")), scorer._foreign(folder, torch.device("cpu"))
    assert ours.longest == theirs.longest == 32
    ids, mask = [[1, 2, 3, 4, 5], [6, 7, 8]], [[0.0, 1, 1, 1, 1], [0.0, 1, 0]]
    assert ours.nats(ids, mask) == pytest.approx(theirs.nats(ids, mask), abs=1e-4)
    assert ours.encode("the cat") == theirs.encode("the cat")


def test_batches_and_windows(saved: tuple[Path, Transformer, Tokenizer]) -> None:
    folder = saved[0]
    one, many = (perplexity_scorer(folder, "cpu", 32, batch)(TEXTS) for batch in (1, 16))
    assert one == pytest.approx(many, abs=1e-5)
    assert [NeuralScorer(folder, "cpu", 32, 4)([text])[0] for text in TEXTS] == pytest.approx(many, abs=1e-5)
    short = NeuralScorer(folder, "cpu", 8, 4)(TEXTS)
    assert short[2] == pytest.approx(many[2], abs=1e-5)  # fits into a window
    assert abs(short[0] - many[0]) > 1e-4  # does not, and sees less


def test_a_scorer_can_be_sent_to_a_worker(saved: tuple[Path, Transformer, Tokenizer]) -> None:
    made = perplexity_scorer(str(saved[0]), "cpu", 16, 2)
    assert copy.copy(made) == made == NeuralScorer(saved[0], "cpu", 16, 2)
    assert hash(made) == hash(copy.copy(made))


def test_an_ngram_model_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamp, "SECONDS", 0.0)
    model = ngram.train(["the cat sat on the mat"] * 3, order=4, bits=12)
    model.save(tmp_path)
    made = perplexity_scorer(tmp_path)
    assert made == NgramScorer(tmp_path)
    assert list(made(TEXTS)) == model.score(TEXTS)
    ngram.train(["xyz"] * 9, order=2, bits=12).save(tmp_path)
    (tmp_path / "model.json").touch()
    assert list(made(TEXTS)) != model.score(TEXTS)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        perplexity_scorer(tmp_path / "none")
    with pytest.raises(UserError, match="danlu quality --kind ngram"):
        perplexity_scorer(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        perplexity_scorer(tmp_path)(["text"])
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}', encoding="utf-8")
    with pytest.raises(UserError, match="cannot read it as a causal language model"):
        perplexity_scorer(tmp_path)(["text"])
