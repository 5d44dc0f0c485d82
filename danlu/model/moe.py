"""Mixtures of experts: feed-forward layers of which each token uses a few.

Routing is softmax and the best k (Shazeer et al. 2017; Fedus et al. 2021), optionally beside an expert that
every token uses (Dai et al. 2024, DeepSeekMoE). Nothing is dropped, as in MegaBlocks (Gale et al. 2022):
tokens are sorted by expert, each expert multiplies its own, and the results are sorted back. Both sorts are
permutations, so that their backward passes are gathers too: no sums by atomics, the same bits every time.
Expert parallelism and capacity limits are left out.

What routers should be trained on besides the loss comes out through a `Ledger` that the objective hands in.

Legend: N tokens, D width, E experts, K experts of a token, F hidden size of an expert, R = N·K routed rows.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from danlu.model.config import ModelConfig
from danlu.model.feedforward import FeedForward, activate, open_gate
from danlu.model.kinds import Experts
from danlu.model.linear import Linear

SMALLEST = torch.finfo(torch.float32).tiny
LANES = 8  # grouped products want rows of 16 bytes: 8 numbers of bf16


class Ledger:
    """What the routers did in one forward pass, each token counted as the loss counts it.

    ``weights``: [B, T], 0 where a token does not count (padding, a prompt that is not trained on). All sums
    are over tokens, so they join a loss sum and are divided with it, once. The z-loss is then the same however a
    batch is cut. The load-balancing loss is not and cannot be: it multiplies two means over what is seen at once.
    It is taken over a micro-batch, as Megatron and transformers do, so it is the same only where every part
    has the load of the whole. Read it before the backward pass: blocks that are computed again write again.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights.flatten().float()  # [N]
        self.total = self.weights.sum()
        self._balance: list[Tensor] = []
        self._z: list[Tensor] = []
        self.loads: list[Tensor] = []  # [E] a layer: the share of choices, detached

    def write(self, logits: Tensor, probabilities: Tensor, chosen: Tensor) -> None:
        """One layer. logits, probabilities: [N, E], float32; chosen: [N, K]."""
        count = probabilities.shape[1]
        picked = torch.zeros_like(probabilities).scatter_(1, chosen, 1.0)  # [N, E]
        shares = self.weights @ picked / (self.total * chosen.shape[1]).clamp_min(SMALLEST)
        # N · E · Σ f P of Fedus et al. (2021), equation 4: 1 for each token if the load is even.
        self._balance.append(count * (self.weights @ probabilities) @ shares)
        self._z.append(self.weights @ torch.logsumexp(logits, dim=-1).square())  # Zoph et al. (2022), equation 5
        self.loads.append(shares.detach())

    def sums(self) -> dict[str, Tensor]:
        """Both losses, each summed over tokens and layers, without their coefficients."""
        return {"balance": torch.stack(self._balance).sum(), "router_z": torch.stack(self._z).sum()}

    def loss(self, experts: Experts) -> Tensor:
        """What is added to a loss sum."""
        sums = self.sums()
        return experts.balance * sums["balance"] + experts.router_z * sums["router_z"]


class _Sorted(torch.autograd.Function):
    """Row ``order[i] // copies`` of x at i; ``inverse`` undoes ``order``. x: [R / copies, D] -> [R, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor, copies: int) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.copies = copies
        return x.index_select(0, order // copies if copies > 1 else order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        grad = grads[0].index_select(0, ctx.saved_tensors[0])
        return grad.unflatten(0, (-1, ctx.copies)).sum(1), None, None, None


def grouped(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows up to ``ends[0]`` by the first matrix, and so on.

    x: [R, in], weight: [E, out, in], ends: [E] -> [R, out].
    """
    fits = weight.shape[1] % LANES == 0 and weight.shape[2] % LANES == 0
    if x.is_cuda and x.dtype == torch.bfloat16 and fits:
        return in_one_call(x, weight, ends)
    return one_by_one(x, weight, ends)


class _OneByOne(torch.autograd.Function):
    """A product an expert, each written where it belongs: torch's own split, unbind and cat copy everything twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, ends: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows = [slice(start, end) for start, end in zip([0, *ends], ends)]
        out = x.new_empty(x.shape[0], weight.shape[1])
        for rows, matrix in zip(ctx.rows, weight):
            torch.mm(x[rows], matrix.t(), out=out[rows])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_grad = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        weight_grad = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for expert, rows in enumerate(ctx.rows):
            if x_grad is not None:
                torch.mm(grads[0][rows], weight[expert], out=x_grad[rows])
            if weight_grad is not None:
                torch.mm(grads[0][rows].t(), x[rows], out=weight_grad[expert])
        return x_grad, weight_grad, None


def one_by_one(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """A product an expert, for any dtype and size. Shapes as in `grouped`."""
    return _OneByOne.apply(x, weight, ends.tolist())


def in_one_call(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """torch's grouped product: one kernel, and the host need not know how many rows an expert has."""
    return nn.functional.grouped_mm(x, weight.transpose(1, 2), offs=ends.to(torch.int32))


class Stack(nn.Module):
    """The same linear layer of all experts: one weight of three dimensions, as grouped products want it."""

    def __init__(self, count: int, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, outside, inside))

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """x: [R, in], sorted by expert; ends: [E] -> [R, out] in x's dtype."""
        return grouped(x, self.weight.to(x.dtype), ends)


class ExpertStack(nn.Module):
    """All experts of a layer, each width → experts.width → width."""

    def __init__(self, config: ModelConfig, experts: Experts) -> None:
        super().__init__()
        self.activation, self.gated = config.activation, config.gated
        if config.gated:
            self.gate = Stack(experts.count, config.width, experts.width)
        self.up = Stack(experts.count, config.width, experts.width)
        self.down = Stack(experts.count, experts.width, config.width)

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """x: [R, D], sorted by expert; ends: [E], where each expert's rows end -> [R, D]."""
        if self.gated:
            return self.down(open_gate(self.gate(x, ends), self.up(x, ends), self.activation), ends)
        return self.down(activate(self.up(x, ends), self.activation), ends)


class Mixture(nn.Module):
    """Router, experts and, where there is one, the shared expert. In place of a `FeedForward`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.experts is not None
        self.settings = config.experts
        self.router = Linear(config.width, config.experts.count, bias=False)
        self.experts = ExpertStack(config, config.experts)
        if config.experts.shared_width:
            self.shared = FeedForward(replace(config, feedforward=config.experts.shared_width))
        if config.experts.shared_gate:
            self.shared_gate = Linear(config.width, 1, bias=False)

    def forward(self, x: Tensor, ledger: Ledger | None = None) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        flat = x.flatten(0, -2)  # [N, D]
        # In float32 whatever x is: a rounded logit sends a token elsewhere (Fedus et al. 2021, section 2.4).
        logits = self.router(flat.float())
        probabilities = torch.softmax(logits, dim=-1)
        weights, chosen = probabilities.topk(self.settings.per_token, dim=-1)  # [N, K]
        if self.settings.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        if ledger is not None:
            ledger.write(logits, probabilities, chosen)
        out = self._routed(flat, weights.to(x.dtype), chosen)
        if self.settings.shared_width:
            shared = self.shared(flat)
            out = out + (torch.sigmoid(self.shared_gate(flat)) * shared if self.settings.shared_gate else shared)
        return out.view_as(x)

    def _routed(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """x: [N, D], weights and chosen: [N, K] -> [N, D]."""
        order = chosen.flatten().argsort(stable=True)  # [R]: routed row i is choice order[i] of all tokens
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        ends = torch.bincount(chosen.flatten(), minlength=self.settings.count).cumsum(0)
        rows = _Sorted.apply(x, order, inverse, self.settings.per_token)
        made = _Sorted.apply(self.experts(rows, ends), inverse, order, 1)
        return (weights.unsqueeze(-1) * made.unflatten(0, chosen.shape)).sum(1)
