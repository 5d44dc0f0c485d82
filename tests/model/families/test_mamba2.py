"""Mamba-2: transformers' numbers and gradients, its files read, ours opened by it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mamba2Config, Mamba2ForCausalLM

from danlu.base.errors import UserError
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.config import ModelConfig
from danlu.model.families import mamba2
from danlu.model.kinds import Experts, StateSpace
from danlu.model.transformer import Transformer

SPACE = StateSpace(state=16, head_width=8, groups=2, chunk=4)
PURE: dict[str, Any] = {"positions": "none", "state_space": SPACE}
CASES: dict[str, dict[str, Any]] = {
    "tied": PURE,
    "untied-bias": PURE | {"tied": False, "bias": True, "norm_epsilon": 1e-3},
    "one-group": PURE | {"state_space": replace(SPACE, groups=1, convolution=3, expand=3, convolution_bias=False)},
}
ALL = pytest.mark.parametrize("changes", list(CASES.values()), ids=list(CASES))


def ids_of(rows: int, length: int) -> Tensor:
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(0))


def written(model: Transformer, path: Path) -> Any:
    """The directory, opened by transformers."""
    values = mamba2.write(model.config)
    assert values is not None
    ours = {name: parameter.detach() for name, parameter in model.named_parameters()}
    (path / "config.json").write_text(json.dumps(values))
    save_file(mamba2.save(ours, model.config), path / "model.safetensors", metadata={"format": "pt"})
    theirs, said = Mamba2ForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return theirs.train()


def opened(path: Path) -> Transformer:
    values = json.loads((path / "config.json").read_text())
    model = Transformer(mamba2.read(values, path / "config.json"))
    model.load_state_dict(mamba2.load(load_file(path / "model.safetensors"), model.config))
    return model


@ALL
def test_logits_and_gradients_are_theirs(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    ours, ids = tiny(**changes), ids_of(3, 11)
    theirs = written(ours, tmp_path)
    logits, expected = ours(ids), theirs(ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    out = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * out).sum().backward()
    (expected * out).sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    found = mamba2.save({n: p.grad for n, p in ours.named_parameters() if p.grad is not None}, ours.config)
    assert found.keys() == gradients.keys()
    for name, wanted in gradients.items():
        assert wanted.norm() > 0
        assert (found[name] - wanted).norm() < 1e-4 * wanted.norm(), name


@ALL
def test_what_is_written_is_read(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    """All but the sizes of attention, which the model has not."""
    model = tiny(**changes)
    written(model, tmp_path)
    again = opened(tmp_path)
    unused = {name: getattr(again.config, name) for name in ("heads", "kv_heads", "head_width", "feedforward")}
    assert again.config == replace(model.config, **unused)
    assert torch.equal(again(ids_of(2, 9)), model(ids_of(2, 9)))


@pytest.mark.parametrize("changes", [{}, {"n_groups": 1, "tie_word_embeddings": True}, {"use_bias": True}], ids=str)
def test_we_open_theirs_and_say_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 61, "hidden_size": 32, "num_heads": 8, "head_dim": 8, "state_size": 16, "chunk_size": 8}
    config = Mamba2Config(**{**shape, "n_groups": 2, "num_hidden_layers": 2, **changes})
    theirs = Mamba2ForCausalLM(config).eval()
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    theirs.save_pretrained(tmp_path)
    ours, ids = opened(tmp_path), ids_of(2, 9)
    assert sum(p.numel() for p in theirs.parameters()) == ours.config.parameters()
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)
        said = theirs.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    answers = Engine(ours, ()).generate(ids.tolist(), Sampling(max_new_tokens=8, temperature=0))
    assert [answer.ids for answer in answers] == said[:, 9:].tolist()


UNWRITTEN: list[dict[str, Any]] = [
    {},
    {"state_space": replace(SPACE, attention_every=2)},
    PURE | {"state_space": replace(SPACE, feedforward=True)},
    PURE | {"norm": "layernorm"},
    PURE | {"positions": "learned"},
    PURE | {"logit_cap": 15.0},
    PURE | {"state_space": replace(SPACE, feedforward=True), "experts": Experts(4, 2, 8)},
]


@pytest.mark.parametrize("changes", UNWRITTEN, ids=str)
def test_what_the_class_does_not_compute_is_not_written(changes: dict[str, Any]) -> None:
    assert mamba2.write(ModelConfig(vocab_size=61, width=32, **changes)) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_act": "gelu"}, "activation 'gelu' is not supported in a mamba2 model"),
        ({"time_step_limit": [0.001, 0.1]}, r"a time_step_limit of 0\.001 to 0\.1 is not supported"),
        ({"num_heads": 9}, "9 heads do not fill a layer of 64"),
    ],
    ids=str,
)
def test_configurations_that_are_not_native(changes: dict[str, Any], problem: str) -> None:
    values = {"model_type": "mamba2", "hidden_size": 32, "num_heads": 8, "head_dim": 8, "n_groups": 2}
    assert mamba2.read(values, Path("config.json")).state_space.state == 128  # type: ignore[union-attr]
    with pytest.raises(UserError, match=problem):
        mamba2.read(values | changes, Path("config.json"))
