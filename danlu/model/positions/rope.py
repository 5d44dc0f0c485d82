"""Rotary positions (Su et al. 2021), in the rotate-half layout of Llama checkpoints.

Number i of the turned part of a head, W of them, is paired with number i + W/2 and the pair is turned by
position x theta^(-2i/W). The turn's backward is the turn by the opposite angle, written out so that nothing but
cos and sin is kept.

Four ways to reach beyond the length that was learned, the factor being how many times as far:
linear (Chen et al. 2023) divides every position by it; ntk (bloc97 2023) raises theta instead, so that the fastest
pair turns as before and the slowest as with linear; yarn (Peng et al. 2023) divides the slow frequencies only, ramps
in between, and warms the scores; llama3 (Llama team 2024) is the same idea with another ramp and no warming.
"""

import math
from typing import Any

import torch
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.positions import Positions

Frequencies = Tensor  # [W/2], float64: radians a position


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: [B, H, T, W], cos and sin: [B, 1, T, turned/2] -> [B, H, T, W], contiguous; the rest of W is copied."""
    turned = 2 * cos.shape[-1]
    left, right = x[..., :turned].chunk(2, dim=-1)
    if torch.compiler.is_compiling():  # which fuses this, and cannot follow the other
        return torch.cat((left * cos - right * sin, right * cos + left * sin, x[..., turned:]), dim=-1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    out_left, out_right = out[..., :turned].chunk(2, dim=-1)
    torch.mul(left, cos, out=out_left)
    out_left.addcmul_(right, sin, value=-1)
    torch.mul(right, cos, out=out_right)
    out_right.addcmul_(left, sin)
    if turned < x.shape[-1]:
        out[..., turned:] = x[..., turned:]
    return out


def frequencies(config: ModelConfig, local: bool = False) -> tuple[Frequencies, float]:
    """Radians a position of each pair, and by what cos and sin are multiplied."""
    width, theta = config.rope_width, config.rope_theta
    if local and config.rope_local_theta:
        return _plain(width, config.rope_local_theta), 1.0
    factor = config.rope_factor
    if config.rope_scaling == "ntk":
        return _plain(width, theta * factor ** (width / max(width - 2, 1))), 1.0  # of a single pair no theta is felt
    plain = _plain(width, theta)
    if config.rope_scaling == "linear":
        return plain / factor, 1.0
    if config.rope_scaling == "llama3":
        return _blend(plain, factor, _llama3_share(plain, config)), 1.0
    if config.rope_scaling == "yarn":
        return _blend(plain, factor, _yarn_share(width, config)), 0.1 * math.log(factor) + 1.0
    return plain, 1.0


def _plain(width: int, theta: float) -> Frequencies:
    return theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)


def _blend(plain: Frequencies, factor: float, kept: Tensor) -> Frequencies:
    """As it is where ``kept`` is 1, divided by the factor where it is 0."""
    return plain * kept + plain / factor * (1 - kept)


def _llama3_share(plain: Frequencies, config: ModelConfig) -> Tensor:
    """By turns over the learned length: none kept below low, all above high, linear in between."""
    low, high = config.rope_low or 1.0, config.rope_high or 4.0
    turns = _learned(config) * plain / (2 * math.pi)
    return ((turns - low) / (high - low)).clamp(0, 1)


def _yarn_share(width: int, config: ModelConfig) -> Tensor:
    """By the pair's number: linear between those that make high and low turns over the learned length."""
    slow, fast = config.rope_low or 1.0, config.rope_high or 32.0

    def pair(turns: float) -> float:
        return width * math.log(_learned(config) / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first, last = max(math.floor(pair(fast)), 0), min(math.ceil(pair(slow)), width - 1)
    ramp = (torch.arange(width // 2, dtype=torch.float64) - first) / max(last - first, 1e-3)
    return 1 - ramp.clamp(0, 1)


def _learned(config: ModelConfig) -> float:
    return config.rope_original or config.max_length / config.rope_factor


class Rope(Positions):
    """Turn queries and keys, so that a score depends on the distance alone."""

    def __init__(self, config: ModelConfig, local: bool = False) -> None:
        super().__init__()
        self.config, self.local = config, local
        for name in ("cos", "sin"):
            table = torch.empty(config.max_length, config.rope_width // 2)
            self.register_buffer(name, table, persistent=False)
        self.cos: Tensor
        self.sin: Tensor
        self.fill()

    def fill(self) -> None:
        """cos and sin of position x frequency, [max_length, turned/2]."""
        pace, warmth = frequencies(self.config, self.local)
        angles = torch.outer(torch.arange(self.cos.shape[0], dtype=torch.float64), pace)
        self.cos.copy_(angles.cos() * warmth)
        self.sin.copy_(angles.sin() * warmth)

    def rotate(self, q: Tensor, k: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """q: [B, H, T, W], k: [B, K, T, W], positions: [B, T] -> the same shapes, turned."""
        cos = self.cos[positions].unsqueeze(1).to(q.dtype)  # [B, 1, T, turned/2]
        sin = self.sin[positions].unsqueeze(1).to(q.dtype)
        return _Rotate.apply(q, cos, sin), _Rotate.apply(k, cos, sin)
