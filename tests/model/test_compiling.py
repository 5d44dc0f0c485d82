"""Compiled blocks: the same mathematics, for training alone."""

import shutil
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor
from torch._dynamo.utils import counters

from danlu.base.errors import UserError
from danlu.model import compiling

KINDS: dict[str, dict[str, Any]] = {
    "rope": {},
    "window, cap and norms": {"window": 3, "attention_cap": 20.0, "qk_norm": True, "norm_place": "sandwich"},
    "gelu and layernorm": {"activation": "gelu", "norm": "layernorm", "positions": "learned", "bias": True},
}


def packed() -> tuple[Tensor, Tensor]:
    """Rows of two documents each, then padding."""
    segments = torch.tensor([[0] * 5 + [1] * 8 + [-1], [0] * 7 + [1] * 7], dtype=torch.int32)
    return torch.randint(61, (2, 14), generator=torch.Generator().manual_seed(2)), segments


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the C++ compiler, which a machine need not have."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch.compiler.reset()
    counters.clear()


# torch asks each tensor that it meets for a gradient, and warns of its own question.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize(("kind", "checkpointing"), [*((kind, "none") for kind in KINDS), ("rope", "full")])
def test_compiled_blocks_give_the_same_gradients(tiny: Tiny, kind: str, checkpointing: str) -> None:
    ids, segments = packed()
    found = []
    for compile_ in (False, True):
        model = tiny(**KINDS[kind])
        model.checkpointing = checkpointing
        if compile_:
            model.compile_blocks()
        loss = model(ids, segments)[segments >= 0].square().sum()
        loss.backward()
        found.append((loss, *(parameter.grad for parameter in model.parameters())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)
    assert counters["stats"]["unique_graphs"] >= 1
    assert not counters["graph_break"]  # the whole block is one graph


def test_only_training_is_compiled(tiny: Tiny) -> None:
    model = tiny()
    model.compile_blocks()
    names = set(model.state_dict())
    with torch.no_grad():
        model(*packed())
    assert not counters["stats"]
    assert names == set(tiny().state_dict())


def test_a_machine_without_a_compiler_is_one_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"there is no C\+\+ compiler.*Install g\+\+"):
        tiny().compile_blocks()
