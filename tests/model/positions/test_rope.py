"""Rotary positions against transformers' and against what they promise."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from danlu.model.config import ModelConfig
from danlu.model.positions.rope import Rope, _Rotate, _turn, frequencies

CONFIG = ModelConfig(vocab_size=9, head_width=8, max_length=40, rope_theta=500.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_turns_as_transformers_does() -> None:
    rope, positions = Rope(CONFIG), torch.tensor([[0, 1, 2, 0, 1], [5, 6, 7, 38, 39]])
    q, k = drawn(2, 4, 5, 8).float(), drawn(2, 2, 5, 8, seed=1).float()
    angles = positions[..., None] / 500.0 ** (torch.arange(0, 8, 2) / 8)  # [B, T, W/2]
    cos, sin = (torch.cat([table, table], -1) for table in (angles.cos(), angles.sin()))
    for ours, theirs in zip(rope.rotate(q, k, positions), apply_rotary_pos_emb(q, k, cos, sin)):
        torch.testing.assert_close(ours, theirs)


def test_its_backward_is_right() -> None:
    angle = drawn(1, 1, 3, 4)
    x = drawn(2, 2, 3, 8, seed=1).requires_grad_()
    torch.autograd.gradcheck(lambda x: _Rotate.apply(x, angle.cos(), angle.sin()), (x,))


def test_a_score_depends_on_the_distance_alone() -> None:
    rope = Rope(CONFIG)
    q, k = drawn(1, 1, 1, 8).float(), drawn(1, 1, 1, 8, seed=1).float()

    def score(of_query: int, of_key: int) -> float:
        turned = rope.rotate(q, q, torch.tensor([[of_query]]))[0]
        return float((turned * rope.rotate(k, k, torch.tensor([[of_key]]))[0]).sum())

    assert abs(score(3, 1) - score(39, 37)) < 1e-5
    assert abs(score(3, 1) - score(4, 1)) > 1e-3


def test_a_turn_keeps_lengths_and_position_zero_is_no_turn() -> None:
    rope, x = Rope(CONFIG), drawn(1, 3, 4, 8).float()
    turned, _ = rope.rotate(x, x, torch.tensor([[0, 9, 22, 39]]))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert _turn(x, torch.ones(4), torch.zeros(4)).is_contiguous()


SCALED: dict[str, dict[str, Any]] = {
    "linear": {"rope_factor": 4.0},
    "yarn": {"rope_factor": 4.0, "rope_original": 512},
    "yarn, other borders": {"rope_factor": 16.0, "rope_low": 2.0, "rope_high": 20.0, "rope_original": 1024},
    "llama3": {"rope_factor": 8.0, "rope_original": 1024},
    "llama3, other borders": {"rope_factor": 32.0, "rope_low": 1.5, "rope_high": 8.0, "rope_original": 256},
}


@pytest.mark.parametrize("name", SCALED)
def test_scaled_frequencies_are_transformers(name: str) -> None:
    """Their tables, for a head of 64 and a base of 500,000; yarn's betas and llama3's factors by their names there."""
    kind, given = name.split(",")[0], SCALED[name]
    config = ModelConfig(vocab_size=9, max_length=8192, rope_theta=5e5, rope_scaling=kind, **given)  # type: ignore[arg-type]
    names = {"yarn": ("beta_slow", "beta_fast"), "llama3": ("low_freq_factor", "high_freq_factor"), "linear": ("", "")}
    published = {"yarn": (1.0, 32.0), "llama3": (1.0, 4.0), "linear": (0.0, 0.0)}[kind]
    borders = [given.get(key, default) for key, default in zip(("rope_low", "rope_high"), published, strict=True)]
    parameters: dict[str, Any] = {"rope_type": kind, "rope_theta": 5e5, "factor": given["rope_factor"]}
    parameters |= {key: value for key, value in zip(names[kind], borders, strict=True) if key}
    parameters["original_max_position_embeddings"] = given.get("rope_original")
    theirs = LlamaConfig(hidden_size=512, num_attention_heads=8, max_position_embeddings=8192)
    theirs.rope_parameters = parameters
    expected, warmth = ROPE_INIT_FUNCTIONS[kind](theirs, "cpu")
    pace, factor = frequencies(config)
    assert factor == pytest.approx(warmth)
    torch.testing.assert_close(pace.float(), expected, rtol=1e-5, atol=0)


def test_ntk_keeps_the_fastest_pair_and_slows_the_slowest_as_linear_does() -> None:
    plain, scaled = (
        frequencies(ModelConfig(vocab_size=9, rope_scaling=kind, rope_factor=factor))[0]  # type: ignore[arg-type]
        for kind, factor in (("none", 1.0), ("ntk", 4.0))
    )
    assert scaled[0] == plain[0]
    assert float(scaled[-1]) == pytest.approx(float(plain[-1]) / 4)
    assert (plain / scaled).diff().gt(0).all()


def test_a_share_of_the_head_is_turned_and_the_rest_left() -> None:
    whole, half = (Rope(replace(CONFIG, rope_share=share)) for share in (1.0, 0.5))
    x, where = drawn(1, 2, 3, 8).float(), torch.tensor([[1, 5, 30]])
    turned = half.rotate(x, x, where)[0]
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert not torch.equal(turned[..., :4], x[..., :4])
    assert whole.cos.shape == (40, 4)
    narrow = Rope(replace(CONFIG, head_width=4)).rotate(x[..., :4], x[..., :4], where)[0]
    assert torch.equal(turned[..., :4], narrow)
