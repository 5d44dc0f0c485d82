"""Cross-entropy straight from hidden states, without ever holding the logits of all positions.

For 4096 tokens and a vocabulary of 150,000 the logits alone are 2.4 GB in float32; a chunk is
`CHUNK_BYTES`. `cross_entropy_sum` knows its weights in advance, so it makes the gradient in the forward pass
and computes the logits once (the idea of Liger Kernel, Hsu et al. 2024); `log_probabilities` does not, and
computes them again in the backward pass. Logits and softmax are float32 whatever the hidden states are.

Legend: N positions (masked ones already left out), D width, V vocabulary, C positions of one chunk.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = (
    16 << 20
)  # 8 MB and 64 MB were slower at V = 8192: the first has more products, the second leaves the cache


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    size = max(CHUNK_BYTES // (4 * vocabulary), 16)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _log_softmax(hidden: Tensor, weight: Tensor) -> Tensor:
    """hidden: [C, D], weight: [V, D] -> [C, V] in float32."""
    return torch.log_softmax((hidden @ weight.t()).float(), dim=-1)


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        learning = any(ctx.needs_input_grad[:2])
        compute = weight.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden) if learning else None
        weight_grad = torch.zeros_like(weight) if learning else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            logp = _log_softmax(hidden[part], compute)
            picked, scale = targets[part].unsqueeze(1), weights[part].unsqueeze(1)
            total -= (logp.gather(1, picked) * scale).sum(dtype=torch.float64)
            if hidden_grad is not None and weight_grad is not None:
                grad = logp.exp_().mul_(scale)  # w · (softmax - one-hot)
                grad.scatter_add_(1, picked, -scale)
                grad = grad.to(hidden.dtype)
                hidden_grad[part] = grad @ compute
                weight_grad += grad.t() @ hidden[part]
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grads[0].to(hidden_grad.dtype), weight_grad * grads[0], None, None


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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight, targets = ctx.saved_tensors
        compute = weight.to(hidden.dtype)
        hidden_grad, weight_grad = torch.empty_like(hidden), torch.zeros_like(weight)
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            scale = -grads[0][part].unsqueeze(1)  # d(log p)/d(logit) = one-hot - softmax
            grad = _log_softmax(hidden[part], compute).exp_().mul_(scale)
            grad.scatter_add_(1, targets[part].unsqueeze(1), -scale)
            grad = grad.to(hidden.dtype)
            hidden_grad[part] = grad @ compute
            weight_grad += grad.t() @ hidden[part]
        return hidden_grad, weight_grad, None


def cross_entropy_sum(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """-Σ w log p(target). hidden: [N, D], weight: [V, D], targets: [N], weights: [N] -> scalar, float32."""
    return _CrossEntropySum.apply(hidden, weight, targets, weights)


def log_probabilities(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """log p(target), differentiable. hidden: [N, D], weight: [V, D], targets: [N] -> [N], float32."""
    return _LogProbabilities.apply(hidden, weight, targets)
