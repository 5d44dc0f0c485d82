"""Mamba-2: chunks are steps, documents and padding leave no trace, and the cache goes on where reading stopped."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import danlu.model.hf
from danlu.base.errors import UserError
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.hub import load_model, save_model
from danlu.model.kinds import Experts, StateSpace
from danlu.model.mamba import convolve, runs_of, scan
from danlu.model.transformer import Transformer

SPACE = StateSpace(state=16, head_width=8, groups=2, chunk=4)
SHAPE = {"vocab_size": 61, "layers": 4, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "feedforward": 48}
PURE: dict[str, Any] = {"state_space": SPACE, "positions": "none"}
HYBRID: dict[str, Any] = {"state_space": replace(SPACE, attention_every=2)}
FED: dict[str, Any] = {"state_space": replace(SPACE, attention_every=2, feedforward=True, groups=1)}
STACKS = pytest.mark.parametrize("stack", [PURE, HYBRID, FED], ids=["pure", "hybrid", "fed"])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids_of(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(seed))


def inputs(length: int, groups: int) -> dict[str, Tensor]:
    """Two rows, four heads of width 3, a state of 5; steps from none to so long that all is forgotten."""
    steps = nn.functional.softplus(3 * numbers(2, length, 4, seed=1))
    rates, x = -numbers(4, seed=2).exp(), numbers(2, length, 4, 3)
    write, read = (numbers(2, length, groups, 5, seed=seed) for seed in (3, 4))
    return {"x": x, "steps": steps, "rates": rates, "write": write, "read": read}


def step_by_step(
    x: Tensor, steps: Tensor, rates: Tensor, write: Tensor, read: Tensor, runs: Tensor | None, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The recurrence as the paper writes it."""
    heads = x.shape[2] // write.shape[2]
    write, read = write.repeat_interleave(heads, 2), read.repeat_interleave(heads, 2)  # [B, T, H, N]
    h = torch.zeros(*x[:, 0].shape, write.shape[-1]) if state is None else state  # [B, H, P, N]
    out = []
    for t in range(x.shape[1]):
        if runs is not None and t:
            h = h * (runs[:, t] == runs[:, t - 1])[:, None, None, None]
        left = torch.exp(steps[:, t] * rates)[..., None, None]
        h = left * h + steps[:, t, :, None, None] * x[:, t, :, :, None] * write[:, t, :, None]
        out.append((h * read[:, t, :, None]).sum(-1))
    return torch.stack(out, dim=1), h


@pytest.mark.parametrize("kind", ["plain", "runs", "state"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunk", [1, 4, 13, 64])
def test_chunks_are_steps(chunk: int, groups: int, kind: str) -> None:
    parts = {name: value.requires_grad_() for name, value in inputs(13, groups).items()}
    runs = torch.tensor([[1] * 3 + [2] * 5 + [3] * 5, [1] * 8 + [2] + [3] * 4]) if kind == "runs" else None
    state = numbers(2, 4, 3, 5, seed=6) if kind == "state" else None
    found = scan(**parts, chunk=chunk, runs=runs, state=state)
    expected = step_by_step(**parts, runs=runs, state=state)
    out = [numbers(*value.shape, seed=7) for value in expected]
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    grads = [
        torch.autograd.grad(sum((y * o).sum() for y, o in zip(pair, out)), list(parts.values()))  # type: ignore[arg-type]
        for pair in (found, expected)
    ]
    for ours, theirs in zip(*grads):
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_the_convolution_is_torchs() -> None:
    x, kernel, before = numbers(2, 9, 6), numbers(6, 1, 4, seed=1), numbers(2, 3, 6, seed=2)
    expected = nn.functional.conv1d(torch.cat([before, x], 1).transpose(1, 2), kernel, groups=6).transpose(1, 2)
    torch.testing.assert_close(convolve(x, kernel, before, None), expected, rtol=1e-5, atol=1e-6)


def test_the_convolution_stops_at_borders() -> None:
    x, kernel, nothing = numbers(1, 9, 6), numbers(6, 1, 4, seed=1), torch.zeros(1, 3, 6)
    runs = runs_of(torch.tensor([[0, 0, 5, 5, 5, 5, 5, 0, -1]]))
    assert runs.tolist() == [[1, 1, 2, 2, 2, 2, 2, 3, 4]]
    parts = [convolve(part, kernel, nothing, None) for part in x.split([2, 5, 1, 1], dim=1)]
    torch.testing.assert_close(convolve(x, kernel, nothing, runs), torch.cat(parts, dim=1))


@STACKS
@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
def test_nobody_sees_the_future(tiny: Tiny, stack: dict[str, Any], learning: bool) -> None:
    model, ids = tiny(**stack), ids_of(2, 10)
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


@STACKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
def test_packed_documents_never_see_each_other(
    tiny: Tiny, stack: dict[str, Any], dtype: torch.dtype, learning: bool
) -> None:
    model, (ids, segments) = tiny(**stack), packed()
    model.compute_dtype = dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    with torch.set_grad_enabled(learning):
        before = model(ids, segments)
        for of in (0, 1):
            after = model(torch.where(segments == of, ids % 60 + 1, ids), segments)
            assert torch.equal(before[segments != of], after[segments != of])
            assert (before[segments == of] != after[segments == of]).any(dim=-1).all()
        for row, of in itertools.product((0, 1), (0, 1)):
            where = segments[row] == of
            alone = model(ids[row : row + 1, where])[0]
            torch.testing.assert_close(before[row, where], alone, rtol=tolerance, atol=tolerance)


@STACKS
def test_packing_changes_no_gradient(tiny: Tiny, stack: dict[str, Any]) -> None:
    ids, segments = packed()
    together, apart = tiny(**stack), tiny(**stack)
    together(ids, segments)[segments >= 0].square().sum().backward()
    for row, of in itertools.product((0, 1), (0, 1)):
        apart(ids[row : row + 1, segments[row] == of]).square().sum().backward()
    for (name, a), b in zip(together.named_parameters(), apart.parameters()):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).norm() <= 1e-5 * b.grad.norm(), name


LENGTHS, NEW = (3, 7, 1), 6


def left_padded(whole: list[Tensor]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    segments = torch.full_like(ids, -1)
    for row, (sequence, length) in enumerate(zip(whole, LENGTHS)):
        ids[row, -length:], segments[row, -length:] = sequence[:length], 0
    return ids, segments


@STACKS
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@torch.no_grad()
def test_decoding_is_the_whole_forward(tiny: Tiny, stack: dict[str, Any], dtype: torch.dtype, step: int) -> None:
    """And padding on the left leaves no trace."""
    model, whole = tiny(**stack), [ids_of(1, n + NEW, seed=n)[0] for n in LENGTHS]
    model.compute_dtype = dtype
    ids, segments = left_padded(whole)
    cache = Cache(model.config, len(whole), ids.shape[1] + NEW, dtype)
    parts = [model(ids, segments, cache)[:, -1:]]
    for i in range(0, NEW, step):
        parts.append(model(torch.stack([x[n + i : n + i + step] for x, n in zip(whole, LENGTHS)]), None, cache))
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for row, logits in enumerate(torch.cat(parts, dim=1)):
        expected = model(whole[row][None])[0, LENGTHS[row] - 1 :]
        assert logits.dtype == dtype
        torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_padding_leaves_nothing_in_the_cache(tiny: Tiny) -> None:
    """Whatever stands there: window and state are those of a prompt that was read alone, and nothing before it."""
    model, whole = tiny(**PURE), [ids_of(1, n, seed=n)[0] for n in LENGTHS]
    ids, segments = left_padded(whole)
    ids[segments < 0] = 17
    cache = Cache(model.config, 3, 16, torch.float32)
    model(ids, segments, cache)
    for row, prompt in enumerate(whole):
        alone = Cache(model.config, 1, 16, torch.float32)
        model(prompt[None], None, alone)
        torch.testing.assert_close(cache.states[:, row], alone.states[:, 0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(cache.windows[:, row], alone.windows[:, 0], rtol=1e-5, atol=1e-6)


@STACKS
@torch.no_grad()
def test_a_row_that_leaves_takes_nothing_with_it(tiny: Tiny, stack: dict[str, Any]) -> None:
    model, whole = tiny(**stack), [ids_of(1, n + 1, seed=n)[0] for n in LENGTHS]
    ids, segments = left_padded(whole)
    cache = Cache(model.config, 3, 16, torch.float32)
    model(ids, segments, cache)
    cache.keep(torch.tensor([2, 0]))
    logits = model(torch.stack([whole[2][-1:], whole[0][-1:]]), None, cache)[:, 0]
    expected = torch.stack([model(whole[row][None])[0, -1] for row in (2, 0)])
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@STACKS
@torch.no_grad()
def test_the_engine_says_what_the_model_says(tiny: Tiny, stack: dict[str, Any]) -> None:
    model, prompts = tiny(**stack), [[5, 9, 3], [7, 2, 8, 1, 4, 6], [11]]
    for prompt, answer in zip(prompts, Engine(model, ()).generate(prompts, Sampling(temperature=0, max_new_tokens=6))):
        ids = torch.tensor([prompt + answer.ids])
        assert model(ids)[0, len(prompt) - 1 : -1].argmax(-1).tolist() == answer.ids


def test_the_cache_holds_what_each_kind_needs() -> None:
    cache = Cache(ModelConfig(**SHAPE, **HYBRID), 3, 10, torch.bfloat16)  # type: ignore[arg-type]
    assert cache.keys.shape == (2, 3, 2, 10, 8)
    assert cache.windows.shape == (2, 3, 3, 64 + 2 * 2 * 16)
    assert cache.states.shape == (2, 3, 8, 8, 16)
    assert (cache.keys.dtype, cache.windows.dtype, cache.states.dtype) == (torch.bfloat16,) * 2 + (torch.float32,)
    assert Cache(ModelConfig(**SHAPE, **PURE), 3, 10, torch.float32).keys.numel() == 0  # type: ignore[arg-type]


@STACKS
def test_bf16_is_near_float32(tiny: Tiny, stack: dict[str, Any]) -> None:
    model, ids = tiny(**stack), ids_of(2, 30)
    expected = model(ids)
    model.compute_dtype = torch.bfloat16
    logits = model(ids)
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).norm() < 0.05 * expected.norm()
    logits.float().square().sum().backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@STACKS
def test_checkpointing_gives_the_same_gradients(tiny: Tiny, stack: dict[str, Any]) -> None:
    found = []
    for checkpointing in (False, True):
        model, (ids, segments) = tiny(**stack), packed()
        model.checkpointing = checkpointing
        model(ids, segments).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found))  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", [False, True], ids=["one", "packed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_gradients_are_finite_at_great_length(tiny: Tiny, dtype: torch.dtype, packed: bool) -> None:
    """Decays over 2,048 tokens vanish, and neither they nor their inverses, across borders, overflow."""
    model = tiny(layers=1, max_length=2048, **{**PURE, "state_space": replace(SPACE, chunk=64)})
    with torch.no_grad():
        model.blocks[0].mamba.forgetting.fill_(math.log(16.0))  # type: ignore[union-attr, operator]
        model.blocks[0].mamba.pace_shift.fill_(3.0)  # type: ignore[union-attr, operator]
    model.compute_dtype = dtype
    hidden = model.hidden(ids_of(1, 2048), (torch.arange(2048) // 1000)[None] if packed else None)
    hidden.float().square().mean().backward()
    assert hidden.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_first_weights() -> None:
    model = Transformer(ModelConfig(**SHAPE, **PURE), seed=5)  # type: ignore[arg-type]
    ids = torch.arange(5)[None]
    assert torch.equal(model.features(ids), model.norm(model.embed(ids)))  # each block begins as the identity
    for block in model.blocks:
        pace = nn.functional.softplus(block.mamba.pace_shift)  # type: ignore[union-attr, arg-type]
        rate = block.mamba.forgetting.exp()  # type: ignore[union-attr, operator]
        assert bool(((pace > 0.00099) & (pace < 0.101)).all())
        assert bool(((rate > 0.99) & (rate < 16.1)).all())
        assert len(rate.unique()) == 8


def test_which_layers_attend() -> None:
    def kinds(**changes: Any) -> list[str]:
        config = ModelConfig(**{**SHAPE, "layers": 6, **changes})
        return ["a" if hasattr(b, "attention") else "mf" if b.fed else "m" for b in Transformer(config).blocks]

    assert kinds(**PURE) == ["m"] * 6
    assert kinds(state_space=replace(SPACE, attention_every=3)) == ["m", "m", "a"] * 2
    assert kinds(state_space=replace(SPACE, attention_every=2, feedforward=True)) == ["mf", "a"] * 3
    assert kinds() == ["a"] * 6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@STACKS
def test_all_weights_are_counted(stack: dict[str, Any], bias: bool, tied: bool) -> None:
    config = ModelConfig(**SHAPE, **stack, bias=bias, tied=tied)  # type: ignore[arg-type]
    model = Transformer(config)
    assert config.parameters() == sum(parameter.numel() for parameter in model.parameters())
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and n != "head.weight")
    assert config.matrix_parameters() == matrices
    scans = sum(config.is_recurrent(layer) for layer in range(4)) * config.state_space.flops(32)  # type: ignore[union-attr]
    attention = 12 * 4 * 8 * (4 - sum(config.is_recurrent(layer) for layer in range(4))) * 16 / 2
    assert config.flops_per_token(16) == 6 * matrices + attention + scans


def test_experts_in_a_hybrid(tiny: Tiny) -> None:
    experts = Experts(count=4, per_token=2, width=24)
    model = tiny(layers=4, experts=experts, **FED)
    assert model.config.parameters() == sum(parameter.numel() for parameter in model.parameters())
    model(ids_of(2, 9)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


CHANGES: dict[str, Any] = {
    "state": 8,
    "head_width": 16,
    "groups": 1,
    "convolution": 3,
    "convolution_bias": False,
    "expand": 3,
    "attention_every": 2,
    "feedforward": True,
}


@pytest.mark.parametrize("key", list(StateSpace.__dataclass_fields__))
def test_every_key_changes_something(tiny: Tiny, key: str) -> None:
    """But the chunk, which changes the speed alone."""
    ids, changed = ids_of(2, 9), replace(SPACE, **{key: CHANGES.get(key, 16)})
    positions = "rope" if key == "attention_every" else "none"
    found = [tiny(**PURE)(ids), tiny(state_space=changed, positions=positions)(ids)]
    if key == "chunk":
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    else:
        assert not torch.allclose(*found, rtol=1e-2, atol=1e-2)


@STACKS
def test_what_is_saved_is_loaded(tiny: Tiny, stack: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**stack, bias=True, activation="gelu")
    save_model(model, tmp_path, {})
    again, ids = load_model(tmp_path), ids_of(2, 9)
    assert torch.equal(again(ids), model(ids))


def test_it_learns_to_remember() -> None:
    """Which token came first, said at every later one: the convolution forgets it after four, the state must not."""
    shape = {**SHAPE, "layers": 1, "vocab_size": 16}
    model = Transformer(ModelConfig(**shape, **{**PURE, "state_space": replace(SPACE, chunk=8)}))  # type: ignore[arg-type]
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.02), []
    for step in range(80):
        ids = torch.randint(1, 16, (16, 8), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids[:, :1].expand(-1, 8).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 2.5
    assert losses[-1] < 0.8


def test_transformers_opens_it_as_danlu(tiny: Tiny, tmp_path: Path) -> None:
    model, ids = tiny(**HYBRID), ids_of(2, 9)
    save_model(model, tmp_path, {})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(theirs, danlu.model.hf.DanluForCausalLM)
    assert theirs.config.native() == model.config
    torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": 0}, "state_space state must be at least 1, is 0"),
        ({"attention_every": -1}, "state_space attention_every must not be negative"),
        ({"head_width": 24}, "head_width 24 does not divide the layer's 2 x 32"),
        ({"groups": 3}, "groups 3 do not divide the 8 heads"),
    ],
    ids=str,
)
def test_state_spaces_that_make_no_sense(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        ModelConfig(**SHAPE, positions="none", state_space=replace(SPACE, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({**PURE, "positions": "rope"}, "positions 'rope' are for attention, and no layer has it"),
        ({**PURE, "qk_norm": True}, r"qk_norm is for attention, and no layer has it\. Leave out qk_norm"),
        ({**HYBRID, "norm_place": "post"}, "state-space layers have one norm before them"),
        ({**HYBRID, "causal": False}, "a state space reads from left to right"),
        ({**PURE, "experts": Experts(4, 2, 8)}, "no layer has experts"),
    ],
    ids=str,
)
def test_models_that_make_no_sense(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        ModelConfig(**SHAPE, **changes)  # type: ignore[arg-type]
