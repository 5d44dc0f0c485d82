"""Every switch of the architecture, alone and together, against the laws that hold for all of them."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor
from transformers import AutoModelForCausalLM

import danlu.model.hf  # noqa: F401  registers the model type
from danlu.base.errors import UserError
from danlu.model import attention
from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.hub import load_model, save_model
from danlu.model.transformer import Transformer

SWITCHES: dict[str, dict[str, Any]] = {
    "geglu": {"activation": "geglu"},
    "norms without weights": {"norm_weight": False, "qk_norm": True},
    "layernorm without biases": {"norm": "layernorm", "norm_bias": False},
    "gelu_exact": {"activation": "gelu_exact", "bias": True},
    "post-norm": {"norm_place": "post", "norm": "layernorm"},
    "sandwich": {"norm_place": "sandwich"},
    "parallel": {"parallel": True, "norm": "layernorm", "bias": True},
    "embedding norm": {"embedding_norm": True},
    "no positions": {"positions": "none"},
    "a quarter turned": {"rope_share": 0.5},
    "yarn": {"rope_scaling": "yarn", "rope_factor": 4.0},
    "llama3": {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original": 16},
    "every second unturned": {"rope_skip": 2},
    "window": {"window": 4},
    "window with ALiBi": {"window": 4, "positions": "alibi"},
    "window, every second global": {"window": 3, "global_every": 2, "rope_local_theta": 77.0},
    "qk norm": {"qk_norm": True},
    "scaled scores": {"attention_scale": 0.5},
    "capped scores": {"attention_cap": 0.7},
    "capped scores in a window": {"attention_cap": 0.7, "window": 5},
    "qkv bias": {"qkv_bias": True},
    "multiplied embedding": {"embedding_multiplier": 3.0},
    "transform": {"head_transform": True, "head_bias": True},
    "capped logits": {"logit_cap": 1.5, "logit_scale": 0.7},
    "value embeddings": {"value_embeddings": True},
    "residual scalars": {"residual_scalars": True},
    "Gemma 2": {
        **{"norm_place": "sandwich", "activation": "geglu", "window": 4, "global_every": 2, "embedding_multiplier": 5.7},
        **{"attention_cap": 5.0, "logit_cap": 3.0, "attention_scale": 0.4},
    },
    "much": {
        **{"qk_norm": True, "value_embeddings": True, "residual_scalars": True, "logit_cap": 15.0, "tied": False},
        **{"activation": "relu2", "embedding_norm": True, "kv_heads": 1},
    },
}  # fmt: skip
ALL = pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES.keys())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences of a few tokens then cross the borders that long ones cross."""
    monkeypatch.setattr(attention, "BLOCK", 4)


def ids_of(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(seed))


def packed() -> tuple[Tensor, Tensor]:
    """Rows of two documents each, then padding: 5 + 8 + 1 and 7 + 7."""
    segments = torch.tensor([[0] * 5 + [1] * 8 + [-1], [0] * 7 + [1] * 7], dtype=torch.int32)
    return ids_of(2, 14, seed=2), segments


@ALL
def test_the_switch_changes_the_logits_and_every_parameter_learns(tiny: Tiny, changes: dict[str, Any]) -> None:
    """Names are drawn by, so what two models share has the same values in both."""
    model, plain = tiny(**changes), tiny()
    logits = model(ids_of(2, 12))
    assert not torch.allclose(logits, plain(ids_of(2, 12)))
    logits.square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.norm() > 0]
    assert still == []


@ALL
def test_the_counts_are_the_models(tiny: Tiny, changes: dict[str, Any]) -> None:
    model = tiny(**changes)
    assert model.config.parameters() == sum(p.numel() for p in model.parameters())
    looked_up = ("embed.", "positions.", "head.", "values.table")
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and not any(x in name for x in looked_up)]
    assert model.config.matrix_parameters() == sum(p.numel() for p in matrices) + model.output_weight.numel()


@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
@ALL
def test_nobody_sees_the_future(tiny: Tiny, changes: dict[str, Any], learning: bool) -> None:
    model, ids = tiny(**changes), ids_of(2, 10)
    changed = ids.clone()
    changed[:, 6] = ids[:, 6] % 60 + 1
    with torch.set_grad_enabled(learning):
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6] != after[:, 6]).any(dim=-1).all()


@ALL
def test_packing_changes_no_logit_and_no_gradient(tiny: Tiny, changes: dict[str, Any]) -> None:
    ids, segments = packed()
    together, apart = tiny(**changes), tiny(**changes)
    whole = together(ids, segments)
    whole[segments >= 0].square().sum().backward()
    for row, of in itertools.product((0, 1), (0, 1)):
        where = segments[row] == of
        alone = apart(ids[row : row + 1, where])
        torch.testing.assert_close(whole[row, where], alone[0], rtol=1e-4, atol=1e-5)
        alone.square().sum().backward()
    for (name, a), b in zip(together.named_parameters(), apart.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).norm() <= 2e-5 * b.grad.norm(), name


@ALL
def test_training_and_inference_agree_and_so_does_bf16(tiny: Tiny, changes: dict[str, Any]) -> None:
    model, ids = tiny(**changes), ids_of(2, 11)
    learned = model(ids)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), learned, rtol=1e-4, atol=1e-5)
    model.compute_dtype = torch.bfloat16
    assert (model(ids).float() - learned).norm() < 0.08 * learned.norm()


@ALL
def test_decoding_is_the_whole_forward(tiny: Tiny, changes: dict[str, Any]) -> None:
    """Two rows, one of them padded on the left; a prompt, then a token at a time."""
    model, ids = tiny(**changes), ids_of(2, 12)
    padded, segments = torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7, dtype=torch.int32)
    padded[0], padded[1, 3:], segments[1, :3] = ids[0, :7], ids[1, :4], -1
    cache, rest = Cache(model.config, 2, 12, torch.float32), [ids[0, 7:], ids[1, 4:9]]
    with torch.no_grad():
        parts = [model(padded, segments, cache)[:, -1:]]
        parts += [model(torch.stack([row[i : i + 1] for row in rest]), None, cache) for i in range(5)]
        for row, (logits, start) in enumerate(zip(torch.cat(parts, dim=1), (6, 3), strict=True)):
            whole = model(ids[row : row + 1, : start + 6])[0, start:]
            torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-4)


@ALL
def test_what_is_saved_is_loaded_here_and_in_transformers(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model, ids = tiny(**changes), ids_of(2, 9)
    save_model(model, tmp_path, {"pad_token_id": 0})
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    theirs, said = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))
        torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-4, atol=1e-4)


@ALL
def test_checkpointing_gives_the_same_gradients(tiny: Tiny, changes: dict[str, Any]) -> None:
    ids, segments = packed()
    found = []
    for checkpointing in (False, True):
        model = tiny(**changes)
        model.checkpointing = checkpointing
        model(ids, segments).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def reached(model: Transformer, length: int = 12, changed: int = 2) -> list[int]:
    """Where the last block's output changes when token number ``changed`` does."""
    ids = ids_of(1, length)
    other = ids.clone()
    other[0, changed] = ids[0, changed] % 60 + 1
    with torch.no_grad():
        return (model(ids) != model(other)).any(-1)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("learning", [True, False], ids=["training", "inference"])
def test_a_window_reaches_so_far_and_no_further(tiny: Tiny, cap: float, learning: bool) -> None:
    """One layer sees 4 tokens, its own included; each further layer 3 more; a global one everything."""
    with torch.set_grad_enabled(learning):
        assert reached(tiny(layers=1, window=4, attention_cap=cap)) == [2, 3, 4, 5]
        assert reached(tiny(layers=2, window=4, attention_cap=cap)) == list(range(2, 9))
        assert reached(tiny(layers=2, window=4, global_every=2, attention_cap=cap)) == list(range(2, 12))


def test_an_encoder_sees_all_of_its_segment_and_nothing_else(tiny: Tiny) -> None:
    model, (ids, segments) = tiny(causal=False, positions="learned"), packed()
    assert reached(model) == list(range(12))
    assert reached(tiny(causal=False, window=3, layers=1), changed=6) == [4, 5, 6, 7, 8]
    changed = ids.clone()
    changed[0, 4] = ids[0, 4] % 60 + 1
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            moved = (model(ids, segments) != model(changed, segments)).any(-1)
        assert moved[0].tolist() == [True] * 5 + [False] * 9
        assert not moved[1].any()
    with pytest.raises(UserError, match="an encoder sees all tokens at once and generates none"):
        model(ids, segments, Cache(model.config, 2, 20, torch.float32))


def test_value_embeddings_are_in_every_second_layer_and_in_the_last(tiny: Tiny) -> None:
    for layers, expected in ((2, [False, True]), (5, [True, False, True, False, True])):
        model = tiny(layers=layers, value_embeddings=True)
        assert [block.attention.valued for block in model.blocks] == expected


def test_a_model_of_residual_scalars_begins_as_one_without(tiny: Tiny) -> None:
    shape = {"vocab_size": 61, "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8}
    plain, mixed = (Transformer(ModelConfig(**shape, residual_scalars=r), seed=3) for r in (False, True))
    assert torch.equal(plain(ids_of(1, 9)), mixed(ids_of(1, 9)))


def test_dropout_drops_its_share_in_training_alone(tiny: Tiny) -> None:
    model, ids = tiny(dropout=0.25), ids_of(4, 60)
    model.eval()
    assert torch.equal(model(ids), tiny()(ids))
    model.train()
    torch.manual_seed(0)
    once, again = model(ids), model(ids)
    assert not torch.equal(once, again)
    torch.manual_seed(0)
    assert torch.equal(model(ids), once)
    kept = model._embed(ids, torch.zeros_like(ids))
    assert abs(float((kept == 0).float().mean()) - 0.25) < 0.03


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"norm_bias": False}, "norm_bias is for a layernorm with weights"),
        ({"norm_weight": False, "norm_plus_one": True}, "norm_plus_one is for weights of norms, and there are none"),
        ({"positions": "alibi", "rope_scaling": "yarn"}, "rope_scaling is for RoPE, and positions are 'alibi'"),
        ({"positions": "none", "rope_theta": 5.0}, "rope_theta is for RoPE, and positions are 'none'. Leave out"),
        ({"rope_factor": 2.0}, "rope_factor is for a rope_scaling, and there is none"),
        ({"rope_scaling": "yarn", "rope_factor": 0.5}, "rope_factor must be at least 1, is 0.5"),
        ({"rope_share": 0.1}, "head_width must be even, is 0"),
        ({"rope_share": 1.5}, "head_width must be even, is 12"),
        ({"window": 65}, "window 65 is longer than max_length 64"),
        ({"window": -1}, "window must not be negative, is -1"),
        ({"global_every": 2}, "global_every is for layers with a window, and there is none. Give a window"),
        ({"rope_local_theta": 2.0}, "rope_local_theta is for layers with a window"),
        ({"parallel": True, "norm_place": "post"}, "parallel layers read one norm before them"),
        ({"bias": True, "qkv_bias": True}, "bias includes qkv_bias. Give one of them"),
        ({"value_embeddings": True, "layers": 1}, "value embeddings are in every second layer, and there is one"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, is 1.0"),
    ],
)
def test_combinations_without_sense_are_refused(tiny: Tiny, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        tiny(**changes)


def test_the_cost_of_a_window_by_hand() -> None:
    """Of 10 tokens, in a window of 4, a token sees 4 but for the first three: (1 + 2 + 3 + 7 x 4) / 10 = 3.4, and
    the formula, which counts half a token less at each end, 4 - 16 / 20 = 3.2; without a window 5."""
    shape = {"vocab_size": 61, "layers": 2, "width": 24, "heads": 4, "kv_heads": 4, "head_width": 8, "max_length": 16}
    config = ModelConfig(**shape, window=4, global_every=2)
    matrices = 6 * config.matrix_parameters()
    assert config.flops_per_token(10) == pytest.approx(matrices + 12 * 4 * 8 * (3.2 + 5))
    encoder = ModelConfig(**shape, causal=False)
    assert encoder.flops_per_token(10) == pytest.approx(matrices + 12 * 4 * 8 * 20)
