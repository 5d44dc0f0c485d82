"""GPTQ with the levels of NF4: four bits chosen by what a layer's outputs lose, and not number by number.

Frantar et al. 2022, arXiv:2210.17323. The numbers of a row are rounded one after another, those of the strongest inputs
first, and what rounding one does to the row's outputs is made up for by the numbers that are not rounded yet, as the
covariance of the inputs says. The scale of each block of 64 is the one of 15, around its largest magnitude, by which
the squares of the errors are least, each times its input's power.

In each block the number that was largest keeps the level of its sign, 1 or -1. So whoever rounds the result to the
nearest in NF4, here or in bitsandbytes, finds the same codes and the same scales: it is a plain model directory, and no
format of its own. Only the second quantisation of the scales still moves it.

Left out: blocks of other sizes, and levels other than NF4's.

Legend: O out, I in.
"""

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.quantized import BLOCK, TINY, levels

DAMPING = 0.01  # of the mean power is added to each: the paper's
STRIP = 128  # columns whose errors are handed to the later ones at once
SHARES = torch.linspace(0.7, 1.05, 15)  # of a block's largest magnitude, that are tried as its scale


@torch.no_grad()
def chosen(weight: Tensor, covariance: Tensor) -> Tensor:
    """weight: [O, I], the sum of xᵀx over its inputs: [I, I] -> numbers that NF4 holds exactly, [O, I] float32."""
    if not (weight.isfinite().all() and covariance.isfinite().all()):
        raise UserError("a weight or what goes into it is infinite or no number", remedy="The model is damaged")
    if weight.device.type == "mps":  # has no float64
        return chosen(weight.cpu(), covariance.cpu()).to(weight.device)
    weight, covariance = weight.detach().float(), covariance.double()
    unseen = covariance.diagonal() == 0
    covariance = covariance + torch.diag(unseen.double())  # each such number is rounded by itself
    power = covariance.diagonal()
    scales, largest = scales_of(weight, power.float())
    order = power.argsort(descending=True, stable=True)
    left, scales, largest = weight[:, order], scales[:, order], largest[:, order]
    root = spread(covariance[order][:, order])
    made = torch.empty_like(left)
    for start in range(0, left.shape[1], STRIP):
        columns = slice(start, start + STRIP)
        made[:, columns], lost = _strip(
            left[:, columns], root[columns, columns], scales[:, columns], largest[:, columns]
        )
        left[:, columns.stop :] -= lost @ root[columns, columns.stop :]
    return made[:, order.argsort()]


def _strip(left: Tensor, root: Tensor, scales: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Round the columns of a strip in turn -> their numbers, and what each lost over its diagonal of ``root``."""
    made, lost = torch.empty_like(left), torch.empty_like(left)
    for column in range(left.shape[1]):
        value = left[:, column]
        made[:, column] = nearest(value, scales[:, column], largest[:, column])
        lost[:, column] = (value - made[:, column]) / root[column, column]
        left[:, column + 1 :] -= torch.outer(lost[:, column], root[column, column + 1 :])
    return made, lost


def nearest(value: Tensor, scale: Tensor, largest: Tensor) -> Tensor:
    """The level nearest to value / scale, times the scale; of a block's ``largest`` the outer one of its sign."""
    table = levels(value.device)
    share = (value / scale.clamp(min=TINY)).clamp(-1, 1)
    share = torch.where(largest != 0, largest, share)
    return table[torch.bucketize(share, (table[:-1] + table[1:]) / 2)] * scale


def spread(covariance: Tensor) -> Tensor:
    """[I, I] float64 -> U, upper triangular, with Uᵀ U the inverse of the damped matrix, [I, I] float32."""
    damping = DAMPING * covariance.diagonal().mean()
    damped = covariance + damping * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()


def scales_of(weight: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """The scale of each number's block, and the signs of the blocks' largest numbers, else 0: both [O, I].

    Blocks follow one another through the rows as in `danlu.model.quantized`; ``power``, [I], weighs the errors.
    """

    def in_blocks(x: Tensor) -> Tensor:
        flat = x.flatten()
        return nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)

    blocks, weights = in_blocks(weight), in_blocks(power.expand_as(weight))
    top, place = blocks.abs().max(dim=1)
    best, least = top, torch.full_like(top, torch.inf)
    for share in SHARES.tolist():
        scale = (top * share).unsqueeze(1)
        error = ((nearest(blocks, scale, torch.zeros_like(blocks)) - blocks).square() * weights).sum(dim=1)
        best, least = torch.where(error < least, scale.squeeze(1), best), torch.minimum(error, least)
    signs = torch.zeros_like(blocks).scatter(1, place.unsqueeze(1), blocks.gather(1, place.unsqueeze(1)).sign())

    def back(x: Tensor) -> Tensor:
        return x.flatten()[: weight.numel()].view_as(weight)

    return back(best.unsqueeze(1).expand_as(blocks)), back(signs)
