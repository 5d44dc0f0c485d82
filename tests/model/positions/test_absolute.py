"""The two kinds that add a vector to the embedding: learned, and sines and cosines."""

import math

import torch

from danlu.model.config import ModelConfig
from danlu.model.positions.learned import Learned
from danlu.model.positions.sinusoidal import AMPLITUDE, Sinusoidal

POSITIONS = torch.tensor([[0, 1, 2, 0], [7, 8, 9, 9]])


def config(**changes: object) -> ModelConfig:
    return ModelConfig(**({"vocab_size": 9, "width": 6, "max_length": 10} | changes))  # type: ignore[arg-type]


def test_learned_positions_are_rows_of_a_table() -> None:
    torch.manual_seed(0)
    learned, x = Learned(config(positions="learned")), torch.randn(2, 4, 6)
    y = learned.embed(x, POSITIONS)
    assert torch.equal(y, x + learned.table.weight[POSITIONS])
    (y * y).sum().backward()
    grad = learned.table.weight.grad
    assert grad is not None
    assert [bool(row.any()) for row in grad] == [True] * 3 + [False] * 4 + [True] * 3


def test_sines_and_cosines_of_the_paper() -> None:
    """Vaswani et al. 2017, section 3.5, in our amplitude."""
    table = Sinusoidal(config(positions="sinusoidal")).embed(torch.zeros(2, 4, 6), POSITIONS) / AMPLITUDE
    for row, position in ((table[0, 1], 1), (table[1, 3], 9)):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert math.isclose(row[2 * i].item(), math.sin(angle), abs_tol=1e-6)
            assert math.isclose(row[2 * i + 1].item(), math.cos(angle), abs_tol=1e-6)


def test_every_position_differs() -> None:
    table = Sinusoidal(config(positions="sinusoidal", max_length=512, width=64)).table
    distance = torch.cdist(table, table) + torch.eye(512)
    assert distance.min() > AMPLITUDE * 0.1
