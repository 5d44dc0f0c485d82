"""Which tokens may come next, against transformers' own rules, and how often they do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from danlu.base.errors import UserError
from danlu.generate.sample import Sampling, choose, penalised, restrict

VOCABULARY = 12
LOGITS = st.lists(st.integers(-400, 400), min_size=VOCABULARY, max_size=VOCABULARY, unique=True)


def warped(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """transformers' order: k first, then p of what is left."""
    none, rows = torch.empty(1, 0, dtype=torch.long), logits[None]
    if top_k:
        rows = TopKLogitsWarper(top_k)(none, rows)
    if top_p < 1:
        rows = TopPLogitsWarper(top_p)(none, rows)
    return rows[0]


@settings(max_examples=200, deadline=None)
@given(values=LOGITS, top_k=st.integers(0, VOCABULARY + 2), top_p=st.floats(0.01, 1.0))
def test_what_is_left_out_is_what_transformers_leaves_out(values: list[int], top_k: int, top_p: float) -> None:
    logits = torch.tensor(values) / 100
    assert torch.equal(restrict(logits, top_k, top_p), warped(logits, top_k, top_p))


def kept(logits: Tensor, top_k: int, top_p: float) -> list[int]:
    return torch.isfinite(restrict(logits, top_k, top_p)).nonzero().flatten().tolist()


@given(values=LOGITS, seen=st.lists(st.integers(0, VOCABULARY - 1)), penalty=st.floats(0.5, 3.0))
def test_the_penalty_on_repetition_is_that_of_transformers(values: list[int], seen: list[int], penalty: float) -> None:
    logits = torch.tensor(values) / 100
    wanted = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([seen], dtype=torch.long), logits[None])[0]
    assert torch.equal(penalised(logits, seen, penalty), wanted)


def test_a_penalty_changes_the_choice_and_not_what_the_model_says_of_it() -> None:
    logits, draw = torch.tensor([1.0, 2.0, 1.9]), torch.Generator()
    how = Sampling(temperature=0, repetition_penalty=1.2)
    token, logp = choose(logits, how, draw, [1, 1])
    assert (token, logp) == (2, float(torch.log_softmax(logits, 0)[2]))
    assert choose(logits, how, draw)[0] == choose(logits, Sampling(temperature=0), draw, [1])[0] == 1


def test_by_hand() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    assert kept(logits, 0, 1.0) == [0, 1, 2, 3]
    assert kept(logits, 1, 1.0) == [1]
    assert kept(logits, 2, 1.0) == [1, 3]
    assert kept(logits, 0, 0.39) == [1]
    assert kept(logits, 0, 0.41) == [1, 3]  # the token that crosses the line is kept
    assert kept(logits, 0, 0.95) == [0, 1, 2, 3]
    assert kept(logits, 3, 0.76) == [1, 3]  # of the three's 0.9: 0.44, 0.78
    assert kept(logits, 0, 1e-9) == [1]


def test_logits_that_are_kept_do_not_move() -> None:
    logits = torch.tensor([3.0, 1.0, 2.0])
    assert restrict(logits, 2, 0.999).tolist() == [3.0, float("-inf"), 2.0]
    assert logits.tolist() == [3.0, 1.0, 2.0]


def test_draws_follow_the_probabilities() -> None:
    probability = torch.tensor([0.1, 0.4, 0.2, 0.3])
    draws = torch.Generator().manual_seed(0)
    how = Sampling(temperature=0.5)
    found = torch.bincount(torch.tensor([choose(probability.log(), how, draws)[0] for _ in range(4000)]), minlength=4)
    expected = probability**2 / (probability**2).sum()  # temperature ½ squares them
    # Four standard deviations of a share of 4000 draws are at most 4 · √(¼ / 4000) = 0.032.
    assert (found / 4000 - expected).abs().max() < 0.032


def test_the_log_probability_is_the_models_own() -> None:
    """Not that of the cut and sharpened distribution: training compares it with the model's."""
    logits = torch.randn(9, generator=torch.Generator().manual_seed(1))
    for how in (Sampling(temperature=0), Sampling(temperature=0.3, top_k=2), Sampling(temperature=2.0, top_p=0.5)):
        token, logp = choose(logits, how, torch.Generator().manual_seed(0))
        assert logp == pytest.approx(float(torch.log_softmax(logits, 0)[token]))
    assert choose(logits, Sampling(temperature=0), torch.Generator())[0] == int(logits.argmax())


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("max_new_tokens", 0, "max_new_tokens must be at least 1, is 0"),
        ("temperature", -0.1, "temperature -0.1, top_k 0 or top_p 1.0 is out of range"),
        ("top_k", -1, "top_k -1"),
        ("top_p", 0.0, "top_p 0.0"),
        ("top_p", 1.1, "top_p 1.1"),
        ("repetition_penalty", 0.0, "repetition_penalty must be above 0, is 0.0. 1 is none"),
        ("repetition_penalty", float("nan"), "repetition_penalty must be above 0"),
    ],
)
def test_settings_out_of_range(name: str, value: float, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Sampling(**{name: value})  # type: ignore[arg-type]
