"""The walk through the blocks: each layer is shown what reaches it once those before it have changed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.compress.calibrate import calibrate, in_turn
from danlu.model.adapters.layers import linears
from danlu.model.config import Experts, StateSpace
from danlu.model.linear import Linear
from tests.conftest import Tiny

DOCUMENTS = [[5, 9, 3, 7, 7, 2], [1, 4], [8, 8, 6, 30, 11, 2, 19, 50, 3]]


def covariances(model: Any) -> dict[str, Tensor]:
    """Of each layer the sum of xᵀx, by hooks on an ordinary pass."""
    found = dict[str, Tensor]()

    def noting(name: str) -> Any:
        def note(_: Any, given: tuple[Tensor, ...]) -> None:
            x = given[0].flatten(0, -2)
            found[name] = found.get(name, 0) + x.t() @ x

        return note

    hooks = [layer.register_forward_pre_hook(noting(name)) for name, layer in linears(model)]
    with torch.no_grad():
        for ids in DOCUMENTS:
            model.hidden(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "changes", [{}, {"window": 3, "global_every": 2}, {"parallel": True}, {"value_embeddings": True}]
)
def test_layers_see_what_an_ordinary_pass_shows_them(tiny: Tiny, changes: dict[str, Any]) -> None:
    model = tiny(**changes)
    wanted, shown = covariances(model), list[Tensor]()

    def change(weight: Tensor, covariance: Tensor) -> Tensor:
        shown.append(covariance.clone())
        return weight

    assert list(calibrate(model, DOCUMENTS, change)) == [1, 2]
    assert len(shown) == len(wanted) == len(list(linears(model)))
    left = list(wanted.values())
    for covariance in shown:
        like = [one.shape == covariance.shape and torch.allclose(one, covariance, 1e-4, 1e-5) for one in left]
        del left[like.index(True)]


def test_a_layer_sees_what_the_changed_ones_before_it_make(tiny: Tiny) -> None:
    """The last one called: of the whole model, changed, it is shown what an ordinary pass shows."""
    model, shown = tiny(), list[Tensor]()

    def change(weight: Tensor, covariance: Tensor) -> Tensor:
        shown.append(covariance.clone())
        return weight * 1.1

    before = covariances(model)
    list(calibrate(model, DOCUMENTS, change))
    after = covariances(model)
    name = [name for name, _ in linears(model)][-1]
    assert "down" in name
    assert torch.allclose(shown[-1], after[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shown[-1], before[name], rtol=1e-2)


def test_layers_of_one_input_stand_together_in_the_order_of_calls(tiny: Tiny) -> None:
    model = tiny()
    layers = {layer: name.rpartition(".")[2] for name, layer in linears(model) if name.startswith("blocks.0.")}
    x = torch.randn(1, 4, 32)
    context = None

    def hook(_: Any, given: tuple[Any, ...]) -> None:
        nonlocal context
        context = given[1]

    handle = model.blocks[0].register_forward_pre_hook(hook)
    model.hidden(torch.tensor([[1, 2, 3, 4]]))
    handle.remove()
    given = [layer for layer in reversed(layers) if isinstance(layer, Linear)]
    found = in_turn(given, lambda i: model.blocks[0](x, context))
    assert [{layers[layer] for layer in group} for group in found] == [{"q", "k", "v"}, {"o"}, {"gate", "up"}, {"down"}]


def test_experts_stay_as_they_are_and_the_shared_one_changes(tiny: Tiny) -> None:
    model = tiny(experts=Experts(count=8, per_token=2, width=16, shared_width=16))
    before = {name: value.clone() for name, value in model.named_parameters()}
    list(calibrate(model, DOCUMENTS, lambda weight, covariance: weight * 1.5))
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {f"{name}.weight" for name, _ in linears(model)}
    assert any("shared" in name for name in moved)


def test_what_cannot_be_walked_through_is_refused(tiny: Tiny) -> None:
    def same(weight: Tensor, covariance: Tensor) -> Tensor:
        return weight

    with pytest.raises(UserError, match="no document"):
        list(calibrate(tiny(), [], same))
    state = tiny(state_space=StateSpace(state=8, head_width=16, attention_every=2))
    with pytest.raises(UserError, match="only blocks of attention"):
        list(calibrate(state, DOCUMENTS, same))
