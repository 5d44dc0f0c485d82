"""The feed-forward layer: five activations against their formulas, and the gates' own backwards against autograd."""

import pytest
import torch
from torch import Tensor, nn

from danlu.model.config import Activation, ModelConfig
from danlu.model.feedforward import FeedForward, _GeluGate, _SiluGate


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("gate", [_SiluGate, _GeluGate])
def test_the_gates_backward_is_right(gate: type[torch.autograd.Function]) -> None:
    inputs = tuple(drawn(3, 7, seed=seed).requires_grad_() for seed in (1, 2))
    torch.autograd.gradcheck(gate.apply, inputs)


def test_the_gates_gradient_is_autograds() -> None:
    gate, up, out = (drawn(3, 7, seed=seed).float() for seed in (1, 2, 3))
    ours = [t.clone().requires_grad_() for t in (gate, up)]
    theirs = [t.clone().requires_grad_() for t in (gate, up)]
    _SiluGate.apply(*ours).backward(out)
    (theirs[0] * torch.sigmoid(theirs[0]) * theirs[1]).backward(out)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad)


def tanh_form(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def by_hand(layer: FeedForward, x: Tensor) -> Tensor:
    """Shazeer 2020, equation 6; Hendrycks and Gimpel 2016, the tanh form; So et al. 2021, section 3."""
    up = nn.functional.linear(x, layer.up.weight, layer.up.bias)
    if layer.activation == "swiglu":
        gate = nn.functional.linear(x, layer.gate.weight, layer.gate.bias)
        hidden = gate / (1 + (-gate).exp()) * up
    elif layer.activation == "geglu":
        gate = nn.functional.linear(x, layer.gate.weight, layer.gate.bias)
        hidden = tanh_form(gate) * up
    elif layer.activation == "gelu":
        hidden = tanh_form(up)
    elif layer.activation == "gelu_exact":
        hidden = up * 0.5 * (1 + torch.erf(up / 2**0.5))
    else:
        hidden = up.clamp_min(0) ** 2
    return nn.functional.linear(hidden, layer.down.weight, layer.down.bias)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["swiglu", "geglu", "gelu", "gelu_exact", "relu2"])
def test_the_activations_are_their_formulas(activation: Activation, bias: bool) -> None:
    config = ModelConfig(vocab_size=9, width=8, feedforward=20, activation=activation, bias=bias)
    layer = FeedForward(config).double()
    x = drawn(2, 5, 8)
    torch.testing.assert_close(layer(x), by_hand(layer, x))
    assert (layer.up.bias is not None) == bias
