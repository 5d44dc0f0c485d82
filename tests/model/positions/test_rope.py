"""Rotary positions against transformers' and against what they promise."""

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from danlu.model.config import ModelConfig
from danlu.model.positions.rope import Rope, _Rotate, _turn

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
