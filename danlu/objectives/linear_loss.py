"""Cross-entropy straight from hidden states, without ever holding the logits of all positions.

For 4096 tokens and a vocabulary of 150,000 the logits alone are 2.4 GB in float32; a chunk is `CHUNK_BYTES`, or the
rows that a product needs to be fast. `cross_entropy_sum` knows its weights in advance, so it makes the gradient in the
forward pass and computes the logits once (the idea of Liger Kernel, Hsu et al. 2024); `log_probabilities` does not,
and computes them again in the backward pass.

Logits are ``cap · tanh(scale · (hidden Wᵀ + bias) / cap)``, the soft cap as in Gemma 2 (Gemma Team 2024,
arXiv:2408.00118), each part left out where it is not wanted. The z-loss ``z · logsumexp(logits)²`` keeps the softmax's
normaliser near one (PaLM: Chowdhery et al. 2022, arXiv:2204.02311, section 5, with 1e-4; OLMo with 1e-5). Label
smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7) takes a share ε of the target's probability and spreads it
over the vocabulary, the target included, as ``torch.nn.functional.cross_entropy`` does.

Legend: N positions (masked ones already left out), D width, V vocabulary, C positions of one chunk.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from danlu.model.products import product

CHUNK_BYTES = 16 << 20
# Each chunk adds to the whole gradient of the output weights: with 73 rows, which is 16 MB of a vocabulary of 57,000,
# that was half of a training step's time. A slice of it at a time stays in a core's cache, and needs no second of it.
FEWEST_ROWS = 256
# Where they fit, more are faster: of a vocabulary of 49,000, 430 rows take a seventh less time for each than 256.
BETTER_ROWS, BETTER_BYTES = 512, 96 << 20
SLICE = 1024
SMALLEST = torch.finfo(torch.float32).tiny


class _Form(NamedTuple):
    """What is done to the logits, and what is asked of them."""

    cap: float = 0.0
    scale: float = 1.0
    z_loss: float = 0.0
    smoothing: float = 0.0


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    most = max(CHUNK_BYTES // (4 * vocabulary), min(BETTER_BYTES // (4 * vocabulary), BETTER_ROWS), FEWEST_ROWS)
    size = -(-count // max(-(-count // most), 1))  # chunks alike, not a thin last one
    return (slice(start, min(start + size, count)) for start in range(0, count, max(size, 1)))


def _cells(targets: Tensor) -> tuple[Tensor, Tensor]:
    """The index of each row's target in a [C, V] matrix."""
    return torch.arange(targets.shape[0], device=targets.device), targets


def _add_product(total: Tensor, grad: Tensor, hidden: Tensor) -> None:
    """total += gradᵀ hidden, in the precision of total. total: [V, D], grad: [C, V], hidden: [C, D]."""
    if grad.dtype == total.dtype:
        total.addmm_(grad.t(), hidden)
        return
    size = SLICE if total.device.type == "cpu" else total.shape[0]
    for piece, by in zip(total.split(size), grad.split(size, dim=1), strict=True):
        piece += by.t() @ hidden


def _logits(hidden: Tensor, compute: Tensor, bias: Tensor | None, form: _Form) -> Tensor:
    """hidden: [C, D], compute: [V, D], bias: [V] -> [C, V]: the plain product, or float32 where more is done or asked.

    A z-loss of 1e-4 makes a probability's gradient 1.002 times as large: bf16 would round that away, each time.
    """
    logits = product(hidden, compute)
    if bias is None and form == _Form():
        return logits
    logits = logits.float()
    if bias is not None:
        logits += bias
    if form.scale != 1:
        logits *= form.scale
    return logits.div_(form.cap).tanh_().mul_(form.cap) if form.cap else logits


def _before(grad: Tensor, logits: Tensor, form: _Form) -> Tensor:
    """From the gradient of the logits to that of hidden Wᵀ + bias, in place."""
    if form.cap:
        grad *= (logits / form.cap).square_().neg_().add_(1)
    if form.scale != 1:
        grad *= form.scale
    return grad


class _CrossEntropySum(torch.autograd.Function):
    """Returns the sum, and the z-loss in it."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, form: _Form
    ) -> tuple[Tensor, Tensor]:
        compute = weight.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        squares = torch.zeros_like(total)
        learns = any(ctx.needs_input_grad[:3])
        hidden_grad = torch.empty_like(hidden) if learns else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # a frozen head costs no product
        bias_grad = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        uniform = bool((weights == 1).all())
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            logits, scale = _logits(hidden[part], compute, bias, form), weights[part]
            if hidden_grad is None:
                every = torch.log_softmax(logits.float(), dim=-1)
                logp = every.gather(1, targets[part].unsqueeze(1)).squeeze(1)
                if form.smoothing:
                    logp = torch.lerp(logp, every.mean(dim=-1), form.smoothing)
                total -= (logp * scale).sum(dtype=torch.float64)
                if form.z_loss:
                    squares += (logits.logsumexp(dim=-1).square() * scale).sum(dtype=torch.float64)
                continue
            # In bf16 the logits are rounded already, so a softmax that rounds its result, but not its sums, to
            # bf16 costs no accuracy that is still there, and a fifth of a float32 one's time.
            grad = torch.softmax(logits, dim=-1)  # [C, V]
            picked = _cells(targets[part])
            logp = grad[picked].float().clamp_min(SMALLEST).log_()
            if form.z_loss or form.smoothing:
                # logsumexp without another pass of exponentials: the highest logit less the log of its probability
                normaliser = logits.amax(dim=-1) - grad.amax(dim=-1).log()  # [C]
            if form.smoothing:
                logp = torch.lerp(logp, logits.mean(dim=-1) - normaliser, form.smoothing)
            total -= (logp * scale).sum(dtype=torch.float64)
            if form.z_loss:
                squares += (normaliser.square() * scale).sum(dtype=torch.float64)
                grad *= (1 + 2 * form.z_loss * normaliser).unsqueeze(1)
            grad[picked] -= 1 - form.smoothing  # softmax - one-hot; scatter_add_ would copy all of it
            if form.smoothing:
                grad -= form.smoothing / grad.shape[1]
            if not uniform:
                grad.mul_(scale.unsqueeze(1).to(grad.dtype))
            grad = _before(grad, logits, form)
            if bias_grad is not None:
                bias_grad += grad.sum(dim=0)
            grad = grad.to(hidden.dtype)
            hidden_grad[part] = product(grad, compute.t())
            if weight_grad is not None:
                _add_product(weight_grad, grad, hidden[part])
        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        added = form.z_loss * squares
        sums = (total + added if form.z_loss else total).float(), added.float()
        ctx.mark_non_differentiable(sums[1])
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad, bias_grad = ctx.saved_tensors
        scaled = (None if found is None else found * grads[0] for found in (weight_grad, bias_grad))
        return hidden_grad * grads[0].to(hidden_grad.dtype), *scaled, None, None, None


class _LogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, form: _Form) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.form = form
        compute = weight.to(hidden.dtype)
        picked = [
            torch.log_softmax(_logits(hidden[part], compute, bias, form).float(), dim=-1)
            .gather(1, targets[part].unsqueeze(1))
            .squeeze(1)
            for part in _chunks(hidden.shape[0], weight.shape[0])
        ]
        return torch.cat(picked) if picked else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        compute = weight.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        bias_grad = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            scale = -grads[0][part].unsqueeze(1)  # d(log p)/d(logit) = one-hot - softmax
            logits = _logits(hidden[part], compute, bias, ctx.form).float()
            grad = torch.log_softmax(logits, dim=-1).exp_().mul_(scale)
            grad[_cells(targets[part])] += grads[0][part]
            grad = _before(grad, logits, ctx.form)
            if bias_grad is not None:
                bias_grad += grad.sum(dim=0)
            grad = grad.to(hidden.dtype)
            hidden_grad[part] = product(grad, compute.t())
            if weight_grad is not None:
                _add_product(weight_grad, grad, hidden[part])
        return hidden_grad, weight_grad, bias_grad, None, None


class _Divergence(torch.autograd.Function):
    """Σ w ½ (KL(p ‖ q) + KL(q ‖ p)) = ½ Σ w Σ (p - q)(log p - log q) of the softmaxes of two hidden states."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None, weights: Tensor, form: _Form
    ) -> Tensor:
        compute, total = weight.to(first.dtype), torch.zeros((), dtype=torch.float64, device=first.device)
        hidden_grads = torch.empty_like(first), torch.empty_like(second)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        bias_grad = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[3] else None
        for part in _chunks(first.shape[0], weight.shape[0]):
            hidden = first[part], second[part]
            logits = [_logits(h, compute, bias, form).float() for h in hidden]
            logs = [torch.log_softmax(found, dim=-1) for found in logits]  # [C, V]
            p, q = (found.exp() for found in logs)
            gap, scale = logs[0] - logs[1], 0.5 * weights[part].unsqueeze(1)
            total += ((p - q) * gap * scale).sum(dtype=torch.float64)
            # d/d logits of p: p (gap - KL(p ‖ q)) + p - q, and the same of q with the other sign
            own = p * (gap - (p * gap).sum(dim=-1, keepdim=True)) + p - q
            other = q * ((q * gap).sum(dim=-1, keepdim=True) - gap) + q - p
            for number, grad in enumerate((own, other)):
                grad = _before(grad.mul_(scale), logits[number], form)
                if bias_grad is not None:
                    bias_grad += grad.sum(dim=0)
                grad = grad.to(first.dtype)
                torch.mm(grad, compute, out=hidden_grads[number][part])
                if weight_grad is not None:
                    _add_product(weight_grad, grad, hidden[number])
        ctx.save_for_backward(*hidden_grads, weight_grad, bias_grad)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first, second, weight_grad, bias_grad = ctx.saved_tensors
        scaled = (None if found is None else found * grads[0] for found in (weight_grad, bias_grad))
        return first * grads[0].to(first.dtype), second * grads[0].to(second.dtype), *scaled, None, None


def symmetric_divergence(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    cap: float = 0.0,
    scale: float = 1.0,
) -> Tensor:
    """Σ w ½ (KL(p ‖ q) + KL(q ‖ p)), in nats. first, second: [N, D], weight: [V, D], weights: [N] -> scalar, float32.

    p and q are what the output layer makes of the two hidden states; gradients go into both, and into the layer.
    """
    return _Divergence.apply(first, second, weight, bias, weights, _Form(float(cap), float(scale)))


def cross_entropy_and_z(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    z_loss: float = 0.0,
    cap: float = 0.0,
    scale: float = 1.0,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """`cross_entropy_sum`, and how much of it is the z-loss, detached."""
    if not torch.is_grad_enabled():  # a Function sees that its inputs are parameters, not that nobody will ask
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    form = _Form(float(cap), float(scale), float(z_loss), float(smoothing))
    total, added = _CrossEntropySum.apply(hidden, weight, bias, targets, weights, form)
    return total, added


def cross_entropy_sum(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    z_loss: float = 0.0,
    cap: float = 0.0,
    scale: float = 1.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Σ w (-log p(target) + z logsumexp²). hidden: [N, D], weight: [V, D], targets, weights: [N], bias: [V] -> scalar.

    In float32. ``cap`` 0 caps nothing. With ``smoothing`` ε it is -(1 - ε) log p(target) - ε/V Σ log p.
    """
    options: dict[str, Any] = {"bias": bias, "z_loss": z_loss, "cap": cap, "scale": scale, "smoothing": smoothing}
    return cross_entropy_and_z(hidden, weight, targets, weights, **options)[0]


def log_probabilities(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    cap: float = 0.0,
    scale: float = 1.0,
) -> Tensor:
    """log p(target), differentiable. hidden: [N, D], weight: [V, D], targets: [N], bias: [V] -> [N], float32."""
    return _LogProbabilities.apply(hidden, weight, bias, targets, _Form(float(cap), float(scale)))
