"""The decoder: Llama's numbers, nobody sees the future or another document, and memory is saved for nothing."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor
from transformers import LlamaForCausalLM

from danlu.base.errors import UserError
from danlu.model import attention
from danlu.model.families import hub_name
from danlu.model.hub import save_model
from danlu.model.transformer import Transformer

POSITIONS = ("rope", "alibi", "learned", "sinusoidal")
SWITCHES = list(itertools.product(POSITIONS, ("rmsnorm", "layernorm"), ("swiglu", "gelu", "relu2")))
LLAMAS = [
    {"kv_heads": kv_heads, "tied": tied, "bias": bias}
    for kv_heads, tied, bias in itertools.product((4, 2, 1), (True, False), (False, True))
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences of a few tokens then cross the borders that long ones cross."""
    monkeypatch.setattr(attention, "BLOCK", 4)


def ids_of(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("changes", [*LLAMAS, {"head_width": 6, "rope_theta": 700.0, "norm_epsilon": 1e-2}], ids=str)
def test_logits_and_gradients_are_llamas(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    """No id is 0 here: transformers zeroes the gradient of a padding row."""
    ours = tiny(**changes)
    save_model(ours, tmp_path, {})
    theirs = LlamaForCausalLM.from_pretrained(tmp_path).train()
    ids, out = ids_of(3, 11), torch.randn(3, 11, 61, generator=torch.Generator().manual_seed(1))
    logits, expected = ours(ids), theirs(ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    (logits * out).sum().backward()
    (expected * out).sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        wanted = gradients.pop(hub_name(ours.config, name))
        assert wanted.norm() > 0
        assert (parameter.grad - wanted).norm() < 1e-5 * wanted.norm(), name
    assert gradients == {}


@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("positions", "norm", "activation"), SWITCHES)
def test_nobody_sees_the_future(tiny: Tiny, positions: str, norm: str, activation: str, learning: bool) -> None:
    model, ids = tiny(positions=positions, norm=norm, activation=activation), ids_of(2, 10)
    changed = ids.clone()
    changed[:, 6] = ids[:, 6] % 60 + 1
    with torch.set_grad_enabled(learning):
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(dim=-1).all()


def packed() -> tuple[Tensor, Tensor]:
    """Rows of two documents each, then padding: 5 + 8 + 1 and 7 + 7."""
    segments = torch.tensor([[0] * 5 + [1] * 8 + [-1], [0] * 7 + [1] * 7], dtype=torch.int32)
    return ids_of(2, 14, seed=2), segments


@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_packed_documents_never_see_each_other(tiny: Tiny, positions: str, dtype: torch.dtype, learning: bool) -> None:
    model, (ids, segments) = tiny(positions=positions), packed()
    model.compute_dtype = dtype
    with torch.set_grad_enabled(learning):
        before = model(ids, segments)
        for of in (0, 1):
            changed = torch.where(segments == of, ids % 60 + 1, ids)
            after = model(changed, segments)
            assert before.dtype == dtype
            assert torch.equal(before[segments != of], after[segments != of])
            assert (before[segments == of] != after[segments == of]).any(dim=-1).all()
        tolerance = 1e-5 if dtype == torch.float32 else 0.1
        for row, of in itertools.product((0, 1), (0, 1)):
            where = segments[row] == of
            alone = model(ids[row : row + 1, where])[0]
            torch.testing.assert_close(before[row, where], alone, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("positions", POSITIONS)
def test_packing_changes_no_gradient(tiny: Tiny, positions: str) -> None:
    ids, segments = packed()
    together, apart = tiny(positions=positions), tiny(positions=positions)
    together(ids, segments)[segments >= 0].square().sum().backward()
    for row, of in itertools.product((0, 1), (0, 1)):
        apart(ids[row : row + 1, segments[row] == of]).square().sum().backward()
    for (name, a), b in zip(together.named_parameters(), apart.parameters()):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).norm() <= 1e-5 * b.grad.norm(), name


@pytest.mark.parametrize("positions", POSITIONS)
def test_order_is_seen(tiny: Tiny, positions: str) -> None:
    """The last token's logits change when two tokens before it change places."""
    model, ids = tiny(positions=positions), ids_of(1, 6)
    swapped = ids[:, [1, 0, 2, 3, 4, 5]]
    assert (model(ids)[0, -1] - model(swapped)[0, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_checkpointing_gives_the_same_gradients(tiny: Tiny, positions: str) -> None:
    ids, segments = packed()
    found = []
    for checkpointing in (False, True):
        model, calls = tiny(positions=positions), list[int]()
        model.checkpointing = checkpointing
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        loss = model(ids, segments).square().sum()
        loss.backward()
        found.append((len(calls), loss, [p.grad for p in model.parameters()]))
    (once, loss, gradients), (twice, again, others) = found
    assert (once, twice) == (2, 4)  # every block was computed again
    assert torch.equal(loss, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others))  # type: ignore[arg-type]


def test_checkpointing_costs_nothing_without_gradients(tiny: Tiny) -> None:
    model = tiny()
    expected = model(ids_of(1, 5))
    model.checkpointing = True
    with torch.no_grad():
        torch.testing.assert_close(model(ids_of(1, 5)), expected)


def test_a_sequence_that_is_too_long_is_one_sentence(tiny: Tiny) -> None:
    model: Transformer = tiny(max_length=8)
    assert model(ids_of(1, 8)).shape == (1, 8, 61)
    with pytest.raises(UserError, match=r"a sequence of 9 tokens is longer than the model's 8\. Cut the text"):
        model(ids_of(1, 9))


@pytest.mark.parametrize(("positions", "norm", "activation"), SWITCHES)
def test_bf16_is_near_float32(tiny: Tiny, positions: str, norm: str, activation: str) -> None:
    """And the weights, and what reaches their gradients, stay float32."""
    model, ids = tiny(positions=positions, norm=norm, activation=activation), ids_of(2, 9)
    expected = model(ids)
    model.compute_dtype = torch.bfloat16
    logits = model(ids)
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).norm() < 0.05 * expected.norm()
    logits.float().square().sum().backward()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
