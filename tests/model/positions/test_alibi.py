"""Linear biases: the slopes of the paper, and minus slope times distance."""

import pytest
import torch

from danlu.model.config import ModelConfig
from danlu.model.positions.alibi import Alibi, slopes

# Press et al. 2022, section 3: "For our models that have 8 heads, the slopes that we used are the geometric
# sequence 1/2^1, 1/2^2, ..., 1/2^8"; for other numbers the function get_slopes of the authors' fairseq code
# adds every other slope of the next power of two: for 12 heads 2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5.
EIGHT = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
GOLDEN = {
    1: [1 / 256],
    2: [1 / 16, 1 / 256],
    8: EIGHT,
    12: [*EIGHT, 0.7071067811865476, 0.35355339059327379, 0.17677669529663689, 0.08838834764831845],
}


@pytest.mark.parametrize("heads", GOLDEN)
def test_the_slopes_of_the_paper(heads: int) -> None:
    assert slopes(heads) == pytest.approx(GOLDEN[heads], rel=1e-12)


def test_the_bias_is_minus_slope_times_distance() -> None:
    alibi = Alibi(ModelConfig(vocab_size=9, heads=8, kv_heads=8, positions="alibi"))
    queries, keys = torch.tensor([[3, 4]]), torch.tensor([[0, 1, 2, 3, 4]])
    bias = alibi.bias(queries, keys)  # [1, 8, 2, 5]
    for head, slope in enumerate(EIGHT):
        assert bias[0, head, 0].tolist()[:4] == [-3 * slope, -2 * slope, -slope, 0.0]
        assert bias[0, head, 1].tolist() == [-4 * slope, -3 * slope, -2 * slope, -slope, 0.0]
