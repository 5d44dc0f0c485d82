"""The rules of fine-tuning give back what their sources say where they say it."""

import pytest

from danlu.plan.tuning import batch_tokens, epochs, learning_rate, length, warmup
from danlu.recipes.methods import RATES


def test_alpaca_comes_out_as_it_was_trained() -> None:
    """Taori et al. 2023: 52,000 examples of some 150 tokens, 128 a step, three epochs, three percent of warm-up."""
    batch = int(batch_tokens(52_000 * 150, 512).value)
    assert batch == 16_384  # the power of two next to 19,200
    assert epochs(52_000, 52_000 * 150 / batch).value == 3
    assert warmup(1218).value == 0.03


@pytest.mark.parametrize(
    ("conversations", "steps", "passes"),
    [(326_000, 4000.0, 2), (1000, 70.0, 3), (91, 5.5, 10), (91, 12.0, 5), (2, 0.1, 10)],
)
def test_small_sets_are_read_more_often(conversations: int, steps: float, passes: float) -> None:
    assert epochs(conversations, steps).value == passes


def test_a_step_holds_a_row_and_grows_with_the_data() -> None:
    found = [int(batch_tokens(tokens, 64).value) for tokens in (10_000, 150_000, 10**6, 10**8)]
    assert found == [2048, 4096, 8192, 65_536]
    small = batch_tokens(100, 512)
    assert (small.value, small.source[:7]) == (512, "one row")


def test_a_row_holds_nearly_all_conversations() -> None:
    lengths = [100] * 98 + [500, 4000]
    assert length(lengths, 8192).value == 512
    assert length(lengths, 256).value == 256
    assert length([64] * 10, 8192).value == 64


def test_a_short_run_still_warms_up() -> None:
    assert warmup(50).value == 0.1
    assert warmup(10).value == 0.2


def test_rates_fall_with_the_size() -> None:
    at = [float(learning_rate(1e-3, n, "lora").value) for n in (135_000_000, 135_000_000 * 8, 10_000, 1_000_000)]
    assert at[0] == 1e-3
    assert at[1] == pytest.approx(1e-3 / 8**0.4, rel=0.02)
    assert at[2] == at[3] > at[0]  # nothing was tuned below a million
    assert "--method lora: 0.001 tuned at 135M" in learning_rate(1e-3, 9_000_000, "lora").source


def test_rates_meet_alpacas_at_seven_billion() -> None:
    """Taori et al. 2023: AdamW at 2e-5, in full."""
    assert learning_rate(RATES["full"], 6_600_000_000, "full", "adamw").value == pytest.approx(2e-5, rel=0.1)


def test_rates_are_muons_and_others_take_less() -> None:
    found = {name: learning_rate(9e-3, 135_000_000, "full", name) for name in ("muon", "adamw", "adamw8bit", "lion")}  # type: ignore[arg-type]
    assert [item.value for item in found.values()] == [9e-3, 3e-3, 3e-3, 6e-4]
    assert found["lion"].source.endswith("over 15 for lion")
