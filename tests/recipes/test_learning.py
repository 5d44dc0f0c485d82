"""What a pretraining run learns, and in what order: each key changes the run, and hidden tokens are found."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.errors import UserError
from danlu.model.hub import load_model, read_config
from danlu.objectives.settings import Masking, PredictAhead
from danlu.recipes import pretrain
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.shape import Shape
from danlu.tokens.curriculum import Curriculum
from danlu.tokens.tokenizer import Tokenizer

FEW: dict[str, Any] = {"size": "100K", "length": 64, "batch_tokens": 512, "tokens": "3K", "precision": "fp32"}


def trained(made: Path, out: Path, **changes: Any) -> Path:
    return pretrain.run(Pretrain(data=made / "tokens", out=out, **{**FEW, "evaluations": 1, **changes})).path


def losses(path: Path, kind: str = "train") -> list[float]:
    rows = map(json.loads, (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [row["loss"] for row in rows if row["kind"] == kind]


@pytest.fixture(scope="module")
def plain(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(made, tmp_path_factory.mktemp("plain") / "out")


@pytest.mark.parametrize(
    "changes",
    [
        {"z_loss": 0.01},
        {"predict_ahead": PredictAhead(2)},
        {"packing": "best_fit"},
        {"curriculum": Curriculum("length")},
        {"curriculum": Curriculum("length", share=0.9, start=0.3, pacing="linear")},
    ],
    ids=str,
)
def test_each_key_changes_the_run_and_the_model_stays_one(
    made: Path, plain: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = trained(made, tmp_path / "out", **changes)
    assert losses(path) != losses(plain)
    assert read_config(path) == read_config(plain)
    assert load_model(path)(torch.tensor([[1, 2, 3]])).isfinite().all()


def test_predicting_ahead_says_what_each_head_learned(made: Path, tmp_path: Path) -> None:
    path = trained(made, tmp_path / "out", predict_ahead=PredictAhead(2, weight=0.5))
    first = json.loads((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert {"next_token", "ahead_1", "ahead_2"} <= set(first)
    again = trained(made, tmp_path / "again", predict_ahead=PredictAhead(2, weight=0.1))
    assert losses(again) != losses(path)


def test_hidden_tokens_are_found_by_an_encoder(made: Path, tmp_path: Path) -> None:
    """A model that knows nothing has a loss of ln 400 = 6.0; the sentences are few and alike."""
    path = trained(made, tmp_path / "out", objective="masked", tokens="60K", evaluations=4)
    config, tokenizer = read_config(path), Tokenizer.load(path)
    assert not config.causal
    assert tokenizer.config["mask_token"] == "<|mask|>"
    assert config.vocab_size == tokenizer.vocab_size
    found = losses(path, "eval")
    assert losses(path)[0] > 5.5
    assert found[-1] < min(2.5, found[0]), found
    assert not (path / "samples.jsonl").exists()  # an encoder has nothing to say
    further = trained(made, tmp_path / "further", objective="masked", from_model=path, size=None, rewarm=0.1)
    assert losses(further, "eval")[0] == pytest.approx(found[-1], rel=1e-4)


@pytest.mark.parametrize(
    "masking", [Masking("word"), Masking("span"), Masking(share=0.4), Masking(masked=0.5)], ids=str
)
def test_each_way_of_masking_is_another(made: Path, masking: Masking, tmp_path: Path) -> None:
    found = losses(trained(made, tmp_path / "a", objective="masked", tokens="1K"))
    assert losses(trained(made, tmp_path / "b", objective="masked", tokens="1K", masking=masking)) != found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"masking": Masking("word")}, "recipe: masking: nothing is masked. Use --objective masked"),
        ({"objective": "masked", "predict_ahead": PredictAhead(1)}, "predict_ahead: an encoder does not write"),
        ({"objective": "masked", "prompts": ("Once",)}, "recipe: prompts: an encoder does not write"),
        ({"z_loss": -1.0}, "recipe: z_loss: must not be negative"),
        ({"curriculum": Curriculum("length"), "replay": Path("x"), "from_model": Path("y")}, "curriculum: what is rep"),
    ],
)
def test_what_says_nothing_together_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Pretrain(data=Path("tokens"), **changes)


@pytest.mark.parametrize(
    ("objective", "causal", "problem"),
    [
        ("masked", True, "sees what came before, and the objective is masked. Use --objective causal"),
        ("causal", False, "sees both sides, and the objective is causal. Use --objective masked"),
    ],
)
def test_the_objective_must_fit_the_model(
    made: Path, objective: Any, causal: bool, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=problem):
        trained(made, tmp_path / "out", objective=objective, shape=Shape(causal=causal))


def test_a_curriculum_by_source_names_sources_that_there_are(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no source is called 'novels'"):
        trained(made, tmp_path / "out", curriculum=Curriculum("source", sources=("novels",)))
