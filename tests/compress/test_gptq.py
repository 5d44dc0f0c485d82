"""GPTQ's codes: the paper's own steps, less lost than by rounding, and found again by whoever rounds to the nearest."""

import pytest
import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.compress import gptq
from danlu.compress.gptq import DAMPING, chosen, nearest, scales_of
from danlu.model.quantized import levels, pack, rounded, unpack

SHAPES = [(24, 128), (16, 192), (9, 70)]  # the last one's blocks go on from row to row


def layer(shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix, and the covariance of inputs that depend on each other, some much stronger."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=draw) * 0.02
    mixed = torch.randn(3 * shape[1], shape[1], generator=draw) @ torch.randn(shape[1], shape[1], generator=draw)
    x = mixed * torch.linspace(0.2, 3, shape[1])
    return weight, x.t() @ x


def lost(weight: Tensor, made: Tensor, covariance: Tensor) -> float:
    """The squares of what changes in the outputs."""
    return float(((weight - made) @ covariance * (weight - made)).sum())


def stepwise(weight: Tensor, covariance: Tensor) -> Tensor:
    """The paper's equations 2 and 3 for one column after another, the inverse made anew for what is left."""
    damped = covariance.double() + DAMPING * covariance.double().diagonal().mean() * torch.eye(len(covariance)).double()
    scales, largest = scales_of(weight, covariance.diagonal())
    left, made = weight.double().clone(), torch.zeros_like(weight)
    order = covariance.diagonal().argsort(descending=True, stable=True).tolist()
    for done, column in enumerate(order):
        rest = order[done:]
        inverse = torch.linalg.inv(damped[rest][:, rest])
        made[:, column] = nearest(left[:, column].float(), scales[:, column], largest[:, column])
        error = (left[:, column] - made[:, column].double()) / inverse[0, 0]
        left[:, rest] -= torch.outer(error, inverse[0])
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_the_codes_are_those_of_the_papers_own_steps(shape: tuple[int, int]) -> None:
    weight, covariance = layer(shape)
    made, wanted = chosen(weight, covariance), stepwise(weight, covariance)
    assert (made != wanted).float().mean() < 0.002  # a number between two levels may go either way
    assert lost(weight, made, covariance) == pytest.approx(lost(weight, wanted, covariance), rel=5e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_to_the_nearest_finds_the_same_codes(shape: tuple[int, int]) -> None:
    made = chosen(*layer(shape))
    assert torch.equal(rounded(made, double=False), made)
    assert torch.equal(pack(made, double=True).codes, pack(made, double=False).codes)
    assert torch.equal(unpack(pack(made, double=False), shape, torch.float32), made)


def test_bitsandbytes_finds_the_same_numbers() -> None:
    reference = pytest.importorskip("bitsandbytes.functional", reason="pip install 'danlu[8bit]'")
    made = chosen(*layer((32, 128)))
    codes, state = reference.quantize_4bit(made, quant_type="nf4", compress_statistics=False)
    assert torch.equal(reference.dequantize_4bit(codes, state), made)


@pytest.mark.parametrize("shape", SHAPES)
def test_less_is_lost_than_by_rounding_to_the_nearest(shape: tuple[int, int]) -> None:
    weight, covariance = layer(shape)
    assert lost(weight, chosen(weight, covariance), covariance) < 0.7 * lost(weight, rounded(weight), covariance)


def test_inputs_that_have_nothing_to_do_with_each_other_leave_each_number_to_itself() -> None:
    weight, _ = layer((8, 128))
    power = torch.linspace(0.5, 2, 128)
    scales, largest = scales_of(weight, power)
    assert torch.equal(chosen(weight, torch.diag(power)), nearest(weight, scales, largest))


def test_a_blocks_scale_is_the_best_of_those_tried_and_its_largest_number_stays_outside() -> None:
    weight, _ = layer((6, 128))
    power = torch.linspace(0.1, 5, 128)
    scales, largest = scales_of(weight, power)
    blocks, found = weight.view(-1, 64), scales.view(-1, 64)
    assert (found == found[:, :1]).all()
    assert (largest.view(-1, 64).abs().sum(dim=1) == 1).all()
    top, weights = blocks.abs().amax(dim=1, keepdim=True), power.expand_as(weight).reshape(-1, 64)

    def error(scale: Tensor) -> Tensor:
        shares = (blocks / scale).clamp(-1, 1)
        apart = (shares.unsqueeze(-1) - levels(weight.device)).abs().amin(dim=-1) * scale
        over = (blocks.abs() - scale).clamp(min=0)
        return ((apart + over).square() * weights).sum(dim=1)

    tried = torch.stack([error(top * share) for share in gptq.SHARES])
    assert torch.allclose(error(found[:, :1]), tried.amin(dim=0))
    assert (error(found[:, :1]) < error(top)).any()


def test_errors_are_handed_from_strip_to_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, covariance = layer((16, 192))
    whole = chosen(weight, covariance)
    monkeypatch.setattr(gptq, "STRIP", 7)
    narrow = chosen(weight, covariance)
    assert (whole != narrow).float().mean() < 0.002


def test_what_was_never_seen_is_rounded_by_itself() -> None:
    """Inputs of zeros, a row and a block of zeros, and no inputs at all."""
    weight, covariance = layer((8, 128))
    weight[3] = 0
    covariance[5], covariance[:, 5] = 0, 0
    made = chosen(weight, covariance)
    assert made.isfinite().all()
    assert (made[3] == 0).all()
    assert made[:, 5].abs().sum() > 0
    assert torch.equal(rounded(made, double=False), made)
    alone = chosen(weight, torch.zeros(128, 128))
    assert (alone - weight).norm() < 1.02 * (rounded(weight) - weight).norm()


def test_damage_is_refused() -> None:
    weight, covariance = layer((8, 64))
    for broken in ((weight * float("nan"), covariance), (weight, covariance * float("inf"))):
        with pytest.raises(UserError, match="infinite or no number"):
            chosen(*broken)
