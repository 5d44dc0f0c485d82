"""Mamba-2 (Dao and Gu 2024): a layer that remembers in a state of fixed size, in pure torch.

Each head keeps a matrix h. A token forgets some of it and writes into it, h ← exp(Δ·A)·h + Δ·x·Bᵀ, and reads
h·C. Token by token that is slow; `scan` computes it in chunks, inside of which it is a masked product like
attention's, while between chunks only the state passes (their "state space duality", section 6). Left out: the
fused kernels of mamba-ssm. The scan is float32 whatever the activations are, because its decays are sums of
many small numbers.

Legend: B batch, T time, D width, H heads, P head width, G groups of heads, N state, Q tokens of a chunk,
C chunks, M channels of the convolution (inner + 2·G·N), K tokens that it sees.
"""

import torch
from torch import Tensor, nn

from danlu.model.attention import Context
from danlu.model.config import ModelConfig
from danlu.model.linear import Linear


def runs_of(segments: Tensor) -> Tensor:
    """Number the stretches of equal segments: [B, T] -> [B, T], counted from 1."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return begins.cumsum(1)


def convolve(x: Tensor, kernel: Tensor, before: Tensor, runs: Tensor | None) -> Tensor:
    """Each channel's own sum over the last K tokens of its run; as fast as torch's conv1d, which knows no runs.

    x: [B, T, M], kernel: [M, 1, K], before: [B, K - 1, M], the tokens that came earlier; runs: [B, T] -> [B, T, M].
    """
    reach, length, weights = kernel.shape[-1], x.shape[1], kernel.to(x.dtype)
    longer = torch.cat([before, x], dim=1)
    out = x * weights[:, 0, -1]
    for lag in range(1, reach):
        part = longer[:, reach - 1 - lag :][:, :length]
        if runs is not None:
            earlier = nn.functional.pad(runs, (lag, 0))[:, :length]
            part = part * (earlier == runs).unsqueeze(-1)
        out = torch.addcmul(out, part, weights[:, 0, reach - 1 - lag])
    return out


def _chunked(x: Tensor, chunk: int, *, repeat: bool = False) -> Tensor:
    """[B, T, ...] -> [B, C, Q, ...], filled up at the end with zeros, or with what stands last."""
    missing = -x.shape[1] % chunk
    if missing:
        last = x[:, -1:].expand(-1, missing, *x.shape[2:])
        x = torch.cat([x, last if repeat else torch.zeros_like(last)], dim=1)
    return x.unflatten(1, (-1, chunk))


def _summed(decay: Tensor, run: Tensor | None) -> Tensor:
    """Sums of decays from the start of the chunk, or of the run in it. decay: [B, C, Q, H], run: [B, C, Q].

    In float64 they are exact but for the rarest sizes, so a document's numbers do not depend on what stood before it,
    not even by a rounding.
    """
    wide = decay if decay.device.type == "mps" else decay.double()  # the one device that has no float64
    total = wide.cumsum(2)
    if run is not None:
        begins = nn.functional.pad(run[..., 1:] != run[..., :-1], (1, 0))
        start = torch.where(begins, torch.arange(run.shape[-1], device=run.device), 0).cummax(-1).values
        total = total - (total - wide).gather(2, start.unsqueeze(-1).expand_as(total))
    return total.to(decay.dtype)


def scan(
    x: Tensor,
    steps: Tensor,
    rates: Tensor,
    write: Tensor,
    read: Tensor,
    *,
    chunk: int,
    runs: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h ← exp(steps · rates) · h + steps · x · writeᵀ, y = h · read, from ``state`` on or anew in each of ``runs``.

    x: [B, T, H, P], steps: [B, T, H], rates: [H] below 0, write and read: [B, T, G, N], runs: [B, T], state:
    [B, H, P, N], all float32 -> y: [B, T, H, P] and the state at the end. Step 0 leaves the state as it is.
    """
    length, groups, chunk = x.shape[1], write.shape[2], min(chunk, x.shape[1])
    scaled = _chunked(x * steps.unsqueeze(-1), chunk).transpose(2, 3)  # [B, C, H, Q, P]
    write, read = (_chunked(part, chunk).transpose(2, 3) for part in (write, read))  # [B, C, G, Q, N]
    run = None if runs is None else _chunked(runs, chunk, repeat=True)  # [B, C, Q]
    decay = _summed(_chunked(steps * rates, chunk), run).transpose(2, 3)  # [B, C, H, Q]: log of what is left
    visible = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    into, out_of, through = decay[..., -1:] - decay, decay.exp(), decay[..., -1].exp()
    if run is not None:
        run = run.unsqueeze(2)  # [B, C, 1, Q]
        last = run[..., -1:]  # [B, C, 1, 1]
        earlier = nn.functional.pad(last, (0, 0, 0, 0, 1, 0))[:, :-1]  # the run in which the chunk before ended
        visible = visible & (run.unsqueeze(-1) == run.unsqueeze(-2))  # [B, C, 1, Q, Q]
        into = into.masked_fill(run != last, float("-inf"))  # before exp, which elsewhere would overflow
        out_of, through = out_of * (run == earlier), through * (last == earlier).squeeze(-1)
    left = (decay.unsqueeze(-1) - decay.unsqueeze(-2)).masked_fill(~visible, float("-inf")).exp()  # [B, C, H, Q, Q]
    scores = (read @ write.transpose(-1, -2)).unsqueeze(3)  # [B, C, G, 1, Q, Q]
    inside = (left.unflatten(2, (groups, -1)) * scores).flatten(2, 3) @ scaled  # [B, C, H, Q, P]
    heads = (scaled * into.exp().unsqueeze(-1)).transpose(-1, -2).unflatten(2, (groups, -1)).flatten(3, 4)
    written = (heads @ write).unflatten(3, (-1, x.shape[-1])).flatten(2, 3)  # [B, C, H, P, N]
    now = torch.zeros_like(written[:, 0]) if state is None else state
    states = []
    for i in range(written.shape[1]):
        states.append(now)
        now = through[:, i, :, None, None] * now + written[:, i]
    before = torch.stack(states, dim=1).unflatten(2, (groups, -1)).flatten(3, 4)  # [B, C, G, H / G · P, N]
    outside = (before @ read.transpose(-1, -2)).unflatten(3, (-1, x.shape[-1])).flatten(2, 3).transpose(-1, -2)
    y = inside + outside * out_of.unsqueeze(-1)  # [B, C, H, Q, P]
    return y.transpose(2, 3).flatten(1, 2)[:, :length], now


class GatedNorm(nn.Module):
    """RMSNorm of x · silu(gate), over each group of heads alone so that groups can live apart."""

    def __init__(self, width: int, groups: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.groups, self.epsilon = nn.Parameter(torch.ones(width)), groups, epsilon

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x: [..., inner] in float32, gate: [..., inner] -> [..., inner] in gate's dtype."""
        x = (x * nn.functional.silu(gate.float())).unflatten(-1, (self.groups, -1))
        x = x * (x.square().mean(-1, keepdim=True) + self.epsilon).rsqrt()
        return (x.flatten(-2) * self.weight.float()).to(gate.dtype)


class Mamba(nn.Module):
    """A Mamba-2 layer: projections, a short convolution, the scan, a gated norm, and back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        settings, width = config.state_space, config.width
        assert settings is not None
        self.layer, self.settings, self.inner = layer, settings, settings.inner(width)
        mixed, heads = settings.mixed(width), settings.heads(width)
        self.gate = Linear(width, self.inner, config.bias)
        self.mixed = Linear(width, mixed, config.bias)  # x, B and C of the paper, in this order
        self.pace = Linear(width, heads, config.bias)  # Δ
        self.kernel = nn.Parameter(torch.empty(mixed, 1, settings.convolution))
        self.kernel_bias = nn.Parameter(torch.empty(mixed)) if settings.convolution_bias else None
        self.pace_shift = nn.Parameter(torch.empty(heads))
        self.forgetting = nn.Parameter(torch.empty(heads))  # log(-A)
        self.skip = nn.Parameter(torch.empty(heads))  # D
        self.norm = GatedNorm(self.inner, settings.groups, config.norm_epsilon)
        self.o = Linear(self.inner, width, config.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        settings, cache, segments = self.settings, context.cache, context.segments
        mixed, runs, state = self.mixed(x), None, None
        steps = nn.functional.softplus(self.pace(x).float() + self.pace_shift.float())  # [B, T, H]
        if cache is None:
            before = mixed.new_zeros(x.shape[0], settings.convolution - 1, mixed.shape[-1])
            runs = None if segments is None else runs_of(segments)
        else:
            before, state = cache.recall(self.layer)
            if segments is not None:  # padding leaves no trace: nothing is convolved, forgotten or written
                valid = (segments >= 0).unsqueeze(-1)
                mixed, steps = mixed * valid, steps * valid
        made = convolve(mixed, self.kernel, before, runs)
        if self.kernel_bias is not None:
            made = made + self.kernel_bias.to(made.dtype)
        parts = nn.functional.silu(made).float().split([self.inner] + 2 * [settings.groups * settings.state], dim=-1)
        heads, write, read = (
            part.unflatten(-1, (-1, size))
            for part, size in zip(parts, (settings.head_width, settings.state, settings.state), strict=True)
        )
        rates = -self.forgetting.float().exp()
        y, after = scan(heads, steps, rates, write, read, chunk=settings.chunk, runs=runs, state=state)
        if cache is not None:
            window = torch.cat([before, mixed], dim=1)[:, x.shape[1] :]
            cache.remember(self.layer, window, after)
        y = y + heads * self.skip.float().unsqueeze(-1)
        return self.o(self.norm(y.flatten(2), self.gate(x)))
