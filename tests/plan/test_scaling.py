"""The laws give back what was tuned where it was tuned, and what their authors publish elsewhere."""

import math

import pytest

from danlu.base.errors import UserError
from danlu.plan.scaling import batch_tokens, beta2, derive, describe, learning_rate, tokens, warmup, weight_decay


@pytest.mark.parametrize(
    ("parameters", "run", "batch"),
    [(9_000_000, 2_000_000, 8192), (2_900_000, 700_000, 4096)],
    ids=["10M of the defaults", "4.5M of the demo"],
)
def test_the_laws_agree_with_what_was_tuned_here(parameters: int, run: int, batch: int) -> None:
    assert batch_tokens(parameters, run).value == batch


def test_the_defaults_come_out_at_their_own_size() -> None:
    found = {name: item.value for name, item in derive(9_000_000, length=512, given={"tokens": 2_000_000}).items()}
    wanted = {"tokens": 2_000_000, "batch_tokens": 8192, "lr": 8e-3, "weight_decay": 0.1, "beta2": 0.95, "warmup": 0.05}
    assert found == wanted


def test_olmos_ladder_at_its_reference_size() -> None:
    """Its formulas at N = 108M, 20 tokens a parameter: 327,680 tokens, 0.0047 / 2, N tokens of warm-up, beta2 0.99."""
    run = 20 * 108_000_000
    batch = int(batch_tokens(108_000_000, run).value)
    assert batch == 2 ** round(math.log2(327_680))
    assert learning_rate(108_000_000, batch, batch, "adamw").value == pytest.approx(0.00235, rel=0.03)
    assert warmup(108_000_000, run).value == 0.05
    assert beta2(batch, run).value == 0.99
    assert beta2(524_288, run).value == 0.95


def test_muon_meets_nanochats_rate_at_its_depth_of_twelve() -> None:
    """0.02 at width 768; our Muon multiplies its updates by 0.2 sqrt(width). N: 12 x 12 x 768^2 + 32,768 x 768."""
    parameters = 12 * 12 * 768**2 + 32_768 * 768
    found = learning_rate(parameters, 1, 1).value
    assert found == pytest.approx(0.02 / (0.2 * math.sqrt(768)), rel=0.05)


def test_a_batch_that_is_given_moves_rate_and_decay_by_its_root() -> None:
    usual, more = (
        derive(9_000_000, length=512, given={"tokens": 2_000_000, **b}) for b in ({}, {"batch_tokens": 32_768})
    )
    assert more["lr"].value == pytest.approx(2 * usual["lr"].value, rel=0.02)
    assert more["weight_decay"].value == pytest.approx(2 * usual["weight_decay"].value, rel=0.02)
    assert more["batch_tokens"].source == "given"
    assert "8,192" in more["lr"].source
    # What a weight remembers, B / (rate x decay x D), is the same share of the run.
    remembered = [d["batch_tokens"].value / (d["lr"].value * d["weight_decay"].value) for d in (usual, more)]
    assert remembered[0] == pytest.approx(remembered[1], rel=0.05)
    assert weight_decay(8192, 8192).value == 0.1


def test_adamw_has_its_own_rate() -> None:
    assert learning_rate(9_000_000, 1, 1, "adamw").value < learning_rate(9_000_000, 1, 1, "muon").value


def test_tokens_stop_at_four_epochs_of_the_data() -> None:
    assert tokens(1_000_000).value == 20_000_000
    assert tokens(1_000_000, epoch=1_000_000).value == 4_000_000
    assert "Muennighoff" in tokens(1_000_000, epoch=1_000_000).source
    assert tokens(1_000_000, epoch=6_000_000).value == 20_000_000
    assert derive(1_000_000, length=8, per_parameter=5.0)["tokens"].value == 5_000_000


def test_a_batch_holds_at_least_one_sequence() -> None:
    assert batch_tokens(10_000, 10_000, 2048).value == 2048


def test_a_long_run_warms_up_for_as_many_tokens_as_it_has_weights() -> None:
    assert warmup(1_000_000, 100_000_000).value == 0.01
    assert warmup(1_000_000, 1_000_000).value == 0.05
    assert beta2(8192, 8192 * 1999).value == 0.95
    assert beta2(8192, 8192 * 2000).value == 0.99


def test_each_number_is_told_with_its_source() -> None:
    lines = list(describe(derive(9_000_000, length=512, given={"lr": 0.001})))
    assert [line.split("  ")[0] for line in lines] == [
        "tokens",
        "batch tokens",
        "lr",
        "weight decay",
        "beta2",
        "warmup",
    ]
    assert lines[0].split() == [
        "tokens",
        "180,000,000",
        *["(20", "for", "each", "weight", "that", "multiplies,", "Hoffmann", "et", "al.", "2022)"],
    ]
    assert lines[2].split() == ["lr", "0.001", "(given)"]
    assert len({line.index("(") for line in lines}) == 1


def test_a_number_that_is_not_derived_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'batch_tokens'"):
        derive(1_000_000, length=8, given={"batch_token": 8})
