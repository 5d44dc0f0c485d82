"""Mixtral and Qwen3-MoE: transformers' numbers and gradients, its files read, ours opened by it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from danlu.base.errors import UserError
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.config import ModelConfig
from danlu.model.families import mixture
from danlu.model.kinds import Experts
from danlu.model.transformer import Transformer

CLASSES = {"mixtral": MixtralForCausalLM, "qwen3_moe": Qwen3MoeForCausalLM}
MIXTRAL = Experts(count=4, per_token=2, width=24, balance=0.02)
CASES: dict[str, dict[str, Any]] = {
    "mixtral": {"experts": MIXTRAL, "tied": False, "feedforward": 24},
    "mixtral-window": {"experts": replace(MIXTRAL, per_token=3, router_z=0.1), "window": 5, "rope_theta": 1e6},
    "qwen": {"experts": replace(MIXTRAL, normalise=False), "qk_norm": True, "tied": False, "norm_epsilon": 1e-6},
    "qwen-every": {"experts": replace(MIXTRAL, every=2), "qk_norm": True, "layers": 4},
    "qwen-first": {"experts": replace(MIXTRAL, dense_first=1), "qk_norm": True, "layers": 3, "window": 6},
}
ALL = pytest.mark.parametrize("changes", list(CASES.values()), ids=list(CASES))


def ids_of(rows: int, length: int) -> Tensor:
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(0))


def written(model: Transformer, path: Path) -> Any:
    """The directory, opened by transformers."""
    values = mixture.write(model.config)
    assert values is not None
    ours = {name: parameter.detach() for name, parameter in model.named_parameters()}
    (path / "config.json").write_text(json.dumps(values))
    save_file(mixture.save(ours, model.config), path / "model.safetensors", metadata={"format": "pt"})
    theirs, said = CLASSES[values["model_type"]].from_pretrained(path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return theirs.train()


def opened(path: Path) -> Transformer:
    values = json.loads((path / "config.json").read_text())
    model = Transformer(mixture.read(values, path / "config.json"))
    tensors = mixture.load(load_file(path / "model.safetensors"), model.config)
    model.load_state_dict(tensors)
    return model


def fused(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our gradients by the names that transformers has in memory, where an expert is a row too."""
    plain = {name: value for name, value in tensors.items() if not mixture.STACKED.fullmatch(name)}
    theirs = {name.replace("block_sparse_moe", "mlp"): value for name, value in mixture.save(plain, config).items()}
    for layer in range(config.layers):
        if config.has_experts(layer):
            stack = {
                part: tensors[f"blocks.{layer}.feedforward.experts.{part}.weight"] for part in ("gate", "up", "down")
            }
            place = f"model.layers.{layer}.mlp.experts"
            theirs[f"{place}.gate_up_proj"] = torch.cat([stack["gate"], stack["up"]], dim=1)
            theirs[f"{place}.down_proj"] = stack["down"]
    return theirs


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
    found = fused({name: p.grad for name, p in ours.named_parameters() if p.grad is not None}, ours.config)
    assert found.keys() == gradients.keys()
    for name, wanted in gradients.items():
        assert wanted.norm() > 0
        assert (found[name] - wanted).norm() < 1e-5 * wanted.norm(), name


@ALL
def test_what_is_written_is_read(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**changes)
    written(model, tmp_path)
    again = opened(tmp_path)
    same = {"feedforward": again.config.feedforward} if "mixtral" in mixture.write(model.config)["model_type"] else {}  # type: ignore[index]
    assert again.config == replace(model.config, **same)
    assert torch.equal(again(ids_of(2, 9)), model(ids_of(2, 9)))


SHAPE = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
THEIRS = [
    MixtralConfig(**SHAPE, **HEADS, num_local_experts=4, num_experts_per_tok=2),
    MixtralConfig(**SHAPE, num_attention_heads=4, num_key_value_heads=4, num_local_experts=3, tie_word_embeddings=True),
    Qwen3MoeConfig(
        **SHAPE, **HEADS, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, mlp_only_layers=[0]
    ),
    Qwen3MoeConfig(
        **SHAPE,
        **HEADS,
        num_experts=5,
        num_experts_per_tok=3,
        moe_intermediate_size=24,
        norm_topk_prob=True,
        decoder_sparse_step=2,
        use_sliding_window=True,
        sliding_window=4,
    ),
]


@pytest.mark.parametrize("config", THEIRS, ids=["mixtral", "mixtral-tied", "qwen", "qwen-every"])
def test_we_open_theirs_and_say_the_same(config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = CLASSES[config.model_type](config).eval()
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


def test_their_balance_loss_is_ours(tmp_path: Path) -> None:
    """Theirs is one over all layers together, and k for an even load; with one layer it is k times ours."""
    from danlu.model.moe import Ledger

    torch.manual_seed(0)
    config = MixtralConfig(**(SHAPE | {"num_hidden_layers": 1}), **HEADS, num_local_experts=4, num_experts_per_tok=2)
    theirs = MixtralForCausalLM(config)
    theirs.model.layers[0].mlp.gate.weight.data.normal_()
    theirs.save_pretrained(tmp_path)
    ours, ids = opened(tmp_path), ids_of(2, 9)
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    ledger = Ledger(mask)
    ours.hidden(ids, mask.int() - 1, ledger=ledger)
    expected = theirs(ids, attention_mask=mask, output_router_logits=True).aux_loss
    torch.testing.assert_close(2 * ledger.sums()["balance"] / mask.sum(), expected, rtol=1e-5, atol=1e-5)


def test_the_older_name_of_the_count_is_read() -> None:
    """Qwen's own files say num_experts; transformers writes num_local_experts."""
    values = THEIRS[2].to_dict()
    values["num_experts"] = values.pop("num_local_experts")
    assert mixture.read(values, Path("config.json")).experts.count == 4  # type: ignore[union-attr]


UNWRITTEN: list[dict[str, Any]] = [
    {},
    {"experts": replace(MIXTRAL, shared_width=8)},
    {"experts": replace(MIXTRAL, normalise=False)},
    {"experts": replace(MIXTRAL, every=2)},
    {"experts": MIXTRAL, "activation": "relu2"},
    {"experts": MIXTRAL, "qkv_bias": True, "qk_norm": True},
    {"experts": MIXTRAL, "rope_scaling": "linear", "rope_factor": 2.0},
    {"experts": MIXTRAL, "window": 5, "global_every": 2},
]


@pytest.mark.parametrize("changes", UNWRITTEN, ids=str)
def test_what_no_class_computes_is_not_written(changes: dict[str, Any]) -> None:
    assert mixture.write(ModelConfig(vocab_size=61, **changes)) is None


@pytest.mark.parametrize(
    ("index", "changes", "problem"),
    [
        (0, {"rope_parameters": {"rope_type": "yarn"}}, "RoPE scaling 'yarn' is not supported in a mixtral model"),
        (0, {"hidden_act": "gelu"}, "activation 'gelu' is not supported in a mixtral model"),
        (2, {"attention_bias": True}, "biases in attention are not supported in a qwen3_moe model"),
        (2, {"mlp_only_layers": [2]}, r"layers \[2\] without experts are not supported: only the first ones are"),
        (0, {"num_experts_per_tok": 5}, "a token cannot use 5 experts of 4"),
    ],
    ids=str,
)
def test_configurations_that_are_not_native(index: int, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        mixture.read(THEIRS[index].to_dict() | changes, Path("config.json"))


def test_an_expert_that_is_missing_is_missed(tiny: Tiny) -> None:
    model = tiny(**CASES["qwen"])
    theirs = mixture.save(dict(model.named_parameters()), model.config)
    del theirs["model.layers.1.mlp.experts.3.up_proj.weight"]
    ours = mixture.load(theirs, model.config)
    assert set(dict(model.named_parameters())) - set(ours) == {"blocks.1.feedforward.experts.up.weight"}
