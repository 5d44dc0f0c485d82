"""``model_type: danlu``: every combination that no class of transformers expresses opens there all the same."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from transformers import AutoConfig, AutoModelForCausalLM

from danlu.model.families import writing
from danlu.model.hf import DanluForCausalLM
from danlu.model.hub import load_model, save_model

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
SWITCHES = itertools.product(
    ("rope", "alibi", "learned", "sinusoidal"), ("rmsnorm", "layernorm"), ("swiglu", "gelu", "relu2")
)
OTHERS = [
    {"positions": positions, "norm": norm, "activation": activation, "tied": i % 2 == 0, "bias": i % 3 == 0}
    for i, (positions, norm, activation) in enumerate(SWITCHES)
    if (positions, norm, activation) != ("rope", "rmsnorm", "swiglu")
]


@pytest.mark.parametrize("changes", OTHERS, ids=lambda c: " ".join(map(str, c.values())))
def test_every_other_combination_opens_with_equal_logits(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    assert writing(model.config) is None
    save_model(model, tmp_path, {"pad_token_id": 0})
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "danlu"
    assert "max_length" not in written  # transformers takes it for a setting of generation
    theirs, said = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(theirs, DanluForCausalLM)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        expected = model(IDS)
        assert torch.equal(theirs(IDS).logits, expected)
        assert torch.equal(load_model(tmp_path)(IDS), expected)
    assert sum(p.numel() for p in theirs.parameters()) == model.config.parameters()


OTHER_PARTS: list[dict[str, Any]] = [
    {"causal": False, "head_transform": True, "head_bias": True, "norm": "layernorm"},
    {"positions": "learned", "position_offset": 2, "token_types": 3, "norm_plus_one": True, "qk_norm": True},
    {"window": 5, "global_every": 2, "rope_local_theta": 50.0, "rope_scaling": "yarn", "rope_factor": 2.0},
    {"embedding_norm": True, "norm_place": "sandwich", "logit_cap": 2.0, "value_embeddings": True},
    {"norm_weight": False, "qk_norm": True},
    {"norm": "layernorm", "norm_bias": False},
]


@pytest.mark.parametrize("changes", OTHER_PARTS, ids=str)
def test_parts_that_only_some_models_have(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    save_model(model, tmp_path, {})
    theirs, said = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        assert torch.equal(theirs(IDS).logits, model(IDS))


def test_what_transformers_saves_is_ours_again(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny(positions="alibi", tied=True)
    save_model(model, tmp_path / "a", {})
    AutoModelForCausalLM.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    again = load_model(tmp_path / "b")
    assert again.config == model.config
    assert AutoConfig.from_pretrained(tmp_path / "b").native() == model.config
    with torch.no_grad():
        assert torch.equal(again(IDS), model(IDS))


@pytest.mark.parametrize("positions", ["alibi", "learned"])
def test_padding_on_either_side_changes_nothing(tiny: Tiny, positions: str, tmp_path: Path) -> None:
    model = tiny(positions=positions)
    save_model(model, tmp_path, {"pad_token_id": 0})
    theirs = DanluForCausalLM.from_pretrained(tmp_path)
    row, pad = IDS[:1], torch.zeros(1, 4, dtype=torch.long)
    with torch.no_grad():
        expected = model(row)
        left = theirs(torch.cat([pad, row], 1), attention_mask=torch.tensor([[0] * 4 + [1] * 9])).logits[:, 4:]
        right = theirs(torch.cat([row, pad], 1), attention_mask=torch.tensor([[1] * 9 + [0] * 4])).logits[:, :9]
    torch.testing.assert_close(left, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(right, expected, rtol=1e-5, atol=1e-5)
