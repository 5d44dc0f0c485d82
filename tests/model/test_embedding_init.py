"""The six initialisations, each against its definition, and transformers' own for the mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from danlu.model.embedding_init import INITS, NOISE, drawn, initial_rows, mean_row, moments
from danlu.model.grow import Table, header

OLD, WIDTH = 50, 7
PARTS = [(3,), (1, 2), (4, 4, 9), (0, 49)]


@pytest.fixture
def rows() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    turned = torch.randn(WIDTH, WIDTH, generator=draw)
    return torch.randn(OLD, WIDTH, generator=draw) @ turned + torch.arange(WIDTH)


@pytest.fixture
def table(rows: torch.Tensor, tmp_path: Path) -> Table:
    padded = torch.cat([rows, torch.full((3, WIDTH), 1e6)])  # rows that no id leads to count for nothing
    save_file({"embed.weight": padded}, tmp_path / "a.safetensors")
    return Table(header(tmp_path / "a.safetensors")[1][0], OLD)


def first(init: Any, table: Table, **changes: Any) -> Any:
    given: dict[str, Any] = {"seed": 0, "spread": 0.02, **changes}
    parts = given.pop("parts", PARTS)
    return initial_rows(init, table, parts, **given)


def test_mean(table: Table, rows: torch.Tensor) -> None:
    np.testing.assert_allclose(first("mean", table), np.tile(rows.double().mean(0), (4, 1)), rtol=1e-6)


def test_subword_is_the_mean_of_the_old_pieces(table: Table, rows: torch.Tensor) -> None:
    wanted = torch.stack([rows[list(ids)].double().mean(0) for ids in PARTS])
    np.testing.assert_allclose(first("subword", table), wanted, rtol=1e-6)


def test_covariance_draws_from_the_old_rows_normal_distribution(table: Table, rows: torch.Tensor) -> None:
    many = first("covariance", table, parts=[(0,)] * 200_000)
    exact = rows.double().numpy()
    covariance = np.cov(exact.T, bias=True)
    np.testing.assert_allclose(moments(table).covariance, covariance, rtol=1e-6)
    np.testing.assert_allclose(many.mean(0), exact.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(many.T), covariance, atol=0.03 * covariance.max())
    assert not np.array_equal(many[0], many[1])


def test_covariance_with_fewer_rows_than_columns(table: Table) -> None:
    few = Table(table.tensor, 3)
    found = first("covariance", few, parts=[(0,)] * 100)
    offsets = found - mean_row(few)
    assert np.isfinite(found).all()
    assert np.linalg.matrix_rank(offsets, tol=1e-3) == 2  # in the plane of the three rows


def test_noise_is_small_against_the_spread_of_each_column(table: Table, rows: torch.Tensor) -> None:
    many = first("noise", table, parts=[(0,)] * 100_000)
    np.testing.assert_allclose(many.std(0), NOISE * rows.std(0, correction=0), rtol=0.02)
    np.testing.assert_allclose(many.mean(0), rows.mean(0), atol=0.01)


def test_random_has_the_deviation_that_the_model_began_with(table: Table) -> None:
    many = first("random", table, parts=[(0,)] * 50_000, spread=0.3)
    assert many.std() == pytest.approx(0.3, rel=0.01)
    assert many.mean() == pytest.approx(0, abs=0.01)


def test_focus_is_the_weighted_sum_and_the_mean_without_weights(table: Table, rows: torch.Tensor) -> None:
    given = [(np.array([2, 5]), np.array([0.25, 0.75], np.float32)), (np.zeros(0, np.int64), np.zeros(0, np.float32))]
    found = first("focus", table, parts=PARTS[:2], weights=given)
    np.testing.assert_allclose(found[0], 0.25 * rows[2] + 0.75 * rows[5], rtol=1e-5)
    np.testing.assert_allclose(found[1], rows.mean(0), rtol=1e-5)


@pytest.mark.parametrize("init", [init for init in INITS if init != "focus"])
def test_the_seed_decides(table: Table, init: Any) -> None:
    assert np.array_equal(first(init, table), first(init, table))
    assert np.array_equal(first(init, table), first(init, table, seed=1)) == (init in ("mean", "subword"))


def test_each_table_is_drawn_apart(table: Table) -> None:
    other = Table(table.tensor._replace(name="lm_head.weight"), OLD)
    assert not np.array_equal(first("random", table), first("random", other))


def test_the_mean_is_what_transformers_draws(table: Table, rows: torch.Tensor) -> None:
    """Its ``mean_resizing`` multiplies the covariance by 1e-9, so that what is left is the mean."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": WIDTH + 1, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=OLD, **shape))
    wide = torch.cat([rows, rows[:, :1]], 1)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(wide)
    model.resize_token_embeddings(OLD + 4, mean_resizing=True)
    theirs = model.model.embed_tokens.weight[OLD:, :WIDTH].detach()
    np.testing.assert_allclose(first("mean", table), theirs, atol=2e-3)


def test_drawing_follows_the_moments_given(table: Table) -> None:
    found = moments(table)
    still = drawn(found._replace(covariance=np.zeros_like(found.covariance)), 3, np.random.default_rng(0))
    np.testing.assert_allclose(still, np.tile(found.mean, (3, 1)), rtol=1e-6)
