"""Cross-entropy straight from hidden states, without ever holding the logits of all positions.

For 4096 tokens and a vocabulary of 150,000 the logits alone are 2.4 GB in float32; a chunk is
`CHUNK_BYTES`. `cross_entropy_sum` knows its weights in advance, so it makes the gradient in the forward pass
and computes the logits once (the idea of Liger Kernel, Hsu et al. 2024); `log_probabilities` does not, and
computes them again in the backward pass.

Legend: N positions (masked ones already left out), D width, V vocabulary, C positions of one chunk.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 16 << 20
SMALLEST = torch.finfo(torch.float32).tiny


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    size = max(CHUNK_BYTES // (4 * vocabulary), 16)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _cells(targets: Tensor) -> tuple[Tensor, Tensor]:
    """The index of each row's target in a [C, V] matrix."""
    return torch.arange(targets.shape[0], device=targets.device), targets


def _log_softmax(hidden: Tensor, weight: Tensor) -> Tensor:
    """hidden: [C, D], weight: [V, D] -> [C, V] in float32, whatever the hidden states are."""
    return torch.log_softmax((hidden @ weight.t()).float(), dim=-1)


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        compute = weight.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        parts = _chunks(hidden.shape[0], weight.shape[0])
        if not any(ctx.needs_input_grad[:2]):
            for part in parts:
                logp = _log_softmax(hidden[part], compute).gather(1, targets[part].unsqueeze(1)).squeeze(1)
                total -= (logp * weights[part]).sum(dtype=torch.float64)
            return total.float()
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # a frozen head costs no product
        uniform = bool((weights == 1).all())
        for part in parts:
            # In bf16 the logits are rounded already, so a softmax that rounds its result, but not its sums, to
            # bf16 costs no accuracy that is still there, and a fifth of a float32 one's time.
            grad = torch.softmax(hidden[part] @ compute.t(), dim=-1)  # [C, V]
            picked, scale = _cells(targets[part]), weights[part]
            logp = grad[picked].float().clamp_min(SMALLEST).log_()
            total -= (logp * scale).sum(dtype=torch.float64)
            grad[picked] -= 1  # softmax - one-hot; scatter_add_ would copy all of it
            if not uniform:
                grad.mul_(scale.unsqueeze(1).to(grad.dtype))
            torch.mm(grad, compute, out=hidden_grad[part])
            if weight_grad is not None:
                weight_grad += grad.t() @ hidden[part]
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        scaled = None if weight_grad is None else weight_grad * grads[0]
        return hidden_grad * grads[0].to(hidden_grad.dtype), scaled, None, None


class _LogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        compute = weight.to(hidden.dtype)
        picked = [
            _log_softmax(hidden[part], compute).gather(1, targets[part].unsqueeze(1)).squeeze(1)
            for part in _chunks(hidden.shape[0], weight.shape[0])
        ]
        return torch.cat(picked) if picked else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden, weight, targets = ctx.saved_tensors
        compute = weight.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            scale = -grads[0][part].unsqueeze(1)  # d(log p)/d(logit) = one-hot - softmax
            grad = _log_softmax(hidden[part], compute).exp_().mul_(scale)
            grad[_cells(targets[part])] += grads[0][part]
            grad = grad.to(hidden.dtype)
            hidden_grad[part] = grad @ compute
            if weight_grad is not None:
                weight_grad += grad.t() @ hidden[part]
        return hidden_grad, weight_grad, None


def cross_entropy_sum(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """-Σ w log p(target). hidden: [N, D], weight: [V, D], targets: [N], weights: [N] -> scalar, float32."""
    if not torch.is_grad_enabled():  # a Function sees that its inputs are parameters, not that nobody will ask
        hidden, weight = hidden.detach(), weight.detach()
    return _CrossEntropySum.apply(hidden, weight, targets, weights)


def log_probabilities(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """log p(target), differentiable. hidden: [N, D], weight: [V, D], targets: [N] -> [N], float32."""
    return _LogProbabilities.apply(hidden, weight, targets)
