"""Partial fine-tuning: what learns is what was said, and nothing else moves."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import Tiny

from danlu.base.errors import UserError
from danlu.model.adapters.partial import called, freeze
from danlu.model.adapters.settings import Freeze
from danlu.model.hub import load_model

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
BIASED = {"bias": True, "norm": "layernorm", "activation": "gelu"}
CASES: list[tuple[Freeze, dict[str, Any], str]] = [
    (Freeze(last_layers=1), {}, r"model\.layers\.1\."),
    (Freeze(), {}, r"model\.layers\.[01]\."),
    (Freeze(last_layers=0, names=("q_proj", "layers.0.mlp")), {}, r".*q_proj|model\.layers\.0\.mlp"),
    (Freeze(last_layers=0, names=("norm",)), {}, r"model\.norm\."),
    (Freeze(last_layers=0, names=("bias",)), BIASED, r".*\.bias$"),
    (Freeze(last_layers=0, embeddings=True), {"tied": False}, r"model\.embed_tokens|lm_head"),
    (Freeze(last_layers=1, embeddings=True), {}, r"model\.embed_tokens|model\.layers\.1\."),
]


@pytest.mark.parametrize(("settings", "shape", "pattern"), CASES, ids=str)
def test_what_learns(tiny: Tiny, settings: Freeze, shape: dict[str, Any], pattern: str) -> None:
    model = tiny(**shape)
    names = freeze(model, settings)
    assert names
    assert all(re.match(pattern, name) for name in names)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(learning) == len(names) < len(list(model.parameters()))
    model(IDS).square().sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == learning


def test_names() -> None:
    assert called("model.layers.3.mlp.up_proj.weight", "layers.3")
    assert called("model.layers.3.mlp.up_proj.weight", "3.mlp")
    assert not called("model.layers.13.mlp.up_proj.weight", "layers.1")
    assert not called("model.layers.3.mlp.up_proj.weight", "up")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"last_layers": 3}, "freeze.last_layers: must be at most the model's 2, found 3"),
        ({"names": ("q_prj",)}, "no parameter has 'q_prj' in its name.*q_proj"),
        ({"last_layers": 0}, "leaves nothing to learn"),
        ({"last_layers": -1}, "not negative"),
        ({"names": ("",)}, "not empty"),
    ],
)
def test_what_cannot_be(tiny: Tiny, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        freeze(tiny(), Freeze(**settings))


def test_of_a_model_of_transformers_names_alone(tmp_path: Path) -> None:
    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
    config = transformers.OPTConfig(**shape, max_position_embeddings=64, word_embed_proj_dim=32)
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    names = freeze(model, Freeze(last_layers=0, names=("layers.1.fc2",), embeddings=True))
    assert names == [
        "model.decoder.embed_tokens.weight",
        *(f"model.decoder.layers.1.fc2.{k}" for k in ("weight", "bias")),
    ]
    with pytest.raises(UserError, match=r"the layers of a opt model are not known here\. Give 0, and names"):
        freeze(model, Freeze())


def test_without_biases_bitfit_has_nothing_to_train(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"has no biases, which are all that BitFit trains. Use --method ia3"):
        freeze(tiny(), Freeze(last_layers=0, names=("bias",)))
