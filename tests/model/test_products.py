"""float32 products by oneDNN: the same numbers up to rounding, and gradients that have gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.base.device import onednn_leads
from danlu.model import products
from danlu.model.adapters.lora import add_lora
from danlu.model.adapters.settings import Lora
from danlu.model.products import LEAST, product, suits
from danlu.objectives.linear_loss import cross_entropy_sum
from tests.conftest import Tiny

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product that may go to oneDNN goes there."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(products, "onednn_leads", lambda: True)
    monkeypatch.setattr(products, "LEAST", 1)


class Counted(TorchDispatchMode):
    """How many products oneDNN was asked for, and how many others were made."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = self.others = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ours += function is torch.ops.mkldnn._linear_pointwise.default
        self.others += function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return function(*args, **(kwargs or {}))


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (2, 3, 7, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_a_linear_layer_and_so_are_its_gradients(shape: tuple[int, ...], biased: bool) -> None:
    exact = [drawn(*shape), drawn(11, 5), *([drawn(11)] if biased else [])]
    found, wanted = list[Tensor](), list[Tensor]()
    for dtype, call, kept in ((torch.float32, product, found), (torch.float64, nn.functional.linear, wanted)):
        given = [value.to(dtype).requires_grad_() for value in exact]
        y = call(given[0].transpose(0, -2), *given[1:])  # not contiguous
        first = torch.autograd.grad((y**3).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(grad.square().sum() for grad in first), given)
        kept += [y, *first, *second]
    for ours, other in zip(found, wanted, strict=True):
        assert ours.shape == other.shape
        assert (ours - other).norm() <= 2e-6 * other.norm()


@pytest.mark.usefixtures("everywhere")
def test_a_model_learns_through_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned() -> tuple[Tensor, dict[str, Tensor], Counted]:
        model = tiny(tied=False)
        add_lora(model, Lora(rank=2), seed=0)
        for layer in model.modules():
            if hasattr(layer, "lora_B"):
                nn.init.constant_(layer.lora_B, 0.1)
        model.head.weight.requires_grad_(True)
        with Counted() as counted:
            logits = model(IDS)
            hidden = model.hidden(IDS).flatten(0, 1)
            loss = cross_entropy_sum(hidden, model.output_weight, IDS.flatten(), torch.ones(IDS.numel()))
            (logits.square().mean() + loss).backward()
        return logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, counted

    logits, gradients, counted = learned()
    monkeypatch.setattr(products, "onednn_leads", lambda: False)
    plain, others, none = learned()
    assert counted.ours > 40
    assert none.ours == 0
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert (gradient - others[name]).norm() <= 1e-4 * others[name].norm(), name


@pytest.mark.usefixtures("everywhere")
def test_what_checkpointing_keeps(tiny: Tiny) -> None:
    """selective keeps products, these too: it computes none of them again, and full does."""
    found = {}
    for kind in ("none", "selective", "full"):
        model = tiny()
        model.checkpointing = kind
        with Counted() as counted:
            model.hidden(IDS).square().mean().backward()
        found[kind] = counted.ours, [p.grad for p in model.parameters() if p.grad is not None]
    assert found["none"][0] == found["selective"][0] < found["full"][0]
    for kind in ("selective", "full"):
        assert all(torch.equal(a, b) for a, b in zip(found["none"][1], found[kind][1], strict=True))


def test_what_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_leads", lambda: True)
    x, weight = torch.zeros(LEAST // 512, 8), torch.zeros(64, 8)
    assert suits(x, weight)
    assert suits(x, nn.Parameter(weight))
    assert not suits(x[1:], weight)  # too small
    assert not suits(x.bfloat16(), weight.bfloat16())
    assert not suits(x, weight.bfloat16())
    assert not suits(x.to("meta"), weight.to("meta"))
    assert not suits(x.as_subclass(type("Shard", (Tensor,), {})), weight)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not suits(x, weight)
    monkeypatch.undo()
    assert suits(x, weight) == onednn_leads()
